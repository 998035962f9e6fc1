//! Terminals.

mod support;

use boxinit::frame;
use support::{exec_as, is_alive, unique, Agent, Outcome};

fn screen(outcome: &Outcome) -> String {
    String::from_utf8_lossy(outcome.data.get(&frame::PTY).map(|bytes| bytes.as_slice()).unwrap_or(b"")).into_owned()
}

fn open(agent: &mut Agent, id: &str, script: &str, more: &str) -> u32 {
    agent.open(&exec_as(id, script, &format!(r#","pty":{{"cols":120,"rows":40}}{}"#, more)))
}

#[test]
fn it_has_a_size_and_is_notified_of_changes() {
    let mut agent = Agent::start();
    let script = "trap 'stty size; exit 0' WINCH; stty size; tty; while :; do sleep 0.05; done";
    let stream = open(&mut agent, &unique("size"), script, "");
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| screen(outcome).contains("/dev/pts/"));
    assert!(screen(&outcome).starts_with("40 120\r\n"), "{:?}", screen(&outcome));
    for size in [r#""cols":0,"rows":0"#, r#""cols":65535,"rows":65535"#, r#""cols":-1,"rows":5"#] {
        agent.event(stream, &format!(r#"{{"type":"resize",{}}}"#, size));
    }
    agent.event(stream, r#"{"type":"resize","cols":200,"rows":50}"#);
    agent.until(stream, &mut outcome, |_| false);
    assert!(screen(&outcome).contains("50 200\r\n"), "{:?}", screen(&outcome));
    assert_eq!(outcome.code(), 0);
    assert_eq!(outcome.exit().uint("stdoutBytes"), Some(screen(&outcome).len() as u64));
}

#[test]
fn keys_arrive_and_control_c_interrupts() {
    let mut agent = Agent::start();
    // No shell: one that is just about to fork may swallow the interrupt.
    let request = format!(
        r#"{{"op":"exec","id":"{}","argv":["cat"],"env":{{}},"cwd":"/","pty":{{"cols":80,"rows":24}}}}"#,
        unique("keys")
    );
    let stream = agent.open(&request);
    agent.send(frame::DATA, frame::PTY, stream, b"hello\r");
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| screen(outcome).contains("hello\r\nhello\r\n"));
    agent.send(frame::DATA, frame::PTY, stream, b"\x03");
    agent.until(stream, &mut outcome, |_| false);
    assert_eq!((outcome.code(), outcome.exit().text("signal")), (130, Some("INT")));
}

#[test]
fn the_end_of_input_is_control_d() {
    let mut agent = Agent::start();
    let stream = open(&mut agent, &unique("eof"), "cat; echo over; exit 3", "");
    agent.fin(stream, frame::PTY);
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |_| false);
    assert!(screen(&outcome).contains("over"));
    assert_eq!(outcome.code(), 3);
}

#[test]
fn the_end_of_input_also_ends_a_partial_line() {
    let mut agent = Agent::start();
    let stream = open(&mut agent, &unique("eof"), "stty -echo; echo ready; cat; echo ' over'; exit 3", "");
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| screen(outcome).contains("ready\r\n"));
    agent.send(frame::DATA, frame::PTY, stream, b"abc");
    agent.fin(stream, frame::PTY);
    agent.until(stream, &mut outcome, |_| false);
    assert_eq!(screen(&outcome), "ready\r\nabc over\r\n");
    assert_eq!(outcome.code(), 3);
}

#[test]
fn it_is_reattached_where_it_was_left() {
    let mut agent = Agent::start();
    let id = unique("again");
    let stream = open(&mut agent, &id, "echo one; read x; echo two; exit 6", "");
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| screen(outcome).contains("one\r\n"));
    let seen = screen(&outcome).len();
    agent.reconnect();
    let stream = agent.attach(&id, seen, 0);
    agent.send(frame::DATA, frame::PTY, stream, b"\r");
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |_| false);
    assert_eq!(screen(&outcome), "\r\ntwo\r\n");
    assert_eq!(outcome.code(), 6);
}

#[test]
fn the_last_output_of_the_leader_is_not_lost() {
    let mut agent = Agent::start();
    for _ in 0..20 {
        let script = "i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done";
        let stream = open(&mut agent, &unique("last"), script, r#","user":"65534""#);
        let mut outcome = Outcome::default();
        agent.until(stream, &mut outcome, |_| false);
        assert!(screen(&outcome).ends_with("1998\r\n1999\r\n"), "{:?}", screen(&outcome).len());
    }
}

#[test]
fn killing_it_kills_its_children() {
    let mut agent = Agent::start();
    let stream = open(&mut agent, &unique("kill"), "sleep 1000 & echo pid=$!; wait", "");
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| screen(outcome).contains("pid=") && screen(outcome).ends_with('\n'));
    let pid = screen(&outcome).split("pid=").nth(1).expect("pid").trim().to_string();
    agent.event(stream, r#"{"type":"kill"}"#);
    agent.until(stream, &mut outcome, |_| false);
    assert!(outcome.event("exit").is_some());
    assert!(!is_alive(&pid));
}
