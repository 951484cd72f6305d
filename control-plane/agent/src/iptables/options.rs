//! What is to be captured: the flags of `istio-iptables` and the environment variables that stand for them.

use std::{fs, net::IpAddr};

use clap::Args;

use super::ranges::{Groups, Ranges, list};
use crate::Error;

/// Flags of `meltemi istio-iptables`, under the names of Istio's. Each has an environment variable of the same name.
#[derive(Clone, Debug, Args)]
pub struct Flags {
    /// Port of the proxy that all outbound TCP traffic is sent to.
    #[arg(short = 'p', long, default_value = "15001")]
    pub envoy_port: u16,
    /// Port of the proxy that all inbound TCP traffic is sent to.
    #[arg(short = 'z', long, env = "INBOUND_CAPTURE_PORT", default_value = "15006")]
    pub inbound_capture_port: u16,
    /// Port of the tunnel (HBONE), which the proxy itself listens on.
    #[arg(short = 'e', long, env = "INBOUND_TUNNEL_PORT", default_value = "15008")]
    pub inbound_tunnel_port: u16,
    /// Comma separated user ids whose traffic is let through. Default: the user ENVOY_USER, else 1337.
    #[arg(short = 'u', long, env = "PROXY_UID", default_value = "")]
    pub proxy_uid: String,
    /// Comma separated group ids whose traffic is let through. Default: as --proxy-uid.
    #[arg(short = 'g', long, env = "PROXY_GID", default_value = "")]
    pub proxy_gid: String,
    /// How inbound connections reach the proxy: REDIRECT or TPROXY.
    #[arg(short = 'm', long, env = "ISTIO_INBOUND_INTERCEPTION_MODE", default_value = "")]
    pub istio_inbound_interception_mode: String,
    /// Comma separated inbound ports to capture; `*` for all, empty for none.
    #[arg(short = 'b', long, env = "ISTIO_INBOUND_PORTS", default_value = "")]
    pub istio_inbound_ports: String,
    /// Comma separated inbound ports to leave alone, if all are captured.
    #[arg(short = 'd', long, env = "ISTIO_LOCAL_EXCLUDE_PORTS", default_value = "")]
    pub istio_local_exclude_ports: String,
    /// Comma separated interfaces whose traffic is left alone, both ways.
    #[arg(short = 'c', long, env = "ISTIO_EXCLUDE_INTERFACES", default_value = "")]
    pub istio_exclude_interfaces: String,
    /// Comma separated outbound ranges (CIDR) to capture; `*` for all, empty for none.
    #[arg(short = 'i', long, env = "ISTIO_SERVICE_CIDR", default_value = "")]
    pub istio_service_cidr: String,
    /// Comma separated outbound ranges (CIDR) to leave alone.
    #[arg(short = 'x', long, env = "ISTIO_SERVICE_EXCLUDE_CIDR", default_value = "")]
    pub istio_service_exclude_cidr: String,
    /// Comma separated outbound ports to capture beside the ranges.
    #[arg(short = 'q', long, env = "ISTIO_OUTBOUND_PORTS", default_value = "")]
    pub istio_outbound_ports: String,
    /// Comma separated outbound ports to leave alone.
    #[arg(short = 'o', long, env = "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE", default_value = "")]
    pub istio_local_outbound_ports_exclude: String,
    /// Comma separated virtual interfaces whose inbound traffic counts as outbound.
    #[arg(short = 'k', long, env = "KUBE_VIRT_INTERFACES", default_value = "")]
    pub kube_virt_interfaces: String,
    /// The packet mark of TPROXY.
    #[arg(short = 't', long, env = "ISTIO_INBOUND_TPROXY_MARK", default_value = "1337")]
    pub istio_inbound_tproxy_mark: u32,
    /// The routing table of TPROXY.
    #[arg(short = 'r', long, env = "ISTIO_INBOUND_TPROXY_ROUTE_TABLE", default_value = "133")]
    pub istio_inbound_tproxy_route_table: u32,
    /// Capture DNS that goes to the name servers of /etc/resolv.conf (ISTIO_META_DNS_CAPTURE).
    #[arg(long, env = "REDIRECT_DNS", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = switch)]
    pub redirect_dns: bool,
    /// Capture all DNS, whoever it goes to.
    #[arg(long, env = "CAPTURE_ALL_DNS", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = switch)]
    pub capture_all_dns: bool,
    /// Drop packets that belong to no known connection (INVALID_DROP).
    #[arg(long, env = "DROP_INVALID", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = switch)]
    pub drop_invalid: bool,
    /// Capture IPv6 beside IPv4 (ISTIO_DUAL_STACK).
    #[arg(long, env = "DUAL_STACK", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = switch)]
    pub dual_stack: bool,
    /// Print the rules and change nothing.
    #[arg(short = 'n', long, env = "DRY_RUN", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = switch)]
    pub dry_run: bool,
    /// Leave the kernel's rules alone.
    #[arg(long, env = "SKIP_RULE_APPLY", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = switch)]
    pub skip_rule_apply: bool,
    /// Replace rules that are there and differ.
    #[arg(long, env = "RECONCILE", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = switch)]
    pub reconcile: bool,
    /// Take the rules away instead of setting them.
    #[arg(long, env = "CLEANUP_ONLY", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = switch)]
    pub cleanup_only: bool,
    /// Set the rules even if they seem to be there.
    #[arg(long, env = "FORCE_APPLY", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = switch)]
    pub force_apply: bool,
    /// Which iptables to use: legacy or nft. Default: `iptables` as the image has it.
    #[arg(long, env = "FORCE_IPTABLES_BINARY", default_value = "")]
    pub force_iptables_binary: String,
    /// Not offered: check that traffic is captured, as the CNI plugin's validation container does.
    #[arg(long, env = "RUN_VALIDATION", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = switch, hide = true)]
    pub run_validation: bool,
    /// Not offered: run for a CNI plugin.
    #[arg(long, env = "CNI_MODE", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = switch, hide = true)]
    pub cni_mode: bool,
    /// Not offered: nftables without iptables.
    #[arg(long, env = "NATIVE_NFTABLES", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", value_parser = switch, hide = true)]
    pub native_nftables: bool,
    /// Not offered: another network namespace than the process's own.
    #[arg(long, env = "NETWORK_NAMESPACE", default_value = "", hide = true)]
    pub network_namespace: String,
}

/// How inbound connections reach the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Rewritten destination; the proxy asks the kernel for the original one.
    Redirect,
    /// Untouched packets, routed to the proxy by a mark; it keeps the source address.
    Tproxy,
}

/// What is to be captured, read and checked.
#[derive(Clone, Debug)]
pub struct Options {
    /// The flags as they were given.
    pub flags: Flags,
    /// How inbound connections reach the proxy.
    pub mode: Mode,
    /// Users whose traffic is let through.
    pub uids: Vec<String>,
    /// Groups whose traffic is let through.
    pub gids: Vec<String>,
    /// Outbound ranges to capture.
    pub include: Ranges,
    /// Outbound ranges to leave alone.
    pub exclude: Ranges,
    /// Groups whose traffic is captured (`ISTIO_OUTBOUND_OWNER_GROUPS` and `…_EXCLUDE`).
    pub groups: Groups,
    /// The IPv4 range that counts as the Pod's own (`ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR`).
    pub loopback: String,
    /// Whether DNS is captured at all.
    pub dns: bool,
    /// The name servers whose DNS is captured, unless all is.
    pub name_servers: Vec<IpAddr>,
    /// Whether IPv6 is captured.
    pub ipv6: bool,
}

impl Options {
    /// Reads flags, the variables that have none, and the machine's addresses and name servers.
    pub fn read(mut flags: Flags) -> Result<Self, Error> {
        // Other names of the same switches, as the rest of Istio knows them.
        flags.redirect_dns |= env_switch("ISTIO_META_DNS_CAPTURE")?;
        flags.drop_invalid |= env_switch("INVALID_DROP")?;
        flags.dual_stack |= env_switch("ISTIO_DUAL_STACK")?;
        if flags.proxy_uid.is_empty() {
            flags.proxy_uid = proxy_user();
        }
        let resolv = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let ipv6 = has_global_ipv6() && (flags.dual_stack || !has_ipv4_route());
        let var = |name: &str| std::env::var(name).unwrap_or_default();
        Self::new(
            flags,
            &Surroundings {
                resolv,
                ipv6,
                loopback: var("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"),
                groups: std::env::var("ISTIO_OUTBOUND_OWNER_GROUPS").ok(),
                groups_exclude: var("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"),
            },
        )
    }

    /// Checks flags against what is around them.
    pub fn new(mut flags: Flags, around: &Surroundings) -> Result<Self, Error> {
        for (set, flag) in [
            (flags.run_validation, "--run-validation"),
            (flags.cni_mode, "--cni-mode"),
            (flags.native_nftables, "--native-nftables"),
            (!flags.network_namespace.is_empty(), "--network-namespace"),
        ] {
            if set {
                return Err(Error::setting(flag, "is not offered; use Istio's own istio-iptables for it"));
            }
        }
        let mode = match flags.istio_inbound_interception_mode.as_str() {
            "" | "REDIRECT" => Mode::Redirect,
            "TPROXY" => Mode::Tproxy,
            other => {
                let text = format!("is {other:?}; use REDIRECT or TPROXY");
                return Err(Error::setting("--istio-inbound-interception-mode", text));
            }
        };
        if flags.proxy_gid.is_empty() {
            flags.proxy_gid.clone_from(&flags.proxy_uid);
        }
        let include = Ranges::parse("--istio-service-cidr", &flags.istio_service_cidr)?;
        let exclude = Ranges::parse("--istio-service-exclude-cidr", &flags.istio_service_exclude_cidr)?;
        if exclude.all {
            return Err(Error::setting(
                "--istio-service-exclude-cidr",
                "is `*`; leave ranges out one by one",
            ));
        }
        let groups = Groups::parse(around.groups.as_deref().unwrap_or("*"), &around.groups_exclude)?;
        let loopback = if around.loopback.is_empty() { "127.0.0.1/32" } else { &around.loopback };
        Ranges::parse("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", loopback)?;
        for (flag, ports) in [
            ("--istio-inbound-ports", &flags.istio_inbound_ports),
            ("--istio-local-exclude-ports", &flags.istio_local_exclude_ports),
            ("--istio-outbound-ports", &flags.istio_outbound_ports),
            ("--istio-local-outbound-ports-exclude", &flags.istio_local_outbound_ports_exclude),
        ] {
            let bad = list(ports).find(|p| *p != "*" && p.parse::<u16>().is_err());
            if let Some(port) = bad {
                return Err(Error::setting(flag, format!("holds {port:?}, which is no port")));
            }
        }
        let name_servers = if flags.capture_all_dns { Vec::new() } else { name_servers(&around.resolv) };
        let dns = flags.redirect_dns && (flags.capture_all_dns || !name_servers.is_empty());
        Ok(Self {
            mode,
            uids: list(&flags.proxy_uid).map(String::from).collect(),
            gids: list(&flags.proxy_gid).map(String::from).collect(),
            include,
            exclude,
            groups,
            loopback: loopback.to_owned(),
            dns,
            name_servers,
            ipv6: around.ipv6,
            flags,
        })
    }
}

/// What beside the flags decides the rules.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The text of `/etc/resolv.conf`.
    pub resolv: String,
    /// Whether IPv6 is to be captured.
    pub ipv6: bool,
    /// `ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR`; empty for 127.0.0.1/32.
    pub loopback: String,
    /// `ISTIO_OUTBOUND_OWNER_GROUPS`; unset means all.
    pub groups: Option<String>,
    /// `ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE`.
    pub groups_exclude: String,
}

/// Go's `strconv.ParseBool`, and unset for an empty text.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        other => Err(format!("{other:?} is neither true nor false")),
    }
}

fn env_switch(name: &str) -> Result<bool, Error> {
    switch(&std::env::var(name).unwrap_or_default()).map_err(|e| Error::setting(name, e))
}

/// The id of the user that `ENVOY_USER` names, if the machine knows it.
fn proxy_user() -> String {
    let name = std::env::var("ENVOY_USER").unwrap_or_else(|_| "istio-proxy".into());
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = users.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|u| u[0] == name);
    found.and_then(|u| u.get(2).map(|id| (*id).to_owned())).unwrap_or_else(|| "1337".into())
}

fn name_servers(resolv: &str) -> Vec<IpAddr> {
    let words = resolv.lines().map(|l| l.split_whitespace().collect::<Vec<_>>());
    words
        .filter_map(|w| match w.as_slice() {
            ["nameserver", address, ..] => address.parse().ok(),
            _ => None,
        })
        .collect()
}

/// Whether an interface has an IPv6 address of global scope: column 4 of the kernel's list is `00`.
fn has_global_ipv6() -> bool {
    let addresses = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    addresses.lines().any(|l| l.split_whitespace().nth(3) == Some("00"))
}

fn has_ipv4_route() -> bool {
    fs::read_to_string("/proc/net/route").unwrap_or_default().lines().nth(1).is_some()
}
