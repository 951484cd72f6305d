//! Which rules capture what the options ask for.
//!
//! The order within a chain is what decides: exclusions stand before the redirection they exempt from, and the proxy's
//! own traffic is let through before anything of it could come back to the proxy.

use super::{
    options::{Mode, Options},
    ranges::{Groups, list},
    rules::{Family, Rules},
};

const INBOUND: &str = "ISTIO_INBOUND";
const OUTPUT: &str = "ISTIO_OUTPUT";
const OUTPUT_DNS: &str = "ISTIO_OUTPUT_DNS";
const REDIRECT: &str = "ISTIO_REDIRECT";
const IN_REDIRECT: &str = "ISTIO_IN_REDIRECT";
const DIVERT: &str = "ISTIO_DIVERT";
const TPROXY: &str = "ISTIO_TPROXY";
const DROP: &str = "ISTIO_DROP";

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Where Istio's agent answers DNS.
const DNS_PORT: u16 = 15053;
/// The mark of packets that the proxy sends to its own Pod's address: they go through the inbound listener.
const OUTBOUND_MARK: u32 = 1338;

impl Rules {
    /// The rules for these options.
    pub fn plan(options: &Options) -> Self {
        let mut plan = Plan { options, rules: Self::default() };
        plan.interfaces();
        plan.basic_chains();
        plan.inbound_ports();
        plan.outbound();
        if options.mode == Mode::Tproxy {
            plan.tproxy_marks();
        }
        plan.rules
    }
}

struct Plan<'a> {
    options: &'a Options,
    rules: Rules,
}

impl Plan<'_> {
    /// Interfaces that are left alone.
    fn interfaces(&mut self) {
        let flags = &self.options.flags;
        let tables: &[_] = if self.options.mode == Mode::Tproxy { &["nat", "mangle"] } else { &["nat"] };
        for table in tables {
            for interface in list(&flags.istio_exclude_interfaces) {
                self.rules.add(table, "PREROUTING", &format!("-i {interface} -j RETURN"));
                self.rules.add(table, "OUTPUT", &format!("-o {interface} -j RETURN"));
            }
        }
        for interface in list(&flags.kube_virt_interfaces) {
            self.rules.insert("nat", "PREROUTING", 1, &format!("-i {interface} -j RETURN"));
        }
    }

    fn basic_chains(&mut self) {
        let flags = &self.options.flags;
        if flags.drop_invalid {
            let invalid = format!("-m conntrack --ctstate INVALID -j {DROP}");
            self.rules.add("mangle", "PREROUTING", &invalid);
            self.rules.add("mangle", DROP, "-j DROP");
        }
        let tunnel = flags.inbound_tunnel_port;
        self.rules.add("nat", INBOUND, &format!("-p tcp --dport {tunnel} -j RETURN"));
        for (chain, port) in [(REDIRECT, flags.envoy_port), (IN_REDIRECT, flags.inbound_capture_port)] {
            self.rules.add("nat", chain, &format!("-p tcp -j REDIRECT --to-ports {port}"));
        }
    }

    fn inbound_ports(&mut self) {
        let (flags, mode) = (&self.options.flags, self.options.mode);
        if flags.istio_inbound_ports.is_empty() {
            return;
        }
        let table = if mode == Mode::Tproxy { "mangle" } else { "nat" };
        if mode == Mode::Tproxy {
            let (mark, port) = (flags.istio_inbound_tproxy_mark, flags.inbound_capture_port);
            self.rules.add("mangle", DIVERT, &format!("-j MARK --set-mark {mark}"));
            self.rules.add("mangle", DIVERT, "-j ACCEPT");
            self.versioned("mangle", TPROXY, |own| {
                format!("! -d {own} -p tcp -j TPROXY --tproxy-mark {mark}/0xffffffff --on-port {port}")
            });
        }
        self.rules.add(table, "PREROUTING", &format!("-p tcp -j {INBOUND}"));
        if flags.istio_inbound_ports.trim() == "*" {
            for port in list(&flags.istio_local_exclude_ports) {
                self.rules.add(table, INBOUND, &format!("-p tcp --dport {port} -j RETURN"));
            }
            self.capture_inbound("-p tcp");
        } else {
            for port in list(&flags.istio_inbound_ports) {
                self.capture_inbound(&format!("-p tcp --dport {port}"));
            }
        }
    }

    fn capture_inbound(&mut self, what: &str) {
        if self.options.mode == Mode::Redirect {
            self.rules.add("nat", INBOUND, &format!("{what} -j {IN_REDIRECT}"));
            return;
        }
        // Packets of a connection that has a socket already need no TPROXY, only the way to it.
        let known = format!("{what} -m conntrack --ctstate RELATED,ESTABLISHED -j {DIVERT}");
        self.rules.add("mangle", INBOUND, &known);
        self.rules.add("mangle", INBOUND, &format!("{what} -j {TPROXY}"));
    }

    fn outbound(&mut self) {
        let options = self.options;
        let flags = &options.flags;
        self.rules.add("nat", "OUTPUT", &format!("-j {OUTPUT}"));
        for port in list(&flags.istio_local_outbound_ports_exclude) {
            for protocol in ["tcp", "udp"] {
                self.rules.add("nat", OUTPUT, &format!("-p {protocol} --dport {port} -j RETURN"));
            }
        }
        // The source address of the proxy's connections to the Pod's own ports (InboundPassthroughCluster).
        for (family, source) in FAMILIES.into_iter().zip(["127.0.0.6/32", "::6/128"]) {
            self.rules.add_to(family, "nat", OUTPUT, format!("-o lo -s {source} -j RETURN"));
        }
        let tunnel = flags.inbound_tunnel_port;
        let all_but_tunnel = format!("! --dport {tunnel}");
        // A user's DNS over TCP to the Pod's own resolver is not for the inbound listener.
        let for_users =
            if options.dns { format!("-m multiport ! --dports 53,{tunnel}") } else { all_but_tunnel.clone() };
        for uid in &options.uids {
            self.proxy_traffic(&format!("--uid-owner {uid}"), &for_users);
        }
        for gid in &options.gids {
            self.proxy_traffic(&format!("--gid-owner {gid}"), &all_but_tunnel);
        }
        self.groups();
        if options.dns {
            self.dns();
        }
        self.versioned("nat", OUTPUT, |own| format!("-d {own} -j RETURN"));
        for (family, v6) in FAMILIES.into_iter().zip([false, true]) {
            for range in options.exclude.of(v6) {
                self.rules.add_to(family, "nat", OUTPUT, format!("-d {range} -j RETURN"));
            }
        }
        for port in list(&flags.istio_outbound_ports) {
            self.rules.add("nat", OUTPUT, &format!("-p tcp --dport {port} -j {REDIRECT}"));
        }
        for (family, v6) in FAMILIES.into_iter().zip([false, true]) {
            self.outbound_ranges(family, v6);
        }
    }

    /// What the proxy itself sends, and what others send over the loopback interface.
    fn proxy_traffic(&mut self, owner: &str, ports: &str) {
        // To the Pod by its own address or by a service's: through the inbound listener.
        self.versioned("nat", OUTPUT, |own| {
            format!("-o lo ! -d {own} -p tcp {ports} -m owner {owner} -j {IN_REDIRECT}")
        });
        if !self.options.include.has_loopback() {
            let all_but_dns = if self.options.dns { "-p tcp ! --dport 53 " } else { "" };
            self.rules.add("nat", OUTPUT, &format!("-o lo {all_but_dns}-m owner ! {owner} -j RETURN"));
        }
        self.rules.add("nat", OUTPUT, &format!("-m owner {owner} -j RETURN"));
    }

    fn groups(&mut self) {
        match &self.options.groups {
            Groups::AllBut(groups) => {
                for group in groups {
                    self.rules.add("nat", OUTPUT, &format!("-m owner --gid-owner {group} -j RETURN"));
                }
            }
            Groups::Only(groups) => {
                let none: String = groups.iter().map(|g| format!("-m owner ! --gid-owner {g} ")).collect();
                self.rules.add("nat", OUTPUT, &format!("{none}-j RETURN"));
            }
        }
    }

    fn outbound_ranges(&mut self, family: Family, v6: bool) {
        let options = self.options;
        let interfaces = &options.flags.kube_virt_interfaces;
        if options.include.all {
            self.rules.add_to(family, "nat", OUTPUT, format!("-j {REDIRECT}"));
            for interface in list(interfaces) {
                let rule = format!("-i {interface} -j {REDIRECT}");
                self.rules.insert_to(family, "nat", "PREROUTING", 1, rule);
            }
        }
        for range in options.include.of(v6) {
            for interface in list(interfaces) {
                let rule = format!("-i {interface} -d {range} -j {REDIRECT}");
                self.rules.insert_to(family, "nat", "PREROUTING", 1, rule);
            }
            self.rules.add_to(family, "nat", OUTPUT, format!("-d {range} -j {REDIRECT}"));
        }
    }

    /// DNS goes to the agent; its own DNS has a connection tracking zone of its own, since both have one five-tuple.
    fn dns(&mut self) {
        let options = self.options;
        self.rules.add("raw", "OUTPUT", &format!("-j {OUTPUT_DNS}"));
        for family in FAMILIES {
            let servers = self.servers(family);
            if !servers.is_empty() {
                self.rules.add_to(family, "nat", OUTPUT, format!("-j {OUTPUT_DNS}"));
            }
            for (protocol, to) in [("tcp", "--to-ports"), ("udp", "--to-port")] {
                for server in &servers {
                    let to_agent = format!("-p {protocol} --dport 53{}", on("-d", server));
                    let rule = format!("{to_agent} -j REDIRECT {to} {DNS_PORT}");
                    self.rules.add_to(family, "nat", OUTPUT_DNS, rule);
                }
            }
        }
        let uids = options.uids.iter().map(|id| format!("--uid-owner {id}"));
        for owner in uids.chain(options.gids.iter().map(|id| format!("--gid-owner {id}"))) {
            for (port, zone) in [("--dport 53".to_owned(), 1), (format!("--sport {DNS_PORT}"), 2)] {
                let rule = format!("-p udp {port} -m owner {owner} -j CT --zone {zone}");
                self.rules.add("raw", OUTPUT_DNS, &rule);
            }
        }
        for family in FAMILIES {
            let servers = self.servers(family);
            if !servers.is_empty() {
                self.rules.add_to(family, "raw", "PREROUTING", format!("-j {INBOUND}"));
            }
            for server in &servers {
                let asked = format!("-p udp --dport 53{} -j CT --zone 2", on("-d", server));
                let answered = format!("-p udp --sport 53{} -j CT --zone 1", on("-s", server));
                self.rules.add_to(family, "raw", OUTPUT_DNS, asked);
                self.rules.add_to(family, "raw", INBOUND, answered);
            }
        }
    }

    /// The name servers of a family whose DNS is captured; one without address stands for all.
    fn servers(&self, family: Family) -> Vec<String> {
        if self.options.flags.capture_all_dns {
            return vec![String::new()];
        }
        let servers = self.options.name_servers.iter();
        let suffix = if family == Family::V6 { 128 } else { 32 };
        let of_family = servers.filter(|s| s.is_ipv6() == (family == Family::V6));
        of_family.map(|s| format!("{s}/{suffix}")).collect()
    }

    /// Marks that keep TPROXY's packets out of circles.
    fn tproxy_marks(&mut self) {
        let options = self.options;
        let mark = options.flags.istio_inbound_tproxy_mark;
        let marked = format!("-p tcp -m mark --mark {mark}");
        self.rules.add("mangle", "PREROUTING", &format!("{marked} -j CONNMARK --save-mark"));
        self.rules.add("mangle", "OUTPUT", &format!("-p tcp -o lo -m mark --mark {mark} -j RETURN"));
        let uids = options.uids.iter().map(|id| format!("--uid-owner {id}"));
        for owner in uids.chain(options.gids.iter().map(|id| format!("--gid-owner {id}"))) {
            self.versioned("mangle", "OUTPUT", |own| {
                format!("! -d {own} -p tcp -o lo -m owner {owner} -j MARK --set-mark {OUTBOUND_MARK}")
            });
        }
        let restore = format!("-p tcp -m connmark --mark {mark} -j CONNMARK --restore-mark");
        self.rules.add("mangle", "OUTPUT", &restore);
        self.rules.insert("mangle", INBOUND, 1, &format!("{marked} -j RETURN"));
        for (family, source) in FAMILIES.into_iter().zip(["127.0.0.6/32", "::6/128"]) {
            let own = format!("-p tcp -s {source} -i lo -j RETURN");
            self.rules.insert_to(family, "mangle", INBOUND, 2, own);
        }
        let apps = format!("-p tcp -i lo -m mark ! --mark {OUTBOUND_MARK} -j RETURN");
        self.rules.insert("mangle", INBOUND, 3, &apps);
    }

    /// Appends a rule that names the Pod's loopback range.
    fn versioned(&mut self, table: &'static str, chain: &'static str, text: impl Fn(&str) -> String) {
        self.rules.add_to(Family::V4, table, chain, text(&self.options.loopback));
        self.rules.add_to(Family::V6, table, chain, text("::1/128"));
    }
}

/// A match of an address, unless it stands for all.
fn on(option: &str, address: &str) -> String {
    if address.is_empty() { String::new() } else { format!(" {option} {address}") }
}

#[cfg(test)]
mod tests;
