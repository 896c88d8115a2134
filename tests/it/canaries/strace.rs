//! What the kernel was handed: every write of the program but those to sockets, every command line and environment of its
//! children.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::search::Search;

/// Whether it is installed and allowed.
pub(crate) fn is_there() -> bool {
    Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|it| it.success())
}

/// The command under strace, without its environment.
pub(crate) fn over(plain: &Command, log: &Path) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-yy", "-v", "-xx", "-s", "65535"]);
    command.args(["-e", "trace=write,writev,sendto,sendmsg,execve", "-e", "signal=none", "-o"]);
    command.arg(log).arg(plain.get_program()).args(plain.get_args());
    command
}

/// Reads the log. `passed` are the variables that the runbook hands to children.
pub(crate) fn look(log: &Path, passed: &BTreeSet<String>, search: &mut Search) {
    let text = fs::read_to_string(log).expect("a log");
    // What a child does with what it was given is its own affair.
    let mut children = BTreeSet::new();
    let mut started = false;
    for line in text.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if call.starts_with("execve(") {
            if started {
                children.insert(pid.to_owned());
                for text in texts(call) {
                    let name = text.split(|&byte| byte == b'=').next().unwrap_or_default();
                    if !passed.contains(&*String::from_utf8_lossy(name)) {
                        search.bytes("a child's command line or environment", &text);
                    }
                }
            }
            started = true;
        } else if !children.contains(pid) && !to_a_socket(call) {
            for text in texts(call) {
                search.bytes("a write", &text);
            }
        }
    }
    assert!(started, "strace has seen nothing");
}

/// The intended way out: a connection to a server.
fn to_a_socket(call: &str) -> bool {
    let descriptor = call.split(',').next().unwrap_or_default();
    descriptor.contains("<TCP") || descriptor.contains("<UDP") || descriptor.contains("<NETLINK")
}

/// The quoted texts of a call, out of strace's hex.
fn texts(call: &str) -> Vec<Vec<u8>> {
    let quoted = call.split('"').skip(1).step_by(2);
    quoted
        .map(|text| {
            let digits = text.split("\\x").filter(|digits| !digits.is_empty());
            digits.filter_map(|digits| u8::from_str_radix(digits.get(..2)?, 16).ok()).collect()
        })
        .collect()
}
