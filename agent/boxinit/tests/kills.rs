//! Many kills at once: they share their looks at the table of processes.

mod support;

use std::time::{Duration, Instant};
use support::{exec, exec_as, unique, Agent, Outcome};

const MANY: usize = 100;

/// How many times boxinit has read anything; None where the kernel does not tell us.
fn reads(agent: &Agent) -> Option<usize> {
    let text = std::fs::read_to_string(format!("/proc/{}/io", agent.child.id())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("syscr: ")).and_then(|count| count.parse().ok())
}

fn processes() -> usize {
    let names = std::fs::read_dir("/proc").expect("processes").flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().parse::<u32>().is_ok()).count()
}

fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid)).map_or(false, |stat| !stat.contains(") Z "))
}

/// Starts commands that leave a daemon each, and gives their streams and their daemons.
fn start(agent: &mut Agent, ids: &[String], more: &str) -> (Vec<u32>, Vec<String>) {
    // It tells its number when it is in a session of its own.
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

/// The looks that `reads` were for, with two reads for each process; what else was read makes it only more.
fn looks(before: Option<usize>, after: Option<usize>, processes: usize) -> usize {
    before.zip(after).map_or(0, |(before, after)| (after - before) / (2 * processes))
}

#[test]
fn many_kills_at_once_share_their_looks_and_hold_up_nobody() {
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
        assert!(!daemons.iter().any(|pid| alive(pid)));
        agent.send(boxinit::frame::DATA, boxinit::frame::STDIN, bystander, b"unharmed\n");
        assert_eq!(agent.finish(bystander).stdout(), b"unharmed\n");
    }
}

#[test]
fn so_do_kills_of_what_has_ended_and_each_is_answered() {
    let mut agent = Agent::start();
    let ids = ids();
    let (streams, daemons) = start(&mut agent, &ids, "");
    for stream in &streams {
        agent.event(*stream, r#"{"type":"signal","signal":"KILL"}"#);
    }
    for stream in streams {
        assert_eq!(agent.finish(stream).exit().text("signal"), Some("KILL"));
    }
    assert!(daemons.iter().all(|pid| alive(pid)));
    let (processes, before) = (processes(), reads(&agent));
    let ask = |id: &String| format!(r#"{{"op":"signal","id":"{}","signal":"KILL","all":true,"ended":true}}"#, id);
    let calls: Vec<u32> = ids.iter().map(|id| agent.open(&ask(id))).collect();
    for call in calls {
        assert!(agent.finish(call).opened.is_some());
    }
    let looks = looks(before, reads(&agent), processes);
    assert!(looks < MANY, "{} looks for {} kills", looks, MANY);
    let deadline = Instant::now() + support::PATIENCE;
    while daemons.iter().any(|pid| alive(pid)) {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
}
