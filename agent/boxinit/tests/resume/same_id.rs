//! A reused id: the same request finds its command, a different one is a conflict.

use crate::support::{exec_as, unique, Agent, Outcome};
use boxinit::frame;

#[test]
fn the_same_id_is_not_run_again() {
    let mut agent = Agent::start();
    let id = unique("twice");
    let request = exec_as(&id, "echo once; read x; echo $x", "#stdin");
    let first = agent.open(&request);
    let mut before = Outcome::default();
    agent.until(first, &mut before, |outcome| outcome.stdout() == b"once\n");
    let second = agent.open(&request);
    let mut after = Outcome::default();
    agent.until(second, &mut after, |outcome| outcome.stdout() == b"once\n");
    assert!(after.opened.as_ref().expect("opened").flag("adopted"));
    agent.until(first, &mut before, |_| false);
    assert_eq!(before.reset.expect("reset").text("code"), Some("cancelled"));
    agent.send(frame::DATA, frame::STDIN, second, b"in\n");
    agent.until(second, &mut after, |_| false);
    assert_eq!(after.stdout(), b"once\nin\n");
}

#[test]
fn the_same_id_with_another_request_is_a_conflict_and_leaves_the_first_alone() {
    let mut agent = Agent::start();
    let id = unique("other");
    let first = agent.open(&exec_as(&id, "echo mine; read x; echo $x", "#stdin"));
    let mut outcome = Outcome::default();
    agent.until(first, &mut outcome, |outcome| outcome.stdout() == b"mine\n");
    for request in [
        exec_as(&id, "echo other; read x; echo $x", "#stdin"),
        exec_as(&id, "echo mine; read x; echo $x", ""),
        exec_as(&id, "echo mine; read x; echo $x", r##"#stdin,"shell":"bash""##),
        exec_as(&id, "echo mine; read x; echo $x", r##"#stdin,"pty":{"cols":80,"rows":24}"##),
    ] {
        assert_eq!(agent.call(&request).refusal(), "idempotency_conflict", "{}", request);
    }
    agent.send(frame::DATA, frame::STDIN, first, b"in\n");
    agent.until(first, &mut outcome, |_| false);
    assert_eq!((outcome.stdout(), outcome.code()), (&b"mine\nin\n"[..], 0));
    // It has ended unacknowledged: the id is still taken.
    assert_eq!(agent.call(&exec_as(&id, "true", "")).refusal(), "idempotency_conflict");
}

#[test]
fn scripts_sent_as_data_are_distinguished_by_their_text() {
    let mut agent = Agent::start();
    let id = unique("late");
    let request = exec_as(&id, "", r#","scriptBytes":6"#).replacen(r#""script":"","#, "", 1);
    let open = |agent: &mut Agent, text: &[u8]| {
        let stream = agent.open(&request);
        agent.send(frame::DATA, frame::SCRIPT, stream, text);
        agent.fin(stream, frame::SCRIPT);
        let mut outcome = Outcome::default();
        agent.until(stream, &mut outcome, |_| false);
        outcome
    };
    assert_eq!(open(&mut agent, b"echo 1").stdout(), b"1\n");
    assert_eq!(open(&mut agent, b"echo 2").refusal(), "idempotency_conflict");
    let again = open(&mut agent, b"echo 1");
    assert_eq!(again.stdout(), b"1\n");
    assert!(again.opened.expect("opened").flag("adopted"));
}
