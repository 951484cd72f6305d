//! Which chains a port needs: what it is declared to speak, against what it does with mutual TLS.
//!
//! Istio's own clients say by ALPN that they speak mutual TLS, and what is inside.
//! Source: Istio `pilot/pkg/networking/core/filterchain_options.go`.

use crate::index::authn::MtlsMode;
use crate::listener::chain::{RAW_BUFFER, TLS};
use meltemi_world::Protocol;

const ISTIO: &str = "istio";
const PEER_EXCHANGE: &str = "istio-peer-exchange";
const HTTP_1_0: &str = "istio-http/1.0";
const HTTP_1_1: &str = "istio-http/1.1";
const H2: &str = "istio-h2";

/// Mutual TLS of Istio's clients, HTTP inside.
const MTLS_HTTP: &[&str] = &[HTTP_1_0, HTTP_1_1, H2];
/// Mutual TLS of Istio's clients, anything but HTTP inside.
const MTLS_TCP: &[&str] = &[PEER_EXCHANGE, ISTIO];
/// Mutual TLS of Istio's clients.
const MTLS_ANY: &[&str] = &[ISTIO, PEER_EXCHANGE, HTTP_1_0, HTTP_1_1, H2];

/// One chain: what it is for and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    /// The ALPN protocols, announced or sniffed, that it is for; none for all.
    pub(super) alpn: &'static [&'static str],
    /// [`TLS`] or [`RAW_BUFFER`].
    pub(super) transport: &'static str,
    /// Whether it serves HTTP, rather than forwarding TCP.
    pub(super) http: bool,
    /// Whether it ends TLS.
    pub(super) ends_tls: bool,
}

const fn tls(alpn: &'static [&'static str], http: bool) -> Match {
    Match { alpn, transport: TLS, http, ends_tls: true }
}

const fn plain(alpn: &'static [&'static str], http: bool) -> Match {
    Match { alpn, transport: RAW_BUFFER, http, ends_tls: false }
}

/// TLS that is none of Istio's business: its bytes are forwarded.
const FOREIGN_TLS: Match = Match { alpn: &[], transport: TLS, http: false, ends_tls: false };

/// What the HTTP inspector calls HTTP. HTTP/1.0 only where it is accepted: as TCP it can at least pass.
pub(super) fn sniffed(http10: bool) -> &'static [&'static str] {
    if http10 { &["http/1.0", "http/1.1", "h2c"] } else { &["http/1.1", "h2c"] }
}

/// The chains of a port.
pub(super) fn of(protocol: Protocol, mode: MtlsMode, http10: bool) -> Vec<Match> {
    let sniffed = sniffed(http10);
    match (protocol, mode) {
        (Protocol::Auto, MtlsMode::Strict) => vec![tls(MTLS_HTTP, true), tls(&[], false)],
        (Protocol::Auto, MtlsMode::Permissive) => vec![
            tls(MTLS_HTTP, true),
            plain(sniffed, true),
            tls(MTLS_TCP, false),
            plain(&[], false),
            FOREIGN_TLS,
        ],
        (Protocol::Auto, MtlsMode::Disable) => vec![plain(sniffed, true), plain(&[], false)],
        (p, MtlsMode::Strict) => vec![tls(&[], p.is_http())],
        (p, MtlsMode::Permissive) if p.is_http() => vec![tls(MTLS_ANY, true), plain(&[], true)],
        (_, MtlsMode::Permissive) => vec![tls(MTLS_ANY, false), FOREIGN_TLS, plain(&[], false)],
        (p, MtlsMode::Disable) => vec![plain(&[], p.is_http())],
    }
}

/// The chain of a port whose TLS is ended as the user wants it. What is undeclared is forwarded.
pub(super) fn of_user_tls(protocol: Protocol) -> Option<Match> {
    // A chain for what would have to be sniffed inside of TLS does not exist.
    (!protocol.is_auto()).then(|| tls(&[], protocol.is_http()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each chain as `TRANSPORT ALPN-COUNT KIND`, with `+` where it ends TLS.
    fn chains(protocol: Protocol, mode: MtlsMode) -> Vec<String> {
        let text = |m: &Match| {
            let kind = if m.http { "http" } else { "tcp" };
            format!("{}{} {} {kind}", m.transport, if m.ends_tls { "+" } else { "" }, m.alpn.len())
        };
        of(protocol, mode, false).iter().map(text).collect()
    }

    #[test]
    fn declared_ports_have_one_kind_of_chain() {
        use MtlsMode::{Disable, Permissive, Strict};
        assert_eq!(chains(Protocol::Grpc, Strict), ["tls+ 0 http"]);
        assert_eq!(chains(Protocol::Http, Permissive), ["tls+ 5 http", "raw_buffer 0 http"]);
        assert_eq!(chains(Protocol::Http, Disable), ["raw_buffer 0 http"]);
        assert_eq!(chains(Protocol::Tls, Permissive), ["tls+ 5 tcp", "tls 0 tcp", "raw_buffer 0 tcp"]);
    }

    #[test]
    fn undeclared_ports_sniff_plain_text_unless_mutual_tls_is_required() {
        use MtlsMode::{Disable, Permissive, Strict};
        assert_eq!(chains(Protocol::Auto, Strict), ["tls+ 3 http", "tls+ 0 tcp"]);
        assert_eq!(chains(Protocol::Auto, Disable), ["raw_buffer 2 http", "raw_buffer 0 tcp"]);
        assert_eq!(
            chains(Protocol::Auto, Permissive),
            ["tls+ 3 http", "raw_buffer 2 http", "tls+ 2 tcp", "raw_buffer 0 tcp", "tls 0 tcp"]
        );
        assert_eq!(of(Protocol::Auto, Disable, true)[0].alpn, ["http/1.0", "http/1.1", "h2c"]);
    }
}
