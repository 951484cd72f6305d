//! Lists in flags: of ranges, and of groups.

use ipnet::IpNet;

use crate::Error;

/// More groups than this can't be matched by one rule; Istio's limit too.
const MOST_GROUPS: usize = 64;

/// The items of a comma separated list.
pub(crate) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|i| !i.is_empty())
}

/// Ranges of addresses.
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    /// All there are (`*`).
    pub all: bool,
    /// These, IPv4 and IPv6.
    pub ranges: Vec<IpNet>,
}

impl Ranges {
    /// Reads a list; `name` is the setting, for errors.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        if text.trim() == "*" {
            return Ok(Self { all: true, ranges: Vec::new() });
        }
        let range = |item: &str| {
            item.parse().map_err(|_| {
                Error::setting(name, format!("holds {item:?}, which is no range like 10.0.0.0/8"))
            })
        };
        Ok(Self { all: false, ranges: list(text).map(range).collect::<Result<_, _>>()? })
    }

    /// The ranges of one family.
    pub fn of(&self, v6: bool) -> impl Iterator<Item = &IpNet> {
        self.ranges.iter().filter(move |r| matches!(r, IpNet::V6(_)) == v6)
    }

    /// Whether the loopback network was asked for by name.
    pub fn has_loopback(&self) -> bool {
        self.ranges.iter().any(|r| r.addr().is_loopback())
    }
}

/// Whose traffic is captured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Groups {
    /// All but these.
    AllBut(Vec<String>),
    /// These only.
    Only(Vec<String>),
}

impl Groups {
    /// Reads both lists.
    pub fn parse(include: &str, exclude: &str) -> Result<Self, Error> {
        let owned = |text: &str| list(text).map(String::from).collect::<Vec<_>>();
        let (include, exclude) = (owned(include), owned(exclude));
        let all = include.iter().any(|g| g == "*");
        if all && include.len() > 1 {
            return Err(Error::setting("ISTIO_OUTBOUND_OWNER_GROUPS", "holds `*` beside other groups"));
        }
        if !all && !exclude.is_empty() && !include.is_empty() {
            let text = "has no effect while ISTIO_OUTBOUND_OWNER_GROUPS names groups; leave one of them out";
            return Err(Error::setting("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", text));
        }
        if include.len().max(exclude.len()) > MOST_GROUPS {
            return Err(Error::setting("ISTIO_OUTBOUND_OWNER_GROUPS", "holds more than 64 groups"));
        }
        Ok(if all { Self::AllBut(exclude) } else { Self::Only(include) })
    }
}
