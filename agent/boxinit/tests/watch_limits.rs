//! A kernel that refuses to watch more descriptors: calls that need one are refused.

mod support;

use boxinit::sys::privilege::{add_filter, set_no_new_privileges, Instruction};
use support::{exec, Agent, Outcome};

#[cfg(target_arch = "x86_64")]
const EPOLL_CTL: u32 = 233;
#[cfg(target_arch = "aarch64")]
const EPOLL_CTL: u32 = 21;
const ADD: u32 = 1;
const ENOSPC: u32 = 28;
const NUMBER: u32 = 0;
const OPERATION: u32 = 24;
const DESCRIPTOR: u32 = 32;

/// Processes started by this thread can watch no descriptor from this number on.
fn watch_none_from(descriptor: u32) {
    let step = |code, value, jump_true, jump_false| Instruction { code, jump_true, jump_false, value };
    let (load, equal, at_least, answer) = (0x20, 0x15, 0x35, 0x06);
    set_no_new_privileges().expect("no new privileges");
    let filter = [
        step(load, NUMBER, 0, 0),
        step(equal, EPOLL_CTL, 0, 5),
        step(load, OPERATION, 0, 0),
        step(equal, ADD, 0, 3),
        step(load, DESCRIPTOR, 0, 0),
        step(at_least, descriptor, 0, 1),
        step(answer, 0x0005_0000 | ENOSPC, 0, 0),
        step(answer, 0x7fff_0000, 0, 0),
    ];
    add_filter(&filter).expect("a filter");
}

/// A boxinit that can watch what it needs for itself, and nothing more.
fn start() -> Agent {
    let spare = Agent::start();
    let open = std::fs::read_dir(format!("/proc/{}/fd", spare.child.id())).expect("descriptors");
    let taken: Vec<String> = open.map(|entry| entry.expect("entry").file_name().to_string_lossy().into()).collect();
    // Tests may inherit higher ones.
    let next = (0..).find(|number: &u32| !taken.contains(&number.to_string())).expect("a number");
    watch_none_from(next);
    Agent::start()
}

fn code_of(outcome: &Outcome) -> Option<&str> {
    outcome.refused.as_ref().and_then(|error| error.text("code"))
}

#[test]
fn a_program_whose_output_cannot_be_watched_is_not_started() {
    let mut agent = start();
    for more in ["", "#stdin", r#","pty":{"cols":80,"rows":24}"#] {
        let mark = agent.directory.join("started");
        let outcome = agent.call(&exec(&format!("touch {}", mark.display()), more));
        assert_eq!(code_of(&outcome), Some("exec_resource_limit"), "{}: {:?}", more, outcome);
        assert!(!mark.exists());
    }
    assert_eq!(agent.listed(), []);
}

#[test]
fn a_watch_that_would_report_nothing_is_refused() {
    let mut agent = start();
    let request = format!(r#"{{"op":"file","call":"watch","path":"{}"}}"#, agent.directory.display());
    let outcome = agent.call(&request);
    assert_eq!(code_of(&outcome), Some("exec_resource_limit"), "{:?}", outcome);
}
