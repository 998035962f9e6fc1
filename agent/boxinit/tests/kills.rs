//! Signals and kills. Concurrent kills share their scans of the process table.

mod support;

use support::{exec, exec_as, is_alive, unique, wait_for, Agent, Outcome};

const MANY: usize = 100;

/// How many reads boxinit has made; None if the kernel does not show it to us.
fn reads(agent: &Agent) -> Option<usize> {
    let text = std::fs::read_to_string(format!("/proc/{}/io", agent.child.id())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("syscr: ")).and_then(|count| count.parse().ok())
}

fn processes() -> usize {
    let names = std::fs::read_dir("/proc").expect("processes").flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().parse::<u32>().is_ok()).count()
}

/// Starts commands that leave one daemon each; returns their streams and daemons.
fn start(agent: &mut Agent, ids: &[String], more: &str) -> (Vec<u32>, Vec<String>) {
    // It prints its pid once it is in its own session.
    let script = "setsid env -i sh -c 'echo $$; exec sleep 1000 >/dev/null 2>&1' & sleep 1000";
    let streams: Vec<u32> = ids.iter().map(|id| agent.open(&exec_as(id, script, more))).collect();
    let mut daemons = Vec::new();
    for stream in &streams {
        let mut outcome = Outcome::default();
        agent.until(*stream, &mut outcome, |outcome| outcome.stdout().ends_with(b"\n"));
        daemons.push(String::from_utf8_lossy(outcome.stdout()).trim().to_string());
    }
    (streams, daemons)
}

fn ids() -> Vec<String> {
    (0..MANY).map(|_| unique("many")).collect()
}

/// How many scans the `reads` were for, at two reads per process; other reads only increase the number.
fn looks(before: Option<usize>, after: Option<usize>, processes: usize) -> usize {
    before.zip(after).map_or(0, |(before, after)| (after - before) / (2 * processes))
}

#[test]
fn signals_go_to_the_group_or_to_everything() {
    let mut agent = Agent::start();
    let id = unique("signal");
    let stream = agent.open(&exec_as(&id, "trap 'echo usr1' USR1; echo up; while :; do sleep 0.05; done", ""));
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| outcome.stdout() == b"up\n");
    let answer = agent.call(&format!(r#"{{"op":"signal","id":"{}","signal":"TERM","all":true}}"#, id));
    assert!(answer.opened.is_some());
    agent.until(stream, &mut outcome, |_| false);
    assert_eq!(outcome.code(), 143);
    let answer = agent.call(&format!(r#"{{"op":"signal","id":"{}","signal":"NOPE"}}"#, id));
    assert_eq!(answer.refusal(), "invalid_request");
    assert_eq!(agent.call(r#"{"op":"signal","id":"none","signal":"TERM"}"#).refusal(), "exec_not_found");
}

#[test]
fn processes_left_by_a_command_are_found_even_once_it_is_forgotten() {
    let mut agent = Agent::start();
    let id = unique("left");
    // One keeps its environment, one does not; both are in sessions of their own.
    let script = "setsid sleep 1000 >/dev/null 2>&1 & setsid env -i sleep 1000 >/dev/null 2>&1 & echo $!; exit 3";
    let outcome = agent.call(&exec_as(&id, script, r#","background":true"#));
    assert_eq!(outcome.code(), 3);
    let last = String::from_utf8_lossy(outcome.stdout()).trim().to_string();
    assert!(is_alive(&last));
    assert!(agent.listed().is_empty(), "its exit was acknowledged");
    let signal = |more: &str| format!(r#"{{"op":"signal","id":"{}","signal":"KILL"{}}}"#, id, more);
    assert_eq!(agent.call(&signal(r#","all":true"#)).refusal(), "exec_not_found");
    assert!(agent.call(&signal(r#","all":true,"ended":true"#)).opened.is_some());
    wait_for(|| !is_alive(&last));
    let carriers = format!("grep -lz 'MILLIBOX_EXEC_ID={}' /proc/[0-9]*/environ 2>/dev/null | wc -l", id);
    wait_for(|| agent.sh(&carriers).stdout() == b"0\n");
}

#[test]
fn concurrent_kills_share_their_scans_and_delay_nobody() {
    for grace in ["", r#","killGraceMs":0"#] {
        let mut agent = Agent::start();
        let (streams, daemons) = start(&mut agent, &ids(), grace);
        let bystander = agent.open(&exec("read line; echo $line", "#stdin"));
        let (processes, before) = (processes(), reads(&agent));
        for stream in &streams {
            agent.event(*stream, r#"{"type":"kill"}"#);
        }
        assert_eq!(agent.sh("echo among them").stdout(), b"among them\n");
        for stream in streams {
            assert!(agent.finish(stream).exit().text("signal").is_some());
        }
        let looks = looks(before, reads(&agent), processes);
        assert!(looks < MANY, "{} looks for {} kills", looks, MANY);
        assert!(!daemons.iter().any(|pid| is_alive(pid)));
        agent.send(boxinit::frame::DATA, boxinit::frame::STDIN, bystander, b"unharmed\n");
        assert_eq!(agent.finish(bystander).stdout(), b"unharmed\n");
    }
}

#[test]
fn kills_of_ended_commands_share_their_scans_and_each_is_answered() {
    let mut agent = Agent::start();
    let ids = ids();
    let (streams, daemons) = start(&mut agent, &ids, "");
    for stream in &streams {
        agent.event(*stream, r#"{"type":"signal","signal":"KILL"}"#);
    }
    for stream in streams {
        assert_eq!(agent.finish(stream).exit().text("signal"), Some("KILL"));
    }
    assert!(daemons.iter().all(|pid| is_alive(pid)));
    let (processes, before) = (processes(), reads(&agent));
    let ask = |id: &String| format!(r#"{{"op":"signal","id":"{}","signal":"KILL","all":true,"ended":true}}"#, id);
    let calls: Vec<u32> = ids.iter().map(|id| agent.open(&ask(id))).collect();
    for call in calls {
        assert!(agent.finish(call).opened.is_some());
    }
    let looks = looks(before, reads(&agent), processes);
    assert!(looks < MANY, "{} looks for {} kills", looks, MANY);
    wait_for(|| !daemons.iter().any(|pid| is_alive(pid)));
}
