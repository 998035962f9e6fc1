//! Input that arrived before a cut.

use crate::support::{exec_as, unique, Agent, Outcome};
use boxinit::frame;

#[test]
fn attach_reports_how_much_input_arrived() {
    let mut agent = Agent::start();
    let id = unique("input");
    let stream = agent.open(&exec_as(&id, "head -c 10; echo; cat >/dev/null; exit 4", "#stdin"));
    agent.send(frame::DATA, frame::STDIN, stream, b"0123456789");
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| outcome.stdout().len() == 11);
    agent.reconnect();
    let stream = agent.attach(&id, 11, 0);
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| outcome.opened.is_some());
    assert_eq!(outcome.opened.as_ref().and_then(|answer| answer.uint("stdinBytes")), Some(10));
    agent.fin(stream, frame::STDIN);
    agent.until(stream, &mut outcome, |_| false);
    assert_eq!((outcome.stdout(), outcome.code()), (&b""[..], 4));
}

#[test]
fn input_from_before_a_cut_gives_the_next_stream_no_credit() {
    let mut agent = Agent::start();
    let id = unique("credit");
    let go = agent.directory.join("go");
    let script = format!("until [ -e {} ]; do sleep 0.02; done; wc -c; exit 3", go.display());
    let window = [b'x'; 64 * 1024];
    let stream = agent.open(&exec_as(&id, &script, "#stdin"));
    (0..4).for_each(|_| agent.send(frame::DATA, frame::STDIN, stream, &window));
    // Answered after the data: all of it has arrived.
    assert_eq!(agent.listed(), [(id.clone(), true)]);
    agent.reconnect();

    let stream = agent.attach(&id, 0, 0);
    (0..4).for_each(|_| agent.send(frame::DATA, frame::STDIN, stream, &window));
    agent.fin(stream, frame::STDIN);
    std::fs::write(&go, "").expect("go");
    let mut outcome = Outcome::default();
    let mut credit = 0;
    loop {
        let (header, payload) = agent.next();
        if header.stream != stream {
            continue;
        }
        if header.kind == frame::CREDIT {
            credit += u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]) as usize;
        }
        if Agent::note(&mut outcome, &header, payload) {
            break;
        }
    }
    assert_eq!((outcome.stdout(), outcome.code()), (&b"524288\n"[..], 3));
    assert!(credit <= 4 * window.len(), "a credit of {} for {} bytes", credit, 4 * window.len());
}

#[test]
fn unread_input_does_not_accumulate_over_many_cuts() {
    let mut agent = Agent::start();
    let id = unique("pile");
    let go = agent.directory.join("go");
    let script = format!("until [ -e {} ]; do sleep 0.02; done; wc -c; exit 3", go.display());
    let window = [b'x'; 64 * 1024];
    let taken = |agent: &mut Agent, stream: u32| {
        let mut outcome = Outcome::default();
        agent.until(stream, &mut outcome, |outcome| outcome.opened.is_some());
        outcome.opened.and_then(|answer| answer.uint("stdinBytes")).unwrap_or(0)
    };
    let mut stream = agent.open(&exec_as(&id, &script, "#stdin"));
    let mut before = 0;
    for _ in 0..12 {
        (0..4).for_each(|_| agent.send(frame::DATA, frame::STDIN, stream, &window));
        assert_eq!(agent.listed(), [(id.clone(), true)]);
        agent.reconnect();
        stream = agent.attach(&id, 0, 0);
        before = taken(&mut agent, stream);
    }
    assert!(before <= 1024 * 1024 + 64 * 1024, "{} bytes wait", before);
    std::fs::write(&go, "").expect("go");
    // Once the program reads, it continues where it was.
    let mut outcome = Outcome::default();
    loop {
        agent.send(frame::DATA, frame::STDIN, stream, &window);
        agent.fin(stream, frame::STDIN);
        agent.until(stream, &mut outcome, |_| false);
        if outcome.reset.take().is_none() {
            break;
        }
        stream = agent.attach(&id, 0, 0);
        before = taken(&mut agent, stream);
    }
    assert_eq!(outcome.stdout(), format!("{}\n", before + window.len() as u64).as_bytes());
    assert_eq!(outcome.code(), 3);
}
