use clap::Parser;

use super::*;
use crate::iptables::options::{Flags, Surroundings};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

fn around(resolv: &str, ipv6: bool) -> Surroundings {
    Surroundings { resolv: resolv.into(), ipv6, ..Surroundings::default() }
}

fn read(line: &str, around: &Surroundings) -> Result<Options, crate::Error> {
    let words = ["x", "-u", "1337"].into_iter().chain(line.split_whitespace()).map(|w| w.trim_matches('\''));
    Options::new(Line::try_parse_from(words).expect("flags that parse").flags, around)
}

/// The rules of a family, one a line.
fn rules(line: &str, around: &Surroundings, family: Family) -> String {
    Rules::plan(&read(line, around).expect("options")).restore(family)
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|l| l == line)
}

fn before(text: &str, first: &str, second: &str) -> bool {
    let at = |line| text.lines().position(|l| l == line).unwrap_or_else(|| panic!("no {line} in\n{text}"));
    at(first) < at(second)
}

#[test]
fn what_istios_injector_asks_for() {
    let text = rules(
        "-p 15001 -z 15006 -m REDIRECT -i * -x '' -b * -d 15090,15021,15020",
        &around("", false),
        Family::V4,
    );
    let expected = "\
* nat
-N ISTIO_INBOUND
-N ISTIO_REDIRECT
-N ISTIO_IN_REDIRECT
-N ISTIO_OUTPUT
-A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN
-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001
-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006
-A PREROUTING -p tcp -j ISTIO_INBOUND
-A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN
-A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN
-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
-A OUTPUT -j ISTIO_OUTPUT
-A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT
-A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN
-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN
-A ISTIO_OUTPUT -j ISTIO_REDIRECT
COMMIT
";
    assert_eq!(text, expected);
}

#[test]
fn exclusions_stand_before_what_they_exempt_from() {
    let text = rules("-i 10.0.0.0/8 -x 10.1.0.0/16 -o 5432 -c eth9 -q 9000", &around("", false), Family::V4);
    let redirect = "-A ISTIO_OUTPUT -d 10.0.0.0/8 -j ISTIO_REDIRECT";
    for exempt in [
        "-A OUTPUT -o eth9 -j RETURN",
        "-A ISTIO_OUTPUT -p tcp --dport 5432 -j RETURN",
        "-A ISTIO_OUTPUT -d 10.1.0.0/16 -j RETURN",
        "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN",
        "-A ISTIO_OUTPUT -p tcp --dport 9000 -j ISTIO_REDIRECT",
    ] {
        assert!(before(&text, exempt, redirect), "{exempt}\n{text}");
    }
    assert!(before(&text, "-A OUTPUT -o eth9 -j RETURN", "-A OUTPUT -j ISTIO_OUTPUT"), "{text}");
}

#[test]
fn dns_is_captured_where_it_is_asked_for_only() {
    let resolv = "search a.b\nnameserver 10.96.0.10\nnameserver fd00::10\n";
    let text = |line: &str, family| rules(line, &around(resolv, true), family);
    let v4 = text("-i * --redirect-dns", Family::V4);
    assert!(
        has(&v4, "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -d 10.96.0.10/32 -j REDIRECT --to-port 15053"),
        "{v4}"
    );
    assert!(
        has(&v4, "-A ISTIO_OUTPUT_DNS -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1"),
        "{v4}"
    );
    assert!(!v4.contains("fd00::10"), "{v4}");
    let v6 = text("-i * --redirect-dns", Family::V6);
    assert!(has(&v6, "-A ISTIO_INBOUND -p udp --sport 53 -s fd00::10/128 -j CT --zone 1"), "{v6}");
    let all = text("-i * --redirect-dns --capture-all-dns", Family::V4);
    assert!(has(&all, "-A ISTIO_OUTPUT_DNS -p tcp --dport 53 -j REDIRECT --to-ports 15053"), "{all}");
    assert!(!text("-i *", Family::V4).contains("DNS"));
    let none = rules("-i * --redirect-dns", &around("", false), Family::V4);
    assert!(!none.contains("DNS"), "no server to capture: {none}");
}

#[test]
fn tproxy_marks_and_diverts() {
    let text = rules("-m TPROXY -b 8080 -i *", &around("", false), Family::V4);
    let known =
        "-A ISTIO_INBOUND -p tcp --dport 8080 -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT";
    assert!(before(&text, known, "-A ISTIO_INBOUND -p tcp --dport 8080 -j ISTIO_TPROXY"), "{text}");
    assert!(has(&text, "-I ISTIO_INBOUND 3 -p tcp -i lo -m mark ! --mark 1338 -j RETURN"), "{text}");
}

#[test]
fn groups_and_interfaces() {
    let around = Surroundings { groups: Some("java,202".into()), ..Surroundings::default() };
    let text = rules("-i * -k eth1", &around, Family::V4);
    assert!(
        has(&text, "-A ISTIO_OUTPUT -m owner ! --gid-owner java -m owner ! --gid-owner 202 -j RETURN"),
        "{text}"
    );
    assert!(has(&text, "-I PREROUTING 1 -i eth1 -j ISTIO_REDIRECT"), "{text}");
}

#[test]
fn what_cannot_be_done_is_refused() {
    for (line, flag) in [
        ("-m NONE", "--istio-inbound-interception-mode"),
        ("-x *", "--istio-service-exclude-cidr"),
        ("-i 10.0.0.0/99", "--istio-service-cidr"),
        ("-b http", "--istio-inbound-ports"),
        ("--native-nftables", "--native-nftables"),
        ("--run-validation", "--run-validation"),
    ] {
        let error = read(line, &Surroundings::default()).expect_err(line).to_string();
        assert!(error.contains(flag), "{line}: {error}");
    }
}

#[test]
fn cleanup_undoes_every_jump_and_chain() {
    let rules = Rules::plan(&read("-i * -b *", &Surroundings::default()).expect("options"));
    let commands: Vec<_> = rules.cleanup(Family::V4).iter().map(|c| c.join(" ")).collect();
    for needed in
        ["-t nat -D OUTPUT -j ISTIO_OUTPUT", "-t nat -F ISTIO_OUTPUT", "-t nat -X ISTIO_IN_REDIRECT"]
    {
        assert!(commands.iter().any(|c| c == needed), "{needed} in {commands:#?}");
    }
}
