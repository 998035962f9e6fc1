//! Which command was OOM-killed: the kernel counts such kills for the whole sandbox.

mod support;

use boxinit::sys::{mount, process};
use std::path::PathBuf;
use support::{exec, exec_as, unique, Agent, Outcome};

const PTRACE_SEIZE: i32 = 0x4206;
const PTRACE_O_TRACEEXIT: usize = 0x40;

extern "C" {
    fn ptrace(request: i32, ...) -> std::os::raw::c_long;
}

/// A fake view of cgroups, with a count set by the test. Seen by processes that this thread starts.
struct Count(PathBuf);

impl Count {
    /// None without the right to mount.
    fn show() -> Option<Count> {
        let groups = "/sys/fs/cgroup";
        process::unshare(process::NEW_MOUNTS).ok()?;
        mount::mount(b"", b"/", b"", mount::PRIVATE | mount::REC, b"").expect("mounts of its own");
        mount::mount(b"tmpfs", groups.as_bytes(), b"tmpfs", 0, b"").expect("a directory of its own");
        let count = Count(PathBuf::from(groups).join("memory.events"));
        count.set(0);
        Some(count)
    }

    fn set(&self, kills: u32) {
        let events = format!("low 0\nhigh 0\nmax 7\noom {}\noom_kill {}\n", kills, kills);
        std::fs::write(&self.0, events).expect("a count");
    }
}

/// Starts a command, and reports an OOM kill of another process once it is running.
fn start(agent: &mut Agent, count: &Count, script: &str, more: &str) -> (u32, String) {
    count.set(0);
    let id = unique("oom");
    let request = exec_as(&id, script, more).replace(r#""killGraceMs":2000"#, r#""killGraceMs":100"#);
    let stream = agent.open(&request);
    agent.until(stream, &mut Outcome::default(), |outcome| outcome.stdout() == b"up\n");
    count.set(1);
    (stream, id)
}

fn exit_of(agent: &mut Agent, stream: u32) -> (i64, bool, bool) {
    let outcome = agent.finish(stream);
    (outcome.code(), outcome.exit().flag("oomKilled"), outcome.exit().flag("oomCounted"))
}

#[test]
fn a_command_that_we_killed_is_not_reported_as_oom_killed_when_another_was() {
    let count = match Count::show() {
        Some(count) => count,
        None => return,
    };
    let mut agent = Agent::start();
    let sleeps = "echo up; exec sleep 1000";
    let deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done";

    let (stream, _) = start(&mut agent, &count, "echo up; read go; kill -9 $$", "#stdin");
    agent.send(boxinit::frame::DATA, boxinit::frame::STDIN, stream, b"\n");
    assert_eq!(exit_of(&mut agent, stream), (137, true, true), "for all that anybody can tell");

    let (stream, _) = start(&mut agent, &count, sleeps, "");
    agent.event(stream, r#"{"type":"signal","signal":"KILL"}"#);
    assert_eq!(exit_of(&mut agent, stream), (137, false, true), "a signal from whoever listens");

    for all in ["", r#","all":true"#] {
        let (stream, id) = start(&mut agent, &count, sleeps, "");
        let call = format!(r#"{{"op":"signal","id":"{}","signal":"KILL"{}}}"#, id, all);
        assert!(agent.call(&call).opened.is_some());
        assert_eq!(exit_of(&mut agent, stream), (137, false, true), "a signal by its id");
    }

    let (stream, _) = start(&mut agent, &count, deaf, "");
    agent.event(stream, r#"{"type":"kill"}"#);
    assert_eq!(exit_of(&mut agent, stream), (137, false, true), "a kill");

    // It need not be running for this.
    count.set(0);
    let stream = agent.open(&exec("sleep 1000", r#","killGraceMs":0,"timeoutMs":2000"#));
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| outcome.opened.is_some());
    count.set(1);
    assert_eq!(exit_of(&mut agent, stream), (137, false, true), "a timeout");
}

#[test]
fn a_command_that_hangs_in_the_kernel_when_we_kill_it_is_not_reported_as_oom_killed() {
    let count = match Count::show() {
        Some(count) => count,
        None => return,
    };
    let mut agent = Agent::start();
    count.set(0);
    let stream = agent.open(&exec("echo $$; exec sleep 1000", r#","killGraceMs":0"#));
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| outcome.stdout().ends_with(b"\n"));
    let leader: i32 = String::from_utf8_lossy(outcome.stdout()).trim().parse().expect("a number");
    // A tracer delays its exit, until this thread ends.
    let nothing: usize = 0;
    let traced = unsafe { ptrace(PTRACE_SEIZE, leader, nothing, PTRACE_O_TRACEEXIT) };
    assert_eq!(traced, 0, "{}", std::io::Error::last_os_error());
    count.set(1);
    agent.event(stream, r#"{"type":"kill"}"#);
    assert_eq!(exit_of(&mut agent, stream), (137, false, true));
}
