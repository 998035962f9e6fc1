//! Nothing grows with the number of execs.

mod support;

use boxinit::frame;
use support::{exec, unique, wait_for, Agent, Outcome};

fn descriptors(agent: &Agent) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", agent.child.id())).map(|list| list.count()).unwrap_or(0)
}

fn resident_kb(agent: &Agent) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn children(agent: &Agent) -> String {
    let pid = agent.child.id();
    std::fs::read_to_string(format!("/proc/{}/task/{}/children", pid, pid)).unwrap_or_default()
}

/// One that runs, one that cannot start, one that times out, a file call, and a tunnel that fails.
fn round(agent: &mut Agent) {
    assert_eq!(agent.sh("echo ok; echo err >&2").code(), 0);
    let missing = format!(r#"{{"op":"exec","id":"{}","argv":["no-such-program"],"env":{{}},"cwd":"/"}}"#, unique("m"));
    assert_eq!(agent.call(&missing).refusal(), "exec_program_not_found");
    let late = agent.call(&exec("exec sleep 100", r#","timeoutMs":5,"stdin":true"#));
    assert!(late.exit().flag("timedOut"));
    assert!(agent.call(r#"{"op":"file","call":"read","path":"/etc/passwd"}"#).fin);
    assert_eq!(agent.call(r#"{"op":"port","port":1}"#).refusal(), "port_refused");
}

#[test]
fn descriptors_memory_and_processes_stay_flat() {
    let mut agent = Agent::start();
    for _ in 0..20 {
        round(&mut agent);
    }
    let before = (descriptors(&agent), resident_kb(&agent));
    for _ in 0..150 {
        round(&mut agent);
    }
    assert!(descriptors(&agent) <= before.0, "{} descriptors, {} before", descriptors(&agent), before.0);
    assert!(resident_kb(&agent) <= before.1 + 512, "{} KB, {} before", resident_kb(&agent), before.1);
    assert_eq!(agent.call(r#"{"op":"list"}"#).opened.expect("opened").array("execs").map(|list| list.len()), Some(0));
}

#[test]
fn orphans_are_reaped() {
    let mut agent = Agent::start();
    for _ in 0..30 {
        assert_eq!(agent.sh("(sleep 0.05 &) ; true").code(), 0);
    }
    wait_for(|| children(&agent).is_empty());
}

#[test]
fn concurrent_commands_keep_their_own_output() {
    let mut agent = Agent::start();
    let streams: Vec<u32> = (0..50)
        .map(|i| agent.open(&exec(&format!("read x; sleep 0.1; echo {} $x; exit {}", i, i), "#stdin")))
        .collect();
    for (i, stream) in streams.iter().enumerate() {
        agent.send(frame::DATA, frame::STDIN, *stream, format!("in-{}\n", i).as_bytes());
        agent.fin(*stream, frame::STDIN);
    }
    let mut outcomes: Vec<Outcome> = streams.iter().map(|_| Outcome::default()).collect();
    let mut left = streams.len();
    while left > 0 {
        let (header, payload) = agent.next();
        if let Some(i) = streams.iter().position(|stream| *stream == header.stream) {
            if Agent::note(&mut outcomes[i], &header, payload) {
                left -= 1;
            }
        }
    }
    for (i, outcome) in outcomes.iter().enumerate() {
        assert_eq!(String::from_utf8_lossy(outcome.stdout()), format!("{} in-{}\n", i, i));
        assert_eq!(outcome.code(), i as i64);
    }
}

#[test]
fn large_input_with_large_output_does_not_deadlock() {
    let mut agent = Agent::start();
    let stream = agent.open(&exec("cat", "#stdin"));
    let total = 8 * 1024 * 1024;
    let (mut sent, mut credit, mut links) = (0usize, 256 * 1024usize, 1024 * 1024usize);
    let mut outcome = Outcome::default();
    loop {
        while sent < total && credit >= 65_536 && links >= 65_536 {
            let bytes: Vec<u8> = (sent..sent + 65_536).map(|i| (i * 7 + i / 256) as u8).collect();
            agent.send(frame::DATA, frame::STDIN, stream, &bytes);
            sent += bytes.len();
            credit -= bytes.len();
            links -= bytes.len();
            if sent == total {
                agent.fin(stream, frame::STDIN);
            }
        }
        let (header, payload) = agent.next();
        if header.kind == frame::CREDIT {
            let count = u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]) as usize;
            if header.stream == 0 {
                links += count;
            } else {
                credit += count;
            }
        } else if Agent::note(&mut outcome, &header, payload) {
            break;
        }
    }
    let expected: Vec<u8> = (0..total).map(|i| (i * 7 + i / 256) as u8).collect();
    assert!(outcome.stdout() == expected);
}
