//! The mesh's trust domains: an identity in one of them is the same identity in the others.
//!
//! Source: Istio `pilot/pkg/security/trustdomain/bundle.go`.

/// Stands for the mesh's own trust domain, whatever its name.
const LOCAL: &str = "cluster.local";

/// The mesh's trust domain and its aliases.
#[derive(Clone, Debug)]
pub(super) struct TrustDomains<'a> {
    all: Vec<&'a str>,
}

impl<'a> TrustDomains<'a> {
    pub(super) fn new(own: &'a str, aliases: &'a [String]) -> Self {
        Self { all: [own].into_iter().chain(aliases.iter().map(String::as_str)).collect() }
    }

    /// Principals, those in one of the domains repeated in each.
    pub(super) fn of_principals(&self, principals: &[String]) -> Vec<String> {
        principals.iter().flat_map(|p| self.of_principal(p)).collect()
    }

    /// Trust domains, each that is one of ours replaced by all of ours.
    pub(super) fn of_domains(&self, domains: &[String]) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for domain in domains {
            let own = [domain.as_str()];
            let all = if self.all.contains(&domain.as_str()) { self.all.as_slice() } else { &own };
            for &one in all {
                if !found.iter().any(|f| f == one) {
                    found.push(one.to_owned());
                }
            }
        }
        found
    }

    fn of_principal(&self, principal: &str) -> Vec<String> {
        let as_is = || vec![principal.to_owned()];
        // What is not of the form DOMAIN/ns/NAMESPACE/sa/ACCOUNT, or asks for any domain, has none to replace.
        let Some((domain, rest)) = principal.split_once('/') else { return as_is() };
        if rest.split('/').count() != 4 || domain == "*" {
            return as_is();
        }
        if domain != LOCAL && !self.all.iter().any(|own| overlap(domain, own)) {
            return as_is();
        }
        let mut found: Vec<String> = Vec::new();
        for own in &self.all {
            // A pattern such as `*-td` already has the domain in it.
            let new = if has_suffix(own, domain) { principal.to_owned() } else { format!("{own}/{rest}") };
            if !found.contains(&new) {
                found.push(new);
            }
        }
        found
    }
}

/// Whether two texts, either of which may be a pattern, are or match each other.
fn overlap(a: &str, b: &str) -> bool {
    a == b || b == "*" || has_prefix(a, b) || has_prefix(b, a) || has_suffix(a, b) || has_suffix(b, a)
}

fn has_prefix(text: &str, pattern: &str) -> bool {
    pattern.strip_suffix('*').is_some_and(|start| text.starts_with(start))
}

fn has_suffix(text: &str, pattern: &str) -> bool {
    pattern.strip_prefix('*').is_some_and(|end| text.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principals_are_repeated_in_each_domain() {
        let aliases = ["old-td".to_owned()];
        let domains = TrustDomains::new("new-td", &aliases);
        let of = |p: &str| domains.of_principals(&[p.to_owned()]);
        let both = ["new-td/ns/a/sa/b", "old-td/ns/a/sa/b"];
        assert_eq!(of("new-td/ns/a/sa/b"), both);
        assert_eq!(of("old-td/ns/a/sa/b"), both);
        assert_eq!(of("cluster.local/ns/a/sa/b"), both);
        assert_eq!(of("*-td/ns/a/sa/b"), ["*-td/ns/a/sa/b"]);
        assert_eq!(of("*/ns/a/sa/b"), ["*/ns/a/sa/b"]);
        assert_eq!(of("other/ns/a/sa/b"), ["other/ns/a/sa/b"]);
        assert_eq!(of("sa/b"), ["sa/b"]);
        let expanded = domains.of_domains(&["old-td".to_owned(), "x".to_owned(), "new-td".to_owned()]);
        assert_eq!(expanded, ["new-td", "old-td", "x"]);
    }
}
