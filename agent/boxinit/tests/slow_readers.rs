//! Readers slower than the link: queued data is bounded by the credit, however much arrives in total.

mod support;

use boxinit::frame;
use std::collections::HashMap;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::io::AsRawFd;
use std::time::Duration;
use support::{exec, Agent, Outcome};

const TOTAL: usize = 32 * 1024 * 1024;
/// Less, because it takes as long through small windows.
const TOTAL_THROUGH_TUNNEL: usize = 8 * 1024 * 1024;
/// A few windows and what is allocated ahead for them; less than half of what would pile up.
const MAX_GROWTH: usize = 3 * 1024 * 1024;

/// boxinit's peak memory.
fn peak(agent: &Agent) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.child.id())).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().expect("kilobytes")
}

/// Sends whatever there is credit for until all is sent, so that something is always queued. Then ends the channel.
fn send_all(agent: &mut Agent, stream: u32, channel: u16, mut left: usize, outcome: &mut Outcome) {
    let chunk = [b'x'; 64 * 1024];
    let mut credit = HashMap::from([(0, 1024 * 1024), (stream, 256 * 1024)]);
    while left > 0 {
        let may = left.min(chunk.len()).min(credit[&0]).min(credit[&stream]);
        if may > 0 {
            agent.send(frame::DATA, channel, stream, &chunk[..may]);
            left -= may;
            credit.values_mut().for_each(|credit| *credit -= may);
            continue;
        }
        let (header, payload) = agent.next();
        match header.kind {
            frame::CREDIT => {
                let bytes = u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]);
                *credit.get_mut(&header.stream).expect("a stream of ours") += bytes as usize;
            }
            _ => assert!(!Agent::note(outcome, &header, payload), "{:?}", outcome),
        }
    }
    agent.fin(stream, channel);
}

#[test]
fn a_program_that_reads_slowly_does_not_increase_our_memory() {
    let mut agent = Agent::start();
    assert_eq!(agent.sh("true").code(), 0);
    let before = peak(&agent);
    let script = "all=0; while got=$(head -c 131072 | wc -c); [ $got != 0 ]; do all=$((all + got)); done; echo $all";
    let stream = agent.open(&exec(script, "#stdin"));
    let mut outcome = Outcome::default();
    send_all(&mut agent, stream, frame::STDIN, TOTAL, &mut outcome);
    agent.until(stream, &mut outcome, |_| false);
    assert_eq!(outcome.stdout(), format!("{}\n", TOTAL).as_bytes());
    let growth = peak(&agent) - before;
    assert!(growth <= MAX_GROWTH, "{} bytes more for {}", growth, TOTAL);
}

extern "C" {
    fn setsockopt(fd: i32, level: i32, name: i32, value: *const i32, bytes: u32) -> i32;
}

/// Small segments and a small window: the kernel's own buffers, which otherwise take megabytes at once, stay small too.
fn narrow(listener: &TcpListener) {
    const SOL_SOCKET: i32 = 1;
    const SO_RCVBUF: i32 = 8;
    const IPPROTO_TCP: i32 = 6;
    const TCP_MAXSEG: i32 = 2;
    for (level, name, value) in [(SOL_SOCKET, SO_RCVBUF, 4096), (IPPROTO_TCP, TCP_MAXSEG, 536)] {
        // SAFETY: the pointer is to a live integer.
        assert_eq!(unsafe { setsockopt(listener.as_raw_fd(), level, name, &value, 4) }, 0);
    }
}

#[test]
fn a_server_that_reads_slowly_does_not_increase_our_memory() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    narrow(&listener);
    let port = listener.local_addr().expect("address").port();
    let server = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("accept");
        let mut chunk = vec![0; 128 * 1024];
        let mut all = 0;
        loop {
            match socket.read(&mut chunk).expect("read") {
                0 => return all,
                count => all += count,
            }
            // Slower than the link delivers.
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let mut agent = Agent::start();
    assert_eq!(agent.sh("true").code(), 0);
    let before = peak(&agent);
    let stream = agent.open(&format!(r#"{{"op":"port","port":{}}}"#, port));
    let mut outcome = Outcome::default();
    send_all(&mut agent, stream, frame::BYTES, TOTAL_THROUGH_TUNNEL, &mut outcome);
    agent.until(stream, &mut outcome, |_| false);
    assert_eq!(server.join().expect("server"), TOTAL_THROUGH_TUNNEL);
    let growth = peak(&agent) - before;
    assert!(growth <= MAX_GROWTH, "{} bytes more for {}", growth, TOTAL_THROUGH_TUNNEL);
}
