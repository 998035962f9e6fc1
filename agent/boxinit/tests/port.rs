//! Tunnels to ports inside.

mod support;

use boxinit::frame;
use std::io::{Read, Write};
use std::net::TcpListener;
use support::{Agent, Outcome};

fn open(agent: &mut Agent, port: u16) -> u32 {
    agent.open(&format!(r#"{{"op":"port","port":{}}}"#, port))
}

#[test]
fn bytes_go_both_ways_and_each_side_ends_by_itself() {
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
    // Why it failed over IPv4, also where there is no IPv6.
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
