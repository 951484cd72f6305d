//! Rules of both families, and how they are written for the iptables programs.

use std::collections::{BTreeMap, BTreeSet};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `iptables`.
    V4,
    /// `ip6tables`.
    V6,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) table: &'static str,
    pub(super) chain: &'static str,
    /// Inserted at this place instead of appended.
    position: Option<u8>,
    text: String,
}

impl Rule {
    /// Arguments of `iptables` that check for the rule (`-C`), add (`-A`) or remove (`-D`) it.
    pub(super) fn command(&self, verb: &str) -> Vec<String> {
        let words = ["-t", self.table, verb, self.chain].into_iter().chain(self.text.split_whitespace());
        words.map(String::from).collect()
    }

    /// The chain it jumps to, if that is one of ours.
    fn jump(&self) -> Option<&str> {
        let (_, target) = self.text.rsplit_once("-j ")?;
        is_ours(target).then_some(target)
    }
}

/// Whether a chain is one that these rules make.
pub(super) fn is_ours(chain: &str) -> bool {
    chain.starts_with("ISTIO_")
}

/// The rules of a Pod, in the order in which they take effect.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    v4: Vec<Rule>,
    v6: Vec<Rule>,
}

impl Rules {
    /// Appends a rule of one family.
    pub(super) fn add_to(&mut self, family: Family, table: &'static str, chain: &'static str, text: String) {
        self.of_mut(family).push(Rule { table, chain, position: None, text });
    }

    /// Appends a rule to both families.
    pub(super) fn add(&mut self, table: &'static str, chain: &'static str, text: &str) {
        for family in [Family::V4, Family::V6] {
            self.add_to(family, table, chain, text.to_owned());
        }
    }

    /// Inserts a rule of one family at a place, counted from 1.
    pub(super) fn insert_to(
        &mut self,
        family: Family,
        table: &'static str,
        chain: &'static str,
        at: u8,
        text: String,
    ) {
        self.of_mut(family).push(Rule { table, chain, position: Some(at), text });
    }

    /// Inserts a rule into both families.
    pub(super) fn insert(&mut self, table: &'static str, chain: &'static str, at: u8, text: &str) {
        for family in [Family::V4, Family::V6] {
            self.insert_to(family, table, chain, at, text.to_owned());
        }
    }

    fn of_mut(&mut self, family: Family) -> &mut Vec<Rule> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    pub(super) fn of(&self, family: Family) -> &[Rule] {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The input of `iptables-restore --noflush` that makes the chains and rules of a family.
    pub fn restore(&self, family: Family) -> String {
        let rules = self.of(family);
        let mut tables: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (table, chain) in chains(rules) {
            tables.entry(table).or_default().push(format!("-N {chain}"));
        }
        for rule in rules {
            let line = match rule.position {
                Some(at) => format!("-I {} {at} {}", rule.chain, rule.text),
                None => format!("-A {} {}", rule.chain, rule.text),
            };
            tables.entry(rule.table).or_default().push(line);
        }
        tables.iter().map(|(table, lines)| format!("* {table}\n{}\nCOMMIT\n", lines.join("\n"))).collect()
    }

    /// How many rules each of our chains has, by table and chain.
    pub(super) fn sizes(&self, family: Family) -> BTreeMap<(String, String), usize> {
        let rules = self.of(family);
        let mut sizes: BTreeMap<_, usize> =
            chains(rules).into_iter().map(|(t, c)| ((t.into(), c.into()), 0)).collect();
        for rule in rules {
            if let Some(size) = sizes.get_mut(&(rule.table.to_owned(), rule.chain.to_owned())) {
                *size += 1;
            }
        }
        sizes
    }

    /// Commands that take all of it away: first the jumps from the kernel's own chains, then our chains.
    pub(super) fn cleanup(&self, family: Family) -> Vec<Vec<String>> {
        let rules = self.of(family);
        let foreign = rules.iter().rev().filter(|r| !is_ours(r.chain) || r.jump().is_some());
        let mut commands: Vec<_> = foreign.map(|r| r.command("-D")).collect();
        for (table, chain) in chains(rules) {
            for verb in ["-F", "-X"] {
                commands.push(["-t", table, verb, chain].map(String::from).to_vec());
            }
        }
        commands
    }
}

/// Our chains that rules are in or jump to, each once, with their tables, in the order of their first use as a chain.
fn chains(rules: &[Rule]) -> Vec<(&str, &str)> {
    let held = rules.iter().map(|r| (r.table, r.chain)).filter(|(_, chain)| is_ours(chain));
    let jumps = rules.iter().filter_map(|r| Some((r.table, r.jump()?)));
    let mut seen = BTreeSet::new();
    held.chain(jumps).filter(|c| seen.insert(*c)).collect()
}
