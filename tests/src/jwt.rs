//! JSON Web Tokens (RFC 7519), signed with ES256.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use serde_json::{Value, json};

/// A key that signs tokens.
#[derive(Debug)]
pub struct Signer(KeyPair);

impl Signer {
    /// Makes a new P-256 key.
    pub fn new() -> Result<Self> {
        Ok(Self(KeyPair::generate()?))
    }

    /// The public half, as a key set.
    pub fn jwks(&self) -> Result<String> {
        // An uncompressed point: a byte 4, then both coordinates.
        let point = self.0.der_bytes().strip_prefix(&[4]).context("an uncompressed point")?;
        let (x, y) = point.split_at(32);
        let key = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "x": base64(x), "y": base64(y)});
        Ok(json!({"keys": [key]}).to_string())
    }

    /// A token with these claims, and an expiry far away if they have none.
    pub fn token(&self, mut claims: Value) -> Result<String> {
        if claims["exp"].is_null() {
            claims["exp"] = 4_000_000_000_u32.into();
        }
        let header = json!({"alg": "ES256", "typ": "JWT"});
        let signed = format!("{}.{}", base64(header.to_string()), base64(claims.to_string()));
        let signature = self.0.sign(signed.as_bytes())?;
        Ok(format!("{signed}.{}", base64(plain(&signature)?)))
    }
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The two 32-byte numbers of an ECDSA signature, which comes as a DER sequence of two integers.
fn plain(der: &[u8]) -> Result<Vec<u8>> {
    let mut rest = der.get(2..).context("a sequence")?;
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let length = usize::from(*rest.get(1).context("an integer")?);
        let number = rest.get(2..2 + length).context("its bytes")?;
        rest = &rest[2 + length..];
        let significant = number.iter().position(|b| *b != 0).map_or(&[][..], |i| &number[i..]);
        numbers.extend(std::iter::repeat_n(0, 32 - significant.len()));
        numbers.extend(significant);
    }
    Ok(numbers)
}
