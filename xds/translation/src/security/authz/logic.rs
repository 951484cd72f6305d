//! The two trees of an RBAC policy, permissions and principals, built by the same rules.

use meltemi_api::envoy::config::rbac::v3::{Permission, Principal, permission, principal};

/// A node of either tree.
pub(super) trait Logic: Sized {
    /// Matches everything.
    fn any() -> Self;
    /// Matches what all nodes match.
    fn and(all: Vec<Self>) -> Self;
    /// Matches what one of the nodes matches.
    fn or(any: Vec<Self>) -> Self;
    /// Matches what the node does not.
    fn not(self) -> Self;
}

impl Logic for Permission {
    fn any() -> Self {
        Self { rule: Some(permission::Rule::Any(true)) }
    }

    fn and(rules: Vec<Self>) -> Self {
        Self { rule: Some(permission::Rule::AndRules(permission::Set { rules })) }
    }

    fn or(rules: Vec<Self>) -> Self {
        Self { rule: Some(permission::Rule::OrRules(permission::Set { rules })) }
    }

    fn not(self) -> Self {
        Self { rule: Some(permission::Rule::NotRule(Box::new(self))) }
    }
}

impl Logic for Principal {
    fn any() -> Self {
        Self { identifier: Some(principal::Identifier::Any(true)) }
    }

    fn and(ids: Vec<Self>) -> Self {
        Self { identifier: Some(principal::Identifier::AndIds(principal::Set { ids })) }
    }

    fn or(ids: Vec<Self>) -> Self {
        Self { identifier: Some(principal::Identifier::OrIds(principal::Set { ids })) }
    }

    fn not(self) -> Self {
        Self { identifier: Some(principal::Identifier::NotId(Box::new(self))) }
    }
}
