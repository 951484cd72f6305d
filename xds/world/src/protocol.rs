//! Protocols of service ports and how a port declares one.
//!
//! Source: Istio "Protocol Selection": `appProtocol` first, then the port name's prefix, then well-known ports.

use std::fmt;

/// What a port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/2, with prior knowledge.
    Http2,
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// A forward proxy port, for Sidecar egress listeners only.
    HttpProxy,
    /// TLS that carries HTTP, routed by SNI.
    Https,
    /// TLS, routed by SNI.
    Tls,
    /// Opaque TCP.
    Tcp,
    /// UDP: never proxied.
    Udp,
    /// MongoDB.
    Mongo,
    /// Redis.
    Redis,
    /// MySQL.
    MySql,
    /// Not declared: sniffed.
    Auto,
}

impl Protocol {
    /// Reads a protocol's name, ignoring case. What is not known is [`Protocol::Auto`].
    pub fn parse(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "tcp" => Self::Tcp,
            "udp" => Self::Udp,
            "grpc" => Self::Grpc,
            "grpc-web" => Self::GrpcWeb,
            "http" => Self::Http,
            "http_proxy" => Self::HttpProxy,
            "http2" => Self::Http2,
            "https" => Self::Https,
            "tls" => Self::Tls,
            "mongo" => Self::Mongo,
            "redis" => Self::Redis,
            "mysql" => Self::MySql,
            _ => Self::Auto,
        }
    }

    /// HTTP/2 on the wire.
    pub fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Grpc | Self::GrpcWeb)
    }

    /// Declared HTTP of any kind.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2 | Self::HttpProxy | Self::Grpc | Self::GrpcWeb)
    }

    /// HTTP, or possibly HTTP once sniffed.
    pub fn is_http_or_sniffed(self) -> bool {
        self.is_http() || self.is_auto()
    }

    /// Declared TCP of any kind, TLS included.
    pub fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::Https | Self::Tls | Self::Mongo | Self::Redis | Self::MySql)
    }

    /// TLS on top of TCP.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// HTTPS.
    pub fn is_https(self) -> bool {
        self == Self::Https
    }

    /// gRPC, also gRPC-Web.
    pub fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcWeb)
    }

    /// Undeclared: found out by sniffing.
    pub fn is_auto(self) -> bool {
        self == Self::Auto
    }
}

impl fmt::Display for Protocol {
    /// Istio's spelling (`pkg/config/protocol`).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "HTTP",
            Self::Http2 => "HTTP2",
            Self::Grpc => "GRPC",
            Self::GrpcWeb => "GRPC-Web",
            Self::HttpProxy => "HTTP_PROXY",
            Self::Https => "HTTPS",
            Self::Tls => "TLS",
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Mongo => "Mongo",
            Self::Redis => "Redis",
            Self::MySql => "MySQL",
            Self::Auto => "UnsupportedProtocol",
        })
    }
}
