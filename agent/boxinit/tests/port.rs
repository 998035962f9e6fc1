//! Tunnels to ports in the sandbox.

mod support;

use boxinit::frame;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use support::{wait_for, Agent, Outcome};

fn open(agent: &mut Agent, port: u16) -> u32 {
    agent.open(&format!(r#"{{"op":"port","port":{}}}"#, port))
}

#[test]
fn bytes_flow_both_ways_and_each_direction_is_half_closed_on_its_own() {
    let mut agent = Agent::start();
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("address").port();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("accept");
        let mut all = Vec::new();
        socket.read_to_end(&mut all).expect("read");
        socket.write_all(&all).expect("write");
        socket.write_all(b"bye").expect("write");
    });
    let stream = open(&mut agent, port);
    let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 253) as u8).collect();
    for chunk in bytes.chunks(50_000) {
        agent.send(frame::DATA, frame::BYTES, stream, chunk);
    }
    agent.fin(stream, frame::BYTES);
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |_| false);
    assert!(outcome.opened.is_some());
    assert_eq!(outcome.bytes(), [bytes.as_slice(), b"bye"].concat());
    server.join().expect("server");
}

/// Whether everything sent by sockets of this local port has been received.
fn all_received(port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("table");
    let local = format!(":{:04X}", port);
    let connected = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|fields| {
        // Local address, peer, state (01: connected), bytes not sent and bytes not read.
        fields.len() > 4 && fields[1].ends_with(&local) && fields[3] == "01"
    });
    connected.map(|fields| fields[4].starts_with("00000000:")).all(|received| received)
}

#[test]
fn output_sent_before_a_hang_up_arrives_although_input_was_left_unread() {
    const WINDOW: usize = 256 * 1024;
    let mut agent = Agent::start();
    agent.auto_credit = false;
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("address").port();
    let (go_on, turn) = mpsc::channel::<()>();
    let (wrote, written) = mpsc::channel::<()>();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("accept");
        // Unread data makes the kernel reset the connection when it is closed.
        socket.peek(&mut [0]).expect("peek");
        socket.write_all(&[b'a'; WINDOW]).expect("write");
        turn.recv().expect("turn");
        socket.write_all(b"answer").expect("write");
        wrote.send(()).expect("wrote");
        turn.recv().expect("turn");
    });
    let stream = open(&mut agent, port);
    agent.send(frame::DATA, frame::BYTES, stream, b"upload");
    let mut outcome = Outcome::default();
    // There is no credit for more, so the answer stays in the socket.
    agent.until(stream, &mut outcome, |outcome| outcome.bytes().len() == WINDOW);
    go_on.send(()).expect("go on");
    written.recv().expect("written");
    wait_for(|| all_received(port));
    go_on.send(()).expect("go on");
    server.join().expect("server");
    agent.send(frame::DATA, frame::BYTES, stream, b"more of the upload");
    agent.credit(stream, 1024);
    agent.until(stream, &mut outcome, |_| false);
    assert_eq!(&outcome.bytes()[WINDOW..], b"answer");
}

#[test]
fn a_port_where_nobody_listens_is_refused() {
    let mut agent = Agent::start();
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        listener.local_addr().expect("address").port()
    };
    let stream = open(&mut agent, port);
    let outcome = agent.finish(stream);
    assert_eq!(outcome.refusal(), "port_refused");
    // Why it failed over IPv4, even without IPv6.
    let message = outcome.refused.as_ref().and_then(|error| error.text("message")).unwrap_or("");
    assert!(message.to_lowercase().contains("refused"), "{}", message);
    for port in ["0", "65536", "-1", "1.5", "\"80\""] {
        let result = agent.call(&format!(r#"{{"op":"port","port":{}}}"#, port));
        assert_eq!(result.refusal(), "invalid_request");
    }
}

#[test]
fn a_server_on_ipv6_alone_is_found() {
    let listener = match TcpListener::bind("[::1]:0") {
        Ok(listener) => listener,
        Err(_) => return,
    };
    let port = listener.local_addr().expect("address").port();
    let server = std::thread::spawn(move || listener.accept().map(|(mut socket, _)| socket.write_all(b"six")));
    let mut agent = Agent::start();
    let stream = open(&mut agent, port);
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |_| false);
    assert_eq!(outcome.bytes(), b"six");
    agent.fin(stream, frame::ALL);
    let _ = server.join();
    assert_eq!(agent.sh("echo alive").stdout(), b"alive\n");
}
