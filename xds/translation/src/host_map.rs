//! Values by host, looked up by the most specific host that covers a name.

use meltemi_world::host;
use std::collections::BTreeMap;

/// Values by host; hosts may be wildcards (`*.example.com`).
#[derive(Clone, Debug)]
pub struct HostMap<V> {
    exact: BTreeMap<String, V>,
    wildcard: BTreeMap<String, V>,
}

impl<V> Default for HostMap<V> {
    fn default() -> Self {
        Self { exact: BTreeMap::new(), wildcard: BTreeMap::new() }
    }
}

impl<V> HostMap<V> {
    /// Sets the value of a host.
    pub fn insert(&mut self, hostname: &str, value: V) {
        self.of(hostname).insert(hostname.to_owned(), value);
    }

    /// The value of a host, added if it has none.
    pub fn or_default(&mut self, hostname: &str) -> &mut V
    where
        V: Default,
    {
        self.of(hostname).entry(hostname.to_owned()).or_default()
    }

    /// The value of the most specific host that covers `hostname`: the host itself, else the longest wildcard.
    /// Source: Istio `MostSpecificHostMatch`.
    pub fn most_specific(&self, hostname: &str) -> Option<&V> {
        let wildcard = host::is_wildcard(hostname);
        let same = if wildcard { &self.wildcard } else { &self.exact };
        if let Some(value) = same.get(hostname) {
            return Some(value);
        }
        let needle = if wildcard { &hostname[1..] } else { hostname };
        let covering = self.wildcard.iter().filter(|(h, _)| needle.ends_with(&h[1..]));
        covering.min_by(|a, b| host::by_specificity(a.0, b.0)).map(|(_, value)| value)
    }

    fn of(&mut self, hostname: &str) -> &mut BTreeMap<String, V> {
        if host::is_wildcard(hostname) { &mut self.wildcard } else { &mut self.exact }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wildcard_wins_and_an_equal_host_before_it() {
        let mut map = HostMap::default();
        for host in ["*.com", "*.example.com", "a.example.com"] {
            map.insert(host, host);
        }
        assert_eq!(map.most_specific("a.example.com"), Some(&"a.example.com"));
        assert_eq!(map.most_specific("b.example.com"), Some(&"*.example.com"));
        assert_eq!(map.most_specific("*.example.com"), Some(&"*.example.com"));
        assert_eq!(map.most_specific("*.b.com"), Some(&"*.com"));
        assert_eq!(map.most_specific("a.org"), None);
    }
}
