//! Output that continues across a cut.

use crate::support::{exec_as, unique, wait_for, Agent, Outcome};
use boxinit::frame;

#[test]
fn a_cut_link_costs_no_byte_and_nothing_runs_twice() {
    let mut agent = Agent::start();
    let id = unique("cut");
    let marker = agent.directory.join("runs");
    let script = format!(
        "echo ran >> {}; i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 9",
        marker.display()
    );
    let mut stream = agent.open(&exec_as(&id, &script, ""));
    let mut all = Outcome::default();
    for cut in 1..20usize {
        agent.until(stream, &mut all, |outcome| outcome.stdout().len() > cut * 9_000);
        if all.fin {
            break;
        }
        agent.reconnect();
        stream = agent.attach(&id, all.stdout().len(), 0);
    }
    if !all.fin {
        agent.until(stream, &mut all, |_| false);
    }
    let expected: String = (0..20_000).map(|i| format!("line {}\n", i)).collect();
    assert_eq!(all.stdout(), expected.as_bytes());
    assert!(all.event("output_lost").is_none());
    assert_eq!(all.code(), 9);
    assert_eq!(std::fs::read_to_string(&marker).expect("runs"), "ran\n");
}

#[test]
fn a_program_that_writes_a_lot_waits_for_a_reader_that_was_cut_off() {
    let mut agent = Agent::start();
    let id = unique("hold");
    let mut stream = agent.open(&exec_as(&id, "seq 1 3000000; exit 9", ""));
    let mut all = Outcome::default();
    for cut in 1..=5usize {
        agent.until(stream, &mut all, |outcome| outcome.stdout().len() > cut * 2_000_000);
        assert!(!all.fin);
        agent.reconnect();
        // Far longer than it takes to fill the ring.
        std::thread::sleep(std::time::Duration::from_millis(200));
        stream = agent.attach(&id, all.stdout().len(), 0);
    }
    agent.until(stream, &mut all, |_| false);
    assert!(all.event("output_lost").is_none());
    let expected: String = (1..=3_000_000).map(|i| format!("{}\n", i)).collect();
    assert!(all.stdout() == expected.as_bytes());
    assert_eq!(all.code(), 9);
}

#[test]
fn a_program_does_not_wait_for_ever_for_a_reader() {
    let mut agent = Agent::start();
    let id = unique("held");
    let file = agent.directory.join("done");
    let script = format!("seq 1 3000000; echo x > {}", file.display());
    let request = exec_as(&id, &script, "").replace(r#""ringBytes":1048576"#, r#""ringBytes":1048576,"holdMs":300"#);
    agent.open(&request);
    agent.reconnect();
    wait_for(|| file.exists());
    let stream = agent.attach(&id, 0, 0);
    assert!(agent.finish(stream).event("output_lost").is_some());
}

#[test]
fn output_lost_from_the_ring_is_reported() {
    let mut agent = Agent::start();
    let id = unique("lost");
    let file = agent.directory.join("done");
    let script = format!("i=0; while [ $i -lt 60000 ]; do echo line $i; i=$((i+1)); done; echo x > {}", file.display());
    let request = exec_as(&id, &script, "").replace(r#""ringBytes":1048576"#, r#""ringBytes":65536,"holdMs":0"#);
    agent.open(&request);
    agent.reconnect();
    wait_for(|| file.exists());
    let stream = agent.attach(&id, 0, 0);
    let result = agent.finish(stream);
    let expected: String = (0..60_000).map(|i| format!("line {}\n", i)).collect();
    let lost = result.event("output_lost").expect("output_lost");
    assert_eq!(lost.text("channel"), Some("stdout"));
    assert_eq!(lost.uint("from"), Some(0));
    let to = lost.uint("to").expect("to") as usize;
    assert_eq!(result.stdout(), &expected.as_bytes()[to..]);
    assert_eq!(result.exit().uint("stdoutBytes"), Some(expected.len() as u64));
}

#[test]
fn an_offset_past_the_end_is_refused() {
    let mut agent = Agent::start();
    let id = unique("offset");
    agent.open(&exec_as(&id, "sleep 100", ""));
    let stream = agent.attach(&id, 1, 0);
    assert_eq!(agent.finish(stream).refusal(), "invalid_request");
}

#[test]
fn a_reset_by_the_agent_detaches_and_does_not_kill() {
    let mut agent = Agent::start();
    let id = unique("reset");
    let stream = agent.open(&exec_as(&id, "read x; echo got $x", "#stdin"));
    agent.send(frame::RESET, 0, stream, br#"{"code":"cancelled","message":""}"#);
    let stream = agent.attach(&id, 0, 0);
    agent.send(frame::DATA, frame::STDIN, stream, b"it\n");
    assert_eq!(agent.finish(stream).stdout(), b"got it\n");
}
