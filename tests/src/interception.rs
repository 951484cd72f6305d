//! The interception rules that Istio's init container sets in a pod, in its default mode (REDIRECT).

use anyhow::Result;

use crate::{netns::Pod, process, setup};

/// The user and group of the proxy, whose own connections are let through.
pub const PROXY_USER: u32 = 1337;

/// What Istio's injector passes to the init container.
const ARGUMENTS: &[&str] = &[
    "istio-iptables",
    "-p",
    "15001",
    "-z",
    "15006",
    "-u",
    "1337",
    "-m",
    "REDIRECT",
    "-i",
    "*",
    "-x",
    "",
    "-b",
    "*",
    "-d",
    "15090,15021,15020",
];

/// Sets the rules in a pod: from now on its TCP traffic, both ways, goes through the proxy in it.
pub fn intercept(pod: &Pod) -> Result<()> {
    intercept_with(pod, &[]).map(drop)
}

/// Sets the rules in a pod with more flags, and tells what was printed.
pub fn intercept_with(pod: &Pod, more: &[&str]) -> Result<String> {
    let mut command = pod.place.command(&setup::meltemi()?.to_string_lossy());
    command.args(ARGUMENTS).args(more);
    process::run(command)
}
