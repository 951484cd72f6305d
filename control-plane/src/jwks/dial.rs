//! Which addresses keys are fetched from, and connections to them.
//!
//! Whoever may write a RequestAuthentication chooses the URL, and the control plane reaches what they may not. So
//! addresses are checked as they are dialled, after the name is resolved, whatever the name (GHSA-fgw5-hp8f-xfhc).

use ipnet::IpNet;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpStream, lookup_host};

/// Which addresses are dialled.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Never (`BLOCKED_CIDRS_IN_JWKS_URIS`).
    pub blocked: Vec<IpNet>,
    /// Even if they are of the kinds that are refused by default (`ALLOWED_CIDRS_IN_JWKS_URIS`).
    pub allowed: Vec<IpNet>,
}

/// How far an address is from the rest of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Anybody's.
    Public,
    /// Of a private network, where the mesh's own services are.
    Private,
    /// Of this host or this link, as the metadata servers of clouds, or no host's.
    Local,
}

impl Rules {
    /// Why an address is not dialled. `of_mesh`: whether the host's name is that of a service of the mesh.
    pub fn refusal(&self, ip: IpAddr, of_mesh: bool) -> Option<&'static str> {
        let ip = plain(ip);
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&ip));
        if within(&self.blocked) {
            return Some("it is within BLOCKED_CIDRS_IN_JWKS_URIS");
        }
        match reach(ip) {
            _ if within(&self.allowed) => None,
            Reach::Public => None,
            Reach::Private if of_mesh => None,
            Reach::Private => Some(
                "it is private, and the host no service of the mesh: add a ServiceEntry for it, or its addresses to \
                 ALLOWED_CIDRS_IN_JWKS_URIS",
            ),
            Reach::Local => {
                Some("it is local to the control plane; ALLOWED_CIDRS_IN_JWKS_URIS may allow it nevertheless")
            }
        }
    }

    /// Connects to a host by one of its addresses that may be dialled.
    ///
    /// # Errors
    /// If there is none, or none that answers.
    pub async fn connect(&self, host: &str, port: u16, of_mesh: bool) -> io::Result<TcpStream> {
        let found: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
        let mut error = io::Error::other(format!("{host} has no address"));
        for address in found {
            if let Some(reason) = self.refusal(address.ip(), of_mesh) {
                error = io::Error::other(format!(
                    "{host} is at {}, which is not dialled: {reason}",
                    address.ip()
                ));
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(e) => error = io::Error::new(e.kind(), format!("{address}: {e}")),
            }
        }
        Err(error)
    }
}

/// The IPv4 address behind an IPv6 one, if it leads there: mapped, or through NAT64 (RFC 6052).
fn plain(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::from([a, b, c, d])
        }
        other => other,
    }
}

fn reach(ip: IpAddr) -> Reach {
    /// Where Amazon's metadata server answers over IPv6, within a range that is private otherwise.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match ip {
        IpAddr::V4(v4) => match v4.octets() {
            [0 | 127 | 224.., ..] | [169, 254, ..] | [192, 0, 0, _] | [100, 100, 100, 200] => Reach::Local,
            [10, ..] | [192, 168, ..] => Reach::Private,
            [172, b, ..] if b & 0xf0 == 16 => Reach::Private,
            [100, b, ..] if b & 0xc0 == 64 => Reach::Private,
            _ => Reach::Public,
        },
        IpAddr::V6(v6) => match v6.segments()[0] {
            _ if v6.is_loopback() || v6.is_unspecified() || v6 == METADATA => Reach::Local,
            first if first & 0xffc0 == 0xfe80 || first & 0xff00 == 0xff00 => Reach::Local,
            first if first & 0xfe00 == 0xfc00 => Reach::Private,
            _ => Reach::Public,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let table = [
            ("8.8.8.8", Reach::Public),
            ("2001:4860:4860::8888", Reach::Public),
            ("10.1.2.3", Reach::Private),
            ("172.16.0.1", Reach::Private),
            ("172.32.0.1", Reach::Public),
            ("192.168.1.1", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("fd12::1", Reach::Private),
            ("::ffff:10.0.0.1", Reach::Private),
            ("127.0.0.1", Reach::Local),
            ("0.0.0.0", Reach::Local),
            ("169.254.169.254", Reach::Local),
            ("::ffff:169.254.169.254", Reach::Local),
            ("64:ff9b::a9fe:a9fe", Reach::Local),
            ("100.100.100.200", Reach::Local),
            ("fd00:ec2::254", Reach::Local),
            ("224.0.0.1", Reach::Local),
            ("255.255.255.255", Reach::Local),
            ("::1", Reach::Local),
            ("::", Reach::Local),
            ("fe80::1", Reach::Local),
            ("ff02::1", Reach::Local),
        ];
        for (ip, wanted) in table {
            assert_eq!(reach(plain(ip.parse().unwrap())), wanted, "{ip}");
        }
    }

    #[test]
    fn private_addresses_are_for_services_of_the_mesh_and_lists_go_before_all() {
        let net = |text: &str| vec![text.parse().unwrap()];
        let refused =
            |rules: &Rules, ip: &str, of_mesh| rules.refusal(ip.parse().unwrap(), of_mesh).is_some();
        let none = Rules::default();
        assert!(!refused(&none, "10.0.0.1", true) && refused(&none, "10.0.0.1", false));
        assert!(refused(&none, "127.0.0.1", true));
        let rules = Rules { allowed: net("127.0.0.0/8"), blocked: net("127.0.0.2/32") };
        assert!(!refused(&rules, "127.0.0.1", false) && refused(&rules, "127.0.0.2", false));
        let rules = Rules { blocked: net("8.0.0.0/8"), ..Rules::default() };
        assert!(refused(&rules, "8.8.8.8", true) && refused(&rules, "::ffff:8.8.8.8", true));
    }
}
