//! Takes unknown flags out of a command line.
//!
//! istiod ignores flags that it does not know (`FParseErrWhitelist`), since charts of other releases pass some; the
//! parser here would refuse to start.

use clap::{Command, CommandFactory};
use std::ffi::OsString;

use super::flags::Cli;

/// The arguments that the parser knows, and the flags that were left out.
pub fn known(args: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<String>) {
    let mut args = args.into_iter().peekable();
    let (mut kept, mut unknown) = (Vec::new(), Vec::new());
    kept.extend(args.next());
    let Some(name) = args.next() else { return (kept, unknown) };
    kept.push(name.clone());
    let cli = Cli::command();
    // The commands whose counterparts in Istio ignore flags that they don't know.
    let command = match name.to_str() {
        Some("discovery") => cli.find_subcommand("discovery"),
        Some("agent") if args.peek().is_some_and(|next| next == "proxy") => {
            kept.extend(args.next());
            cli.find_subcommand("agent").and_then(|agent| agent.find_subcommand("proxy"))
        }
        _ => None,
    };
    let Some(command) = command else {
        kept.extend(args);
        return (kept, unknown);
    };
    while let Some(arg) = args.next() {
        let text = arg.to_string_lossy();
        if text == "--" {
            kept.push(arg);
            kept.extend(args);
            break;
        }
        let Some(flag) = text.strip_prefix("--").or_else(|| text.strip_prefix('-').filter(|f| !f.is_empty()))
        else {
            kept.push(arg);
            continue;
        };
        let (name, has_value) = flag.split_once('=').map_or((flag, false), |(n, _)| (n, true));
        if knows(command, name, text.starts_with("--")) {
            let takes_next = !has_value && needs_value(command, name);
            kept.push(arg);
            // The value may start with a dash or be empty: it is never looked at as a flag.
            kept.extend(takes_next.then(|| args.next()).flatten());
        } else {
            unknown.push(name.to_owned());
            // pflag's rule: what follows an unknown flag and is no flag itself is taken for its value.
            if !has_value && args.peek().is_some_and(|next| !next.to_string_lossy().starts_with('-')) {
                args.next();
            }
        }
    }
    (kept, unknown)
}

fn knows(command: &Command, name: &str, long: bool) -> bool {
    matches!(name, "help" | "h") || find(command, name).is_some_and(|_| long || name.len() == 1)
}

fn needs_value(command: &Command, name: &str) -> bool {
    find(command, name).is_some_and(|a| a.get_action().takes_values() && !a.is_require_equals_set())
}

fn find<'a>(command: &'a Command, name: &str) -> Option<&'a clap::Arg> {
    command
        .get_arguments()
        .find(|a| a.get_long() == Some(name) || a.get_short().is_some_and(|s| name == s.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &str) -> (Vec<String>, Vec<String>) {
        let (kept, unknown) = known(args.split(' ').map(OsString::from));
        (kept.into_iter().map(|a| a.into_string().unwrap()).collect(), unknown)
    }

    #[test]
    fn unknown_flags_go_with_their_values() {
        let (kept, unknown) =
            run("meltemi discovery --log_rotate /x --domain a.b --new=1 --flag --httpAddr=:1 -n ns");
        assert_eq!(kept.join(" "), "meltemi discovery --domain a.b --httpAddr=:1 -n ns");
        assert_eq!(unknown, ["log_rotate", "new", "flag"]);
    }

    #[test]
    fn the_agent_ignores_what_it_does_not_know_too() {
        let (kept, unknown) =
            run("meltemi agent proxy sidecar --stsPort=0 --domain a.b --proxyLogLevel=info");
        assert_eq!(kept.join(" "), "meltemi agent proxy sidecar --domain a.b --proxyLogLevel=info");
        assert_eq!(unknown, ["stsPort"]);
        let (kept, _) = run("meltemi istio-iptables -p 15001 --new");
        assert_eq!(kept.join(" "), "meltemi istio-iptables -p 15001 --new", "here it is an error");
    }

    #[test]
    fn a_switch_does_not_swallow_the_next_argument() {
        let (kept, unknown) = run("meltemi discovery --log_as_json --profile=false --grpcAddr  --x");
        assert_eq!(kept, ["meltemi", "discovery", "--log_as_json", "--profile=false", "--grpcAddr", ""]);
        assert_eq!(unknown, ["x"]);
    }
}
