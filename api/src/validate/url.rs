//! URLs, as Go's `net/url` reads them, as far as it refuses any.

/// What rules ask of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Url<'a> {
    /// In any case; empty if there is none.
    pub scheme: &'a str,
    /// The digits after the host's colon; empty if there are none.
    pub port: &'a str,
}

/// Reads a URL or a relative reference. Source: Go `url.Parse`.
pub fn parse(text: &str) -> Result<Url<'_>, String> {
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    escapes(fragment)?;
    read(text, false)
}

/// Reads an absolute URL or path, without a fragment. Source: Go `url.ParseRequestURI`.
pub fn parse_request(text: &str) -> Result<Url<'_>, String> {
    read(text, true)
}

fn read(text: &str, request: bool) -> Result<Url<'_>, String> {
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err("has a control character; remove it".to_owned());
    }
    if text.is_empty() && request {
        return Err("is empty".to_owned());
    }
    let (scheme, rest) = scheme(text)?;
    let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
    if !rest.starts_with('/') {
        if request {
            return Err("is neither a URL nor a path".to_owned());
        }
        if !scheme.is_empty() {
            return Ok(Url { scheme, port: "" });
        }
        if rest.split('/').next().is_some_and(|first| first.contains(':')) {
            return Err("has a colon before its first slash, and no scheme".to_owned());
        }
    }
    let has_host = rest.starts_with("//") && (!scheme.is_empty() || !request && !rest.starts_with("///"));
    let Some(after) = rest.strip_prefix("//").filter(|_| has_host) else {
        escapes(rest)?;
        return Ok(Url { scheme, port: "" });
    };
    let (authority, path) = after.find('/').map_or((after, ""), |slash| after.split_at(slash));
    escapes(path)?;
    Ok(Url { scheme, port: port(authority)? })
}

/// The scheme, and what follows its colon.
fn scheme(text: &str) -> Result<(&str, &str), String> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
    match end.map(|end| (end, text.split_at(end))) {
        Some((0, (_, rest))) if rest.starts_with(':') => Err("lacks a scheme before its colon".to_owned()),
        Some((_, (scheme, rest)))
            if rest.starts_with(':') && scheme.starts_with(|c: char| c.is_ascii_alphabetic()) =>
        {
            Ok((scheme, &rest[1..]))
        }
        _ => Ok(("", text)),
    }
}

/// Checks an authority, and finds its port.
fn port(authority: &str) -> Result<&str, String> {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let after = match host.strip_prefix('[') {
        Some(address) => address.rsplit_once(']').ok_or("has no ']' after its address")?.1,
        None => host.rfind(':').map_or("", |colon| &host[colon..]),
    };
    let name = &host[..host.len() - after.len()];
    if name.bytes().any(|b| b == b' ' || b == b'"' && !name.starts_with('[') || b"\\^`{}|".contains(&b)) {
        return Err(format!("has a character in its host {name:?} that none has"));
    }
    escapes(name)?;
    match after.strip_prefix(':') {
        None if after.is_empty() => Ok(""),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Ok(digits),
        _ => Err(format!("has no port after its host: {after:?}")),
    }
}

/// A percent sign is followed by two digits.
fn escapes(text: &str) -> Result<(), String> {
    for (at, _) in text.match_indices('%') {
        let digits = text.as_bytes().get(at + 1..at + 3);
        if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
            return Err("has a '%' that is not followed by two hexadecimal digits".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_go() {
        for (text, any, request) in [
            ("https://a.com/b?c=d", true, true),
            ("https://a.com:8443", true, true),
            ("https://[::1]:8443/", true, true),
            ("https://a.com:x/", false, false),
            ("https://[::1/", false, false),
            ("https://a b/", false, false),
            ("https://a.com/%zz", false, false),
            ("https://a.com/a b", true, true),
            ("a.com/b", true, false),
            ("a.com:80/b", true, false),
            ("10.0.0.1:80/b", false, false),
            ("localhost:80/b", true, false),
            (":a", false, false),
            ("/a", true, true),
            ("", true, false),
            ("a\nb", false, false),
            ("#%z", false, false),
        ] {
            assert_eq!((parse(text).is_ok(), parse_request(text).is_ok()), (any, request), "{text}");
        }
        assert_eq!(parse("https://u@a.com:8443/"), Ok(Url { scheme: "https", port: "8443" }));
    }
}
