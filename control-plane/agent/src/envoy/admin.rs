//! Envoy's admin pages, on the loopback address.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use http::Method;

use crate::{Error, status::client};

/// How long a page may take.
const LIMIT: Duration = Duration::from_secs(3);

/// The admin pages of one Envoy.
#[derive(Clone, Copy, Debug)]
pub struct Admin(SocketAddr);

impl Admin {
    /// Those at an address (`proxyAdminPort` of localhost).
    pub fn new(address: SocketAddr) -> Self {
        Self(address)
    }

    /// Has listeners accept no more connections than they have, after telling clients to go. A sidecar's outbound side
    /// goes on, for requests under way may need more; a listener's end must not end the process if `stay` is set.
    pub async fn drain(&self, inbound_only: bool, stay: bool) -> Result<(), Error> {
        let mut path = "/drain_listeners?graceful".to_owned();
        for (set, option) in [(inbound_only, "&inboundonly"), (stay, "&skip_exit")] {
            path.push_str(if set { option } else { "" });
        }
        self.ask(Method::POST, &path).await.map(drop)
    }

    /// Counters and gauges whose names match a regular expression.
    pub async fn stats(&self, filter: &str) -> Result<BTreeMap<String, u64>, Error> {
        let text = self.ask(Method::GET, &format!("/stats?usedonly&filter={filter}")).await?;
        let stat = |line: &str| {
            let (name, value) = line.rsplit_once(": ")?;
            Some((name.to_owned(), value.trim().parse().ok()?))
        };
        Ok(text.lines().filter_map(stat).collect())
    }

    /// Connections from clients, those to the agent's own listeners left out.
    pub async fn connections(&self, own_ports: &[u16]) -> Result<u64, Error> {
        Ok(active(&self.stats("downstream_cx_active$").await?, own_ports))
    }

    /// Envoy's metrics for Prometheus; `query` is passed on.
    pub async fn prometheus(&self, query: &str) -> Result<String, Error> {
        let mark = if query.is_empty() { "" } else { "?" };
        self.ask(Method::GET, &format!("/stats/prometheus{mark}{query}")).await
    }

    async fn ask(&self, method: Method, path: &str) -> Result<String, Error> {
        let address = format!("Envoy's admin page {}", self.0);
        let answer = client::send(method, self.0.into(), path, &[], LIMIT, client::LARGEST);
        let answer = answer.await.map_err(|e| Error::server(&address, e))?;
        if !answer.status.is_success() {
            return Err(Error::server(&address, format!("{path} answers {}", answer.status)));
        }
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }
}

/// The sum over listeners: per-worker counts repeat theirs, and internal listeners carry no clients.
fn active(stats: &BTreeMap<String, u64>, own_ports: &[u16]) -> u64 {
    let of_clients = |name: &str| {
        name.starts_with("listener.")
            && !name.contains("worker_")
            && !name.starts_with("listener.admin.")
            && !name.starts_with("listener.envoy_internal_")
            && !own_ports.iter().any(|port| name.contains(&format!("_{port}.")))
    };
    stats.iter().filter(|(name, _)| of_clients(name)).map(|(_, n)| n).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_clients_count_once() {
        let stats = [
            ("listener.0.0.0.0_15006.downstream_cx_active", 3),
            ("listener.0.0.0.0_15006.worker_0.downstream_cx_active", 3),
            ("listener.0.0.0.0_15021.downstream_cx_active", 1),
            ("listener.admin.downstream_cx_active", 1),
            ("listener.envoy_internal_x.downstream_cx_active", 1),
            ("http.inbound_0.0.0.0_8080.downstream_cx_active", 3),
        ];
        let stats = stats.map(|(n, v)| (n.to_owned(), v)).into();
        assert_eq!(active(&stats, &[15021, 15090]), 3);
    }
}
