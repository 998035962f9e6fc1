//! A peer that violates the wire protocol. Some rules may be broken once per link: the stream is reset. The second
//! time, and for all other rules, the link ends.

mod support;

use boxinit::frame::{self, Header};
use std::io::Write;
use support::{exec, exec_as, unique, Agent, Outcome};

/// Frames: type, channel, payload.
type Frames = &'static [(u8, u16, &'static [u8])];

const VIOLATIONS: [(&str, Frames); 9] = [
    ("DATA after FIN of its channel", &[(frame::FIN, frame::STDIN, b""), (frame::DATA, frame::STDIN, b"x")]),
    ("empty DATA after FIN of its channel", &[(frame::FIN, frame::STDIN, b""), (frame::DATA, frame::STDIN, b"")]),
    ("FIN after FIN of its channel", &[(frame::FIN, frame::STDIN, b""), (frame::FIN, frame::STDIN, b"")]),
    ("DATA on a channel above 31", &[(frame::DATA, 32, b"x")]),
    ("FIN of a channel above 31", &[(frame::FIN, 32, b"")]),
    ("EVENT after FIN ALL", &[(frame::FIN, frame::ALL, b""), (frame::EVENT, 0, br#"{"type":"kill"}"#)]),
    ("FIN after FIN ALL", &[(frame::FIN, frame::ALL, b""), (frame::FIN, frame::ALL, b"")]),
    ("an EVENT that is no JSON", &[(frame::EVENT, 0, b"kill")]),
    ("an EVENT that is no object", &[(frame::EVENT, 0, b"[1]")]),
];

fn break_rule(agent: &mut Agent, frames: Frames) -> u32 {
    let stream = agent.open(&exec("cat >/dev/null; exec sleep 1000", "#stdin"));
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| outcome.opened.is_some());
    for (kind, channel, payload) in frames {
        agent.send(*kind, *channel, stream, payload);
    }
    stream
}

#[test]
fn a_violation_resets_its_stream_and_the_second_one_ends_the_link() {
    let mut agent = Agent::start();
    for (what, frames) in VIOLATIONS {
        let stream = break_rule(&mut agent, frames);
        let reset = agent.finish(stream).reset.unwrap_or_else(|| panic!("{} is let pass", what));
        assert_eq!(reset.text("code"), Some("protocol_error"), "{}", what);
        assert!(agent.call(r#"{"op":"list"}"#).opened.is_some(), "{}", what);
        break_rule(&mut agent, frames);
        agent.accept_again();
    }
}

#[test]
fn a_malformed_request_is_refused_and_the_second_one_ends_the_link() {
    for request in ["{", "[]", "7", "null", ""] {
        let mut agent = Agent::start();
        assert_eq!(agent.call(request).refusal(), "protocol_error", "{}", request);
        assert!(agent.call(r#"{"op":"list"}"#).opened.is_some());
        let stream = agent.open(request);
        assert_eq!(agent.finish(stream).refusal(), "protocol_error", "{}", request);
        agent.accept_again();
    }
}

#[test]
fn a_ping_has_at_most_64_bytes() {
    let mut agent = Agent::start();
    agent.send(frame::PING, 0, 0, &[b'x'; 64]);
    let (header, payload) = agent.next();
    assert_eq!((header.kind, payload), (frame::PONG, vec![b'x'; 64]));
    let ping = [&Header::new(frame::PING, 0, 0, 65).encode()[..], &[b'x'; 65]].concat();
    agent.link.write_all(&ping).expect("send");
    agent.accept_again();
    assert_eq!(agent.sh("echo alive").stdout(), b"alive\n");
}

#[test]
fn frames_for_a_closed_stream_break_no_rule() {
    let mut agent = Agent::start();
    for _ in 0..3 {
        let stream = agent.open(&exec("exit 0", "#stdin"));
        agent.finish(stream);
        agent.send(frame::DATA, frame::STDIN, stream, b"late");
        agent.send(frame::EVENT, 0, stream, b"late");
        agent.fin(stream, frame::STDIN);
        agent.fin(stream, frame::ALL);
    }
    assert_eq!(agent.sh("echo alive").stdout(), b"alive\n");
}

#[test]
fn a_peer_that_violates_the_protocol_is_disconnected_and_redialled() {
    let mut agent = Agent::start();
    let id = unique("rude");
    agent.open(&exec_as(&id, "sleep 1000", r#","background":true"#));
    for rubbish in [
        &[0xff; 64][..],
        &frame::Header::new(frame::OPEN, 0, 3, 0).encode()[..],
        &frame::Header::new(frame::DATA, 0, 40, 0).encode()[..],
        &frame::Header::new(frame::HELLO, 0, 0, 0).encode()[..],
        &frame::Header::new(frame::CREDIT, 0, 0, 4).encode()[..],
    ] {
        agent.link.write_all(rubbish).expect("send");
        if rubbish[0] == frame::CREDIT {
            agent.link.write_all(&[0, 0, 0, 1]).expect("send");
        }
        agent.accept_again();
        assert_eq!(agent.listed(), [(id.clone(), true)]);
    }
    assert_eq!(agent.call("{").refusal(), "protocol_error");
    assert_eq!(agent.call(r#"{"op":"nonsense"}"#).refusal(), "not_supported");
}

#[test]
fn no_kind_of_garbage_ends_boxinit() {
    let mut agent = Agent::start();
    let pid = agent.child.id();
    let mut state = 0x1234_5678_9abc_def1u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..60 {
        let mut bytes = Vec::new();
        for i in 0..20u32 {
            let kind = (random() % 13) as u8;
            let payload: Vec<u8> = match random() % 3 {
                0 => br#"{"op":"exec","id":"a","argv":["true"],"cwd":"/","env":{}}"#.to_vec(),
                1 => (random() as u32).to_be_bytes().to_vec(),
                _ => (0..random() % 50).map(|_| random() as u8).collect(),
            };
            let header = frame::Header {
                kind,
                flags: (random() % 2) as u8,
                channel: (random() % 6) as u16,
                stream: if random() % 4 == 0 { 0 } else { 2 * (1 + i / 3) },
                length: payload.len(),
            };
            bytes.extend_from_slice(&header.encode());
            bytes.extend_from_slice(&payload);
        }
        let _ = agent.link.write_all(&bytes);
        agent.reconnect();
    }
    assert_eq!(agent.sh("echo alive").stdout(), b"alive\n");
    assert_eq!(agent.child.id(), pid);
    assert_eq!(agent.sh("exit 2").code(), 2);
}
