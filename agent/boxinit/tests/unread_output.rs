//! Commands whose output is not read: lists show their end at once, and only their output waits.

mod support;

use boxinit::frame;
use boxinit::json::Value;
use std::time::{Duration, Instant};
use support::{exec_as, unique, Agent, Outcome};

/// How a list describes it once `enough`.
fn listed(agent: &mut Agent, id: &str, enough: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + support::PATIENCE;
    loop {
        let answer = agent.call(r#"{"op":"list"}"#).opened.expect("a list");
        let execs = answer.array("execs").expect("execs");
        let found = execs.iter().find(|exec| exec.text("id") == Some(id)).unwrap_or_else(|| panic!("no {}", id));
        if enough(found) {
            return found.clone();
        }
        assert!(Instant::now() < deadline, "in vain: {:?}", found);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a stream may send before it is given credit.
const WINDOW: u64 = 256 * 1024;

fn is_over(exec: &Value) -> bool {
    !exec.flag("running")
}

/// Reads until the stream's window is used up, and returns only the link's credit.
fn fill_window(agent: &mut Agent, stream: u32, outcome: &mut Outcome) {
    let mut got = 0;
    while got < WINDOW {
        let (header, payload) = agent.next();
        assert_eq!(header.stream, stream);
        if header.kind == frame::DATA {
            got += payload.len() as u64;
            agent.credit(0, payload.len() as u32);
        }
        Agent::note(outcome, &header, payload);
    }
}

/// The rest of the stream, read at last.
fn read_on(agent: &mut Agent, stream: u32, mut outcome: Outcome) -> Outcome {
    agent.credit(stream, WINDOW as u32);
    agent.auto_credit = true;
    agent.until(stream, &mut outcome, |_| false);
    agent.fin(stream, frame::ALL);
    outcome
}

#[test]
fn a_killed_command_has_ended_although_its_output_is_unread() {
    let mut agent = Agent::start();
    agent.auto_credit = false;
    let id = unique("x");
    let stream = agent.open(&exec_as(&id, "yes", ""));
    let mut outcome = Outcome::default();
    fill_window(&mut agent, stream, &mut outcome);
    assert!(listed(&mut agent, &id, |_| true).flag("running"));
    agent.event(stream, r#"{"type":"kill"}"#);
    let told = listed(&mut agent, &id, is_over);
    let exit = told.get("exit").expect("an exit");
    assert_eq!(exit.text("signal"), Some("TERM"));
    assert_eq!(exit.uint("stdoutBytes"), told.uint("stdoutBytes"));
    let outcome = read_on(&mut agent, stream, outcome);
    assert_eq!(Some(outcome.stdout().len() as u64), told.uint("stdoutBytes"));
    assert_eq!(outcome.exit().uint("stdoutBytes"), told.uint("stdoutBytes"));
}

#[test]
fn a_timed_out_command_has_ended_although_its_output_is_unread() {
    // A busy machine may take a while to use up the window: the timeout was then too short to prove anything.
    for timeout in (0..8).map(|round| 300 << round) {
        let mut agent = Agent::start();
        agent.auto_credit = false;
        let id = unique("x");
        agent.open(&exec_as(&id, "yes", &format!(r#","timeoutMs":{}"#, timeout)));
        let told = listed(&mut agent, &id, is_over);
        assert!(told.get("exit").expect("an exit").flag("timedOut"));
        if told.uint("stdoutBytes") > Some(WINDOW) {
            return;
        }
    }
    panic!("it never wrote more than its window");
}

#[test]
fn a_killed_command_in_a_terminal_has_ended_although_its_output_is_unread() {
    let mut agent = Agent::start();
    agent.auto_credit = false;
    let id = unique("x");
    let stream = agent.open(&exec_as(&id, "yes", r#","pty":{"cols":80,"rows":24}"#));
    fill_window(&mut agent, stream, &mut Outcome::default());
    agent.event(stream, r#"{"type":"kill"}"#);
    let told = listed(&mut agent, &id, is_over);
    assert_eq!(told.get("exit").expect("an exit").text("signal"), Some("TERM"));
}

#[test]
fn a_command_whose_reader_was_cut_off_has_ended_although_its_output_is_unread() {
    let mut agent = Agent::start();
    agent.auto_credit = false;
    let id = unique("x");
    let stream = agent.open(&exec_as(&id, "yes", r#","holdMs":60000"#));
    fill_window(&mut agent, stream, &mut Outcome::default());
    agent.reconnect();
    let call = format!(r#"{{"op":"signal","id":"{}","signal":"KILL"}}"#, id);
    assert!(agent.call(&call).opened.is_some());
    let told = listed(&mut agent, &id, is_over);
    assert_eq!(told.get("exit").expect("an exit").text("signal"), Some("KILL"));
}

#[test]
fn output_counted_in_a_list_can_be_attached_to() {
    let mut agent = Agent::start();
    agent.auto_credit = false;
    let id = unique("x");
    let stream = agent.open(&exec_as(&id, "head -c 300000 /dev/zero; exit 3", ""));
    fill_window(&mut agent, stream, &mut Outcome::default());
    let told = listed(&mut agent, &id, is_over);
    assert_eq!(told.uint("stdoutBytes"), Some(300_000));
    let stream = agent.attach(&id, 300_000, 0);
    let behind = agent.finish(stream);
    assert_eq!((behind.code(), behind.stdout().len()), (3, 0));
}

#[test]
fn nothing_past_the_output_counted_in_a_list_can_be_attached_to() {
    let mut agent = Agent::start();
    agent.auto_credit = false;
    let id = unique("x");
    let stream = agent.open(&exec_as(&id, "head -c 300000 /dev/zero", ""));
    fill_window(&mut agent, stream, &mut Outcome::default());
    listed(&mut agent, &id, is_over);
    let stream = agent.attach(&id, 300_001, 0);
    assert_eq!(agent.finish(stream).refusal(), "invalid_request");
}

#[test]
fn output_taken_by_another_process_is_not_waited_for() {
    let mut agent = Agent::start();
    agent.auto_credit = false;
    let sign = agent.directory.join("taken");
    let thief = "sleep 0.5; dd if=/proc/self/fd/1 of=/dev/null bs=1000 count=1; : >$SIGN; exec sleep 100";
    let script = format!("SIGN={}; head -c 300000 /dev/zero; ({}) 2>/dev/null & exit 3", sign.display(), thief);
    let stream = agent.open(&exec_as(&unique("x"), &script, ""));
    let mut outcome = Outcome::default();
    fill_window(&mut agent, stream, &mut outcome);
    support::wait_for(|| sign.exists());
    let outcome = read_on(&mut agent, stream, outcome);
    assert_eq!((outcome.code(), outcome.stdout().len()), (3, 300_000 - 1_000));
    assert_eq!(outcome.exit().uint("stdoutBytes"), Some(300_000 - 1_000));
}
