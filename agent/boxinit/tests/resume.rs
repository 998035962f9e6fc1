//! Cut links, resumed streams, kept exits.

mod support;

use boxinit::frame;
use boxinit::json::Value;
use std::path::Path;
use std::time::{Duration, Instant};
use support::{exec, exec_as, unique, Agent, Outcome};

fn attach(agent: &mut Agent, id: &str, stdout: usize, stderr: usize) -> u32 {
    agent.open(&format!(r#"{{"op":"attach","id":"{}","stdout":{},"stderr":{}}}"#, id, stdout, stderr))
}

fn listed(agent: &mut Agent) -> Vec<(String, bool)> {
    let answer = agent.call(r#"{"op":"list"}"#).opened.expect("opened");
    let item = |exec: &Value| (exec.text("id").expect("id").to_string(), exec.flag("running"));
    answer.array("execs").expect("execs").iter().map(item).collect()
}

fn ids_of(answer: &Value) -> Vec<&str> {
    answer.array("execs").expect("execs").iter().map(|exec| exec.text("id").expect("id")).collect()
}

fn await_file(file: &Path) {
    let deadline = Instant::now() + support::PATIENCE;
    while !file.exists() {
        assert!(Instant::now() < deadline, "no {}", file.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

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
        stream = attach(&mut agent, &id, all.stdout().len(), 0);
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
fn a_program_that_writes_a_lot_waits_for_a_listener_that_was_cut_off() {
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
        stream = attach(&mut agent, &id, all.stdout().len(), 0);
    }
    agent.until(stream, &mut all, |_| false);
    assert!(all.event("output_lost").is_none());
    let expected: String = (1..=3_000_000).map(|i| format!("{}\n", i)).collect();
    assert!(all.stdout() == expected.as_bytes());
    assert_eq!(all.code(), 9);
}

#[test]
fn a_program_does_not_wait_for_ever_for_a_listener() {
    let mut agent = Agent::start();
    let id = unique("held");
    let file = agent.directory.join("done");
    let script = format!("seq 1 3000000; echo x > {}", file.display());
    let request = exec_as(&id, &script, "").replace(r#""ringBytes":1048576"#, r#""ringBytes":1048576,"holdMs":300"#);
    agent.open(&request);
    agent.reconnect();
    await_file(&file);
    let stream = attach(&mut agent, &id, 0, 0);
    assert!(agent.finish(stream).event("output_lost").is_some());
}

#[test]
fn what_the_ring_could_not_hold_is_said_honestly() {
    let mut agent = Agent::start();
    let id = unique("lost");
    let file = agent.directory.join("done");
    let script = format!("i=0; while [ $i -lt 60000 ]; do echo line $i; i=$((i+1)); done; echo x > {}", file.display());
    let request = exec_as(&id, &script, "").replace(r#""ringBytes":1048576"#, r#""ringBytes":65536,"holdMs":0"#);
    agent.open(&request);
    agent.reconnect();
    await_file(&file);
    let stream = attach(&mut agent, &id, 0, 0);
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
fn an_exit_is_kept_until_it_is_acknowledged() {
    let mut agent = Agent::start();
    let id = unique("kept");
    let stream = agent.open(&exec_as(&id, "echo hi; exit 3", ""));
    let mut first = Outcome::default();
    agent.until(stream, &mut first, |_| false);
    agent.reconnect();
    assert_eq!(listed(&mut agent), [(id.clone(), false)]);
    let answer = agent.call(r#"{"op":"list"}"#).opened.expect("opened");
    let exit = answer.array("execs").and_then(|execs| execs[0].get("exit")).and_then(|exit| exit.uint("exitCode"));
    assert_eq!(exit, Some(3));
    let stream = attach(&mut agent, &id, 0, 0);
    let again = agent.finish(stream);
    assert_eq!((again.stdout(), again.code()), (&b"hi\n"[..], 3));
    assert_eq!(listed(&mut agent), []);
    let stream = attach(&mut agent, &id, 0, 0);
    assert_eq!(agent.finish(stream).refusal(), "exec_not_found");
}

#[test]
fn a_list_too_long_for_one_answer_says_so_and_leaves_out_nothing_that_was_asked_for() {
    let mut agent = Agent::start();
    let running = unique("runs");
    agent.open(&exec_as(&running, "sleep 1000", ""));
    // As long as an id may be, so that fewer are enough.
    let ids: Vec<String> = (0..3_000).map(|i| format!("{:-<64}", format!("exe-{}", i))).collect();
    for some in ids.chunks(100) {
        let streams: Vec<u32> = some.iter().map(|id| agent.open(&exec_as(id, ":", ""))).collect();
        for stream in streams {
            agent.until(stream, &mut Outcome::default(), |_| false);
        }
    }
    agent.reconnect();
    let all = agent.call(r#"{"op":"list"}"#).opened.expect("opened");
    assert!(all.flag("more"));
    assert_eq!(ids_of(&all)[0], running);
    let wanted = [&ids[0], &ids[2_999], &running];
    let few =
        agent.call(&format!(r#"{{"op":"list","ids":["{}","unknown",7]}}"#, wanted.map(|id| id.as_str()).join("\",\"")));
    let few = few.opened.expect("opened");
    assert!(!few.flag("more"));
    assert_eq!(ids_of(&few), [&running, &ids[0], &ids[2_999]]);
}

#[test]
fn commands_that_were_acknowledged_take_no_output_from_one_that_was_cut_off() {
    let mut agent = Agent::start();
    let id = unique("unread");
    let stream = agent.open(&exec_as(&id, "echo unread; exit 3", ""));
    let mut first = Outcome::default();
    agent.until(stream, &mut first, |_| false);
    agent.reconnect();
    // More than there are kept exits with output.
    for _ in 0..12 {
        let streams: Vec<u32> = (0..50).map(|_| agent.open(&exec("exit 0", ""))).collect();
        for stream in streams {
            assert_eq!(agent.finish(stream).code(), 0);
        }
    }
    assert_eq!(listed(&mut agent), [(id.clone(), false)]);
    let stream = attach(&mut agent, &id, 0, 0);
    let result = agent.finish(stream);
    assert!(result.event("output_lost").is_none());
    assert_eq!((result.stdout(), result.code()), (&b"unread\n"[..], 3));
}

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
    // It has ended, and nobody has acknowledged that: the id is still taken.
    assert_eq!(agent.call(&exec_as(&id, "true", "")).refusal(), "idempotency_conflict");
}

#[test]
fn a_script_that_comes_as_data_is_told_apart_by_its_text() {
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

#[test]
fn attach_says_how_much_input_came() {
    let mut agent = Agent::start();
    let id = unique("input");
    let stream = agent.open(&exec_as(&id, "head -c 10; echo; cat >/dev/null; exit 4", "#stdin"));
    agent.send(frame::DATA, frame::STDIN, stream, b"0123456789");
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| outcome.stdout().len() == 11);
    agent.reconnect();
    let stream = attach(&mut agent, &id, 11, 0);
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| outcome.opened.is_some());
    assert_eq!(outcome.opened.as_ref().and_then(|answer| answer.uint("stdinBytes")), Some(10));
    agent.fin(stream, frame::STDIN);
    agent.until(stream, &mut outcome, |_| false);
    assert_eq!((outcome.stdout(), outcome.code()), (&b""[..], 4));
}

#[test]
fn input_that_came_before_a_cut_gives_the_next_stream_no_credit() {
    let mut agent = Agent::start();
    let id = unique("credit");
    let go = agent.directory.join("go");
    let script = format!("until [ -e {} ]; do sleep 0.02; done; wc -c; exit 3", go.display());
    let window = [b'x'; 64 * 1024];
    let stream = agent.open(&exec_as(&id, &script, "#stdin"));
    (0..4).for_each(|_| agent.send(frame::DATA, frame::STDIN, stream, &window));
    // Answered behind the data: all of it has come.
    assert_eq!(listed(&mut agent), [(id.clone(), true)]);
    agent.reconnect();

    let stream = attach(&mut agent, &id, 0, 0);
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
fn input_that_nobody_reads_does_not_pile_up_over_many_cuts() {
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
        assert_eq!(listed(&mut agent), [(id.clone(), true)]);
        agent.reconnect();
        stream = attach(&mut agent, &id, 0, 0);
        before = taken(&mut agent, stream);
    }
    assert!(before <= 1024 * 1024 + 64 * 1024, "{} bytes wait", before);
    std::fs::write(&go, "").expect("go");
    // Once the program reads, it goes on where it was.
    let mut outcome = Outcome::default();
    loop {
        agent.send(frame::DATA, frame::STDIN, stream, &window);
        agent.fin(stream, frame::STDIN);
        agent.until(stream, &mut outcome, |_| false);
        if outcome.reset.take().is_none() {
            break;
        }
        stream = attach(&mut agent, &id, 0, 0);
        before = taken(&mut agent, stream);
    }
    assert_eq!(outcome.stdout(), format!("{}\n", before + window.len() as u64).as_bytes());
    assert_eq!(outcome.code(), 3);
}

#[test]
fn an_offset_behind_the_end_is_refused() {
    let mut agent = Agent::start();
    let id = unique("offset");
    agent.open(&exec_as(&id, "sleep 100", ""));
    let stream = attach(&mut agent, &id, 1, 0);
    assert_eq!(agent.finish(stream).refusal(), "invalid_request");
}

#[test]
fn nobody_came_back_so_it_is_killed_and_forgotten_but_jobs_are_not() {
    let mut agent = Agent::start();
    let abandoned = unique("abandoned");
    let job = unique("job");
    let short = |request: String| request.replace(r#""detachedMs":60000"#, r#""detachedMs":0"#);
    agent.open(&short(exec_as(&abandoned, "sleep 1000", "")));
    agent.open(&short(exec_as(&job, "sleep 1000", r#","background":true"#)));
    let result = agent.sh("true");
    assert_eq!(result.code(), 0);
    agent.reconnect();
    let deadline = Instant::now() + support::PATIENCE;
    loop {
        let list = listed(&mut agent);
        assert!(list.iter().any(|(id, running)| *id == job && *running));
        if list.len() == 1 {
            break;
        }
        assert!(Instant::now() < deadline, "{:?}", list);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_reset_by_the_agent_detaches_and_does_not_kill() {
    let mut agent = Agent::start();
    let id = unique("reset");
    let stream = agent.open(&exec_as(&id, "read x; echo got $x", "#stdin"));
    agent.send(frame::RESET, 0, stream, br#"{"code":"cancelled","message":""}"#);
    let stream = attach(&mut agent, &id, 0, 0);
    agent.send(frame::DATA, frame::STDIN, stream, b"it\n");
    assert_eq!(agent.finish(stream).stdout(), b"got it\n");
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
fn what_a_command_left_running_is_found_also_when_it_is_forgotten() {
    let mut agent = Agent::start();
    let id = unique("left");
    // One keeps its environment, one does not; both are in sessions of their own.
    let script = "setsid sleep 1000 >/dev/null 2>&1 & setsid env -i sleep 1000 >/dev/null 2>&1 & echo $!; exit 3";
    let outcome = agent.call(&exec_as(&id, script, r#","background":true"#));
    assert_eq!(outcome.code(), 3);
    let last: i32 = String::from_utf8_lossy(outcome.stdout()).trim().parse().expect("pid");
    let alive =
        |pid: i32| std::fs::read_to_string(format!("/proc/{}/stat", pid)).map_or(false, |s| !s.contains(") Z "));
    assert!(alive(last));
    assert!(listed(&mut agent).is_empty(), "its exit was acknowledged");
    let signal = |more: &str| format!(r#"{{"op":"signal","id":"{}","signal":"KILL"{}}}"#, id, more);
    assert_eq!(agent.call(&signal(r#","all":true"#)).refusal(), "exec_not_found");
    assert!(agent.call(&signal(r#","all":true,"ended":true"#)).opened.is_some());
    let deadline = Instant::now() + support::PATIENCE;
    while alive(last) {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
    let carriers = format!("grep -lz 'MILLIBOX_EXEC_ID={}' /proc/[0-9]*/environ 2>/dev/null | wc -l", id);
    while agent.sh(&carriers).stdout() != b"0\n" {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_peer_that_breaks_the_rules_is_left_and_called_again() {
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
        std::io::Write::write_all(&mut agent.link, rubbish).expect("send");
        if rubbish[0] == frame::CREDIT {
            std::io::Write::write_all(&mut agent.link, &[0, 0, 0, 1]).expect("send");
        }
        agent.accept_again();
        assert_eq!(listed(&mut agent), [(id.clone(), true)]);
    }
    assert_eq!(agent.call("{").refusal(), "protocol_error");
    assert_eq!(agent.call(r#"{"op":"nonsense"}"#).refusal(), "not_supported");
}

#[test]
fn rubbish_of_all_kinds_never_ends_it() {
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
        let _ = std::io::Write::write_all(&mut agent.link, &bytes);
        agent.reconnect();
    }
    assert_eq!(agent.sh("echo alive").stdout(), b"alive\n");
    assert_eq!(agent.child.id(), pid);
    assert!(agent.call(&exec("exit 2", "")).code() == 2);
}

fn reset(agent: &mut Agent, stream: u32, code: &str) {
    let error = format!(r#"{{"code":"{}","message":"bye"}}"#, code);
    agent.send(frame::RESET, 0, stream, error.as_bytes());
}

#[test]
fn an_exit_is_kept_for_nobody_when_whoever_killed_it_has_let_go() {
    let mut agent = Agent::start();
    for round in 0..100 {
        // Some have ended before anybody hears of the kill.
        let script = if round % 3 == 0 { "echo done" } else { "echo begun; sleep 1000" };
        let stream = agent.open(&exec(script, ""));
        if round % 2 == 0 {
            let mut outcome = Outcome::default();
            agent.until(stream, &mut outcome, |outcome| outcome.opened.is_some());
        }
        agent.event(stream, r#"{"type":"kill"}"#);
        reset(&mut agent, stream, "cancelled");
    }
    let deadline = Instant::now() + support::PATIENCE;
    while !listed(&mut agent).is_empty() {
        assert!(Instant::now() < deadline, "{:?}", listed(&mut agent));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_exit_is_kept_for_whoever_was_cut_off_although_it_asked_for_a_kill() {
    let mut agent = Agent::start();
    let id = unique("cut");
    let stream = agent.open(&exec_as(&id, "exec sleep 1000", ""));
    agent.event(stream, r#"{"type":"kill"}"#);
    reset(&mut agent, stream, "interrupted");
    let outcome = agent.call(&format!(r#"{{"op":"attach","id":"{}","stdout":0,"stderr":0}}"#, id));
    assert_eq!(outcome.exit().text("signal"), Some("TERM"));
    // Let go without a kill, it is kept as well.
    let id = unique("left");
    let stream = agent.open(&exec_as(&id, "exit 3", ""));
    reset(&mut agent, stream, "cancelled");
    assert_eq!(agent.call(&format!(r#"{{"op":"attach","id":"{}","stdout":0,"stderr":0}}"#, id)).code(), 3);
}
