//! Brings the kernel's rules in line with the plan, by the iptables programs.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Output, Stdio},
};

use super::{Family, Flags, Mode, Options, Rules, rules::is_ours};
use crate::Error;

/// How long the programs wait for each other's lock, in seconds.
const LOCK: &str = "--wait=30";

/// Traffic that must not pass while rules are being replaced.
const GUARDRAILS: [(&str, &str); 6] = [
    ("INPUT", "tcp"),
    ("INPUT", "udp"),
    ("FORWARD", "tcp"),
    ("FORWARD", "udp"),
    ("OUTPUT", "tcp"),
    ("OUTPUT", "udp"),
];

/// Sets (or removes) the rules that the flags ask for. A dry run only writes them to `out`.
pub fn run(flags: Flags, out: &mut impl Write) -> Result<(), Error> {
    let options = Options::read(flags)?;
    let rules = Rules::plan(&options);
    let families: &[_] = if options.ipv6 { &[Family::V4, Family::V6] } else { &[Family::V4] };
    if options.flags.redirect_dns && !options.dns {
        tracing::warn!("DNS is not captured: /etc/resolv.conf names no server; use --capture-all-dns");
    }
    if options.flags.dry_run {
        for family in families {
            write!(out, "{}", rules.restore(*family))?;
        }
        return Ok(());
    }
    if options.flags.skip_rule_apply {
        return Ok(());
    }
    let programs: Vec<_> = families
        .iter()
        .map(|f| Programs::new(*f, &options.flags.force_iptables_binary))
        .collect::<Result<_, _>>()?;
    bring_about(&options, &rules, &programs)?;
    if options.mode == Mode::Tproxy && !options.flags.cleanup_only {
        routes(&options)?;
    }
    Ok(())
}

fn bring_about(options: &Options, rules: &Rules, programs: &[Programs]) -> Result<(), Error> {
    let flags = &options.flags;
    let states = programs.iter().map(|p| p.compare(rules)).collect::<Result<Vec<_>, _>>()?;
    let residue = states.iter().any(|s| *s != State::Clean);
    let differs = states.iter().any(|s| *s != State::Equal);
    if flags.cleanup_only {
        programs.iter().for_each(|p| p.clean(rules));
        return Ok(());
    }
    if !differs && !flags.force_apply {
        tracing::info!("the rules are in place");
        return Ok(());
    }
    let replaced = residue && differs && flags.reconcile;
    if residue && differs && !flags.reconcile {
        tracing::warn!("other rules of Istio's are in place; --reconcile replaces them");
    }
    let _guard = if replaced { Some(Guardrails::set(programs)?) } else { None };
    if replaced {
        programs.iter().for_each(|p| p.clean(rules));
    }
    for program in programs {
        program.restore(&rules.restore(program.family))?;
    }
    tracing::info!("the rules are set");
    Ok(())
}

/// What the kernel has, compared with the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of ours.
    Clean,
    /// Just what is planned.
    Equal,
    /// Something else of ours.
    Different,
}

/// The iptables programs of one family.
struct Programs {
    family: Family,
    name: String,
}

impl Programs {
    fn new(family: Family, binary: &str) -> Result<Self, Error> {
        let base = if family == Family::V4 { "iptables" } else { "ip6tables" };
        let name = match binary.trim_start_matches("iptables-") {
            "" => base.to_owned(),
            kind @ ("legacy" | "nft") => format!("{base}-{kind}"),
            _ => return Err(Error::setting("--force-iptables-binary", "takes legacy or nft")),
        };
        let programs = Self { family, name };
        programs.run("", &["--version".into()], None)?;
        Ok(programs)
    }

    /// Runs one of the programs and fails if it does.
    fn run(&self, suffix: &str, args: &[String], input: Option<&str>) -> Result<Output, Error> {
        let program = format!("{}{suffix}", self.name);
        let failed = |why: String| Error::Program { program: format!("{program} {}", args.join(" ")), why };
        let mut command = Command::new(&program);
        command.args(args).stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| failed(format!("cannot be started: {e}")))?;
        if let (Some(mut stdin), Some(text)) = (child.stdin.take(), input) {
            stdin.write_all(text.as_bytes()).map_err(|e| failed(e.to_string()))?;
        }
        let output = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
        if output.status.success() {
            return Ok(output);
        }
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// `iptables` with one command, waiting for the lock.
    fn command(&self, mut args: Vec<String>) -> Result<Output, Error> {
        args.insert(0, LOCK.into());
        self.run("", &args, None)
    }

    fn restore(&self, text: &str) -> Result<(), Error> {
        // Without --noflush, rules of others would be lost.
        self.run("-restore", &["--noflush".into(), LOCK.into()], Some(text)).map(drop)
    }

    fn clean(&self, rules: &Rules) {
        for command in rules.cleanup(self.family) {
            // What is not there can't be removed; that is no failure.
            if let Err(error) = self.command(command) {
                tracing::debug!("{error}");
            }
        }
    }

    fn compare(&self, rules: &Rules) -> Result<State, Error> {
        let saved = self.run("-save", &[], None)?;
        let present = sizes(&String::from_utf8_lossy(&saved.stdout));
        if present.is_empty() {
            return Ok(State::Clean);
        }
        if present != rules.sizes(self.family) {
            return Ok(State::Different);
        }
        let planned = rules.of(self.family);
        let all = planned.iter().all(|r| self.command(r.command("-C")).is_ok());
        Ok(if all { State::Equal } else { State::Different })
    }
}

/// How many rules each of our chains has in the output of `iptables-save`, by table and chain.
fn sizes(saved: &str) -> BTreeMap<(String, String), usize> {
    let mut sizes = BTreeMap::new();
    let mut table = "";
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim();
        } else if let Some(chain) = line.strip_prefix(':') {
            let chain = chain.split(' ').next().unwrap_or_default();
            if is_ours(chain) {
                sizes.entry((table.to_owned(), chain.to_owned())).or_insert(0);
            }
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let chain = rule.split(' ').next().unwrap_or_default();
            if let Some(size) = sizes.get_mut(&(table.to_owned(), chain.to_owned())) {
                *size += 1;
            }
        }
    }
    sizes
}

/// Nothing passes while these stand: a connection made between old and new rules would go past the proxy for good.
struct Guardrails<'a>(&'a [Programs]);

impl<'a> Guardrails<'a> {
    fn set(programs: &'a [Programs]) -> Result<Self, Error> {
        let guard = Self(programs);
        for program in programs {
            for (chain, protocol) in GUARDRAILS {
                let rule = ["-I", chain, "1", "-p", protocol, "-j", "DROP"];
                program.command(rule.map(String::from).to_vec())?;
            }
        }
        Ok(guard)
    }
}

impl Drop for Guardrails<'_> {
    fn drop(&mut self) {
        for program in self.0 {
            for (chain, protocol) in GUARDRAILS {
                let rule = ["-D", chain, "-p", protocol, "-j", "DROP"].map(String::from);
                if let Err(error) = program.command(rule.to_vec()) {
                    tracing::warn!("a rule that stops all traffic may be left over: {error}");
                }
            }
        }
    }
}

/// The routes that bring marked packets to the loopback interface, where TPROXY's socket is.
fn routes(options: &Options) -> Result<(), Error> {
    let (mark, table) =
        (options.flags.istio_inbound_tproxy_mark, options.flags.istio_inbound_tproxy_route_table);
    let (mark, table) = (mark.to_string(), table.to_string());
    let mut families = vec![("-4", "0.0.0.0/0")];
    families.extend(options.ipv6.then_some(("-6", "::/0")));
    for (family, all) in families {
        let rule = |verb| [family, "rule", verb, "fwmark", &mark, "lookup", &table].map(String::from);
        // Removed first, so that a second run adds no second rule.
        let _ = ip(&rule("del"));
        ip(&rule("add"))?;
        let route = [family, "route", "replace", "local", all, "dev", "lo", "table", &table];
        ip(&route.map(String::from))?;
    }
    Ok(())
}

fn ip(args: &[String]) -> Result<(), Error> {
    let failed = |why: String| Error::Program { program: format!("ip {}", args.join(" ")), why };
    let output = Command::new("ip").args(args).output().map_err(|e| failed(e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_others_do_not_count() {
        let saved = "# comment\n*nat\n:PREROUTING ACCEPT [0:0]\n:ISTIO_OUTPUT - [0:0]\n:OTHER - [0:0]\n\
                     -A PREROUTING -j OTHER\n-A ISTIO_OUTPUT -j RETURN\n-A ISTIO_OUTPUT -j OTHER\nCOMMIT\n*raw\n\
                     :ISTIO_INBOUND - [0:0]\nCOMMIT\n";
        let key = |table: &str, chain: &str| (table.to_owned(), chain.to_owned());
        assert_eq!(
            sizes(saved),
            BTreeMap::from([(key("nat", "ISTIO_OUTPUT"), 2), (key("raw", "ISTIO_INBOUND"), 0)])
        );
    }
}
