//! A range of addresses of which the next free one is taken.

use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A range. What was taken once is not given again as long as the process runs, since clients may still know it.
#[derive(Debug)]
pub(super) struct Range {
    net: IpNet,
    next: u128,
    taken: BTreeSet<IpAddr>,
}

impl Range {
    pub(super) fn new(net: IpNet) -> Self {
        Self { net: net.trunc(), next: 1, taken: BTreeSet::new() }
    }

    /// Whether an address is of this range.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.net.contains(&address)
    }

    /// Notes that somebody has an address.
    pub(super) fn take(&mut self, address: IpAddr) {
        if self.contains(address) {
            self.taken.insert(address);
        }
    }

    /// Takes back what nobody was told of.
    pub(super) fn give_back(&mut self, address: IpAddr) {
        if self.taken.remove(&address)
            && let Some(offset) = self.offset(address)
        {
            self.next = self.next.min(offset);
        }
    }

    /// The next free address; `None` if there is none.
    pub(super) fn next(&mut self) -> Option<IpAddr> {
        // One more than are taken must find a free one, if there is one.
        for _ in 0..=self.taken.len() + 1 {
            let address = self.address(self.next);
            self.next = if address.is_some() { self.next + 1 } else { 1 };
            if let Some(address) = address
                && self.taken.insert(address)
            {
                return Some(address);
            }
        }
        None
    }

    fn address(&self, offset: u128) -> Option<IpAddr> {
        let address = match self.net.network() {
            IpAddr::V4(first) => {
                let bits = u128::from(first.to_bits()) + offset;
                IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).ok()?))
            }
            IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits().checked_add(offset)?)),
        };
        self.contains(address).then_some(address)
    }

    fn offset(&self, address: IpAddr) -> Option<u128> {
        match (self.net.network(), address) {
            (IpAddr::V4(first), IpAddr::V4(own)) => {
                own.to_bits().checked_sub(first.to_bits()).map(u128::from)
            }
            (IpAddr::V6(first), IpAddr::V6(own)) => own.to_bits().checked_sub(first.to_bits()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(net: &str) -> Range {
        Range::new(net.parse().unwrap())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_address_is_left_out_and_the_end_is_the_end() {
        let mut range = range("10.0.0.0/30");
        range.take(ip("10.0.0.2"));
        range.take(ip("10.0.1.1"));
        assert_eq!(range.next(), Some(ip("10.0.0.1")));
        assert_eq!(range.next(), Some(ip("10.0.0.3")));
        assert_eq!(range.next(), None);
        range.give_back(ip("10.0.0.3"));
        assert_eq!(range.next(), Some(ip("10.0.0.3")));
    }

    #[test]
    fn ranges_of_both_families_have_addresses() {
        assert_eq!(range("240.240.0.0/16").next(), Some(ip("240.240.0.1")));
        assert_eq!(range("2001:2::/48").next(), Some(ip("2001:2::1")));
        assert_eq!(range("255.255.255.254/31").next(), Some(ip("255.255.255.255")));
        assert_eq!(range("10.0.0.1/32").next(), None);
    }
}
