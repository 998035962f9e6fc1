//! The exec contract, at boxinit's own interface.

mod support;

use boxinit::frame;
use support::{exec, exec_as, unique, wait_for, Agent, Outcome};

#[test]
fn it_greets_with_its_token() {
    let agent = Agent::start();
    assert_eq!(agent.hello.text("token"), Some("secret-token"));
    assert_eq!(agent.hello.uint("generation"), Some(1));
    assert!(!agent.hello.flag("blank"));
}

#[test]
fn output_and_exit_code_are_the_programs_own() {
    let mut agent = Agent::start();
    let result = agent.sh("echo out; echo err >&2; exit 7");
    assert_eq!((result.stdout(), result.stderr(), result.code()), (&b"out\n"[..], &b"err\n"[..], 7));
    assert_eq!(result.exit().uint("stdoutBytes"), Some(4));
    assert!(result.opened.is_some());
}

#[test]
fn the_environment_is_as_given_and_holds_no_secret() {
    let mut agent = Agent::start();
    let result = agent.sh("env | sort");
    let text = String::from_utf8_lossy(result.stdout()).into_owned();
    assert!(text.contains("HOME=/root\n"), "{}", text);
    assert!(!text.contains("MILLIBOX_TOKEN") && !text.contains("MILLIBOX_SOCKET"), "{}", text);
}

#[test]
fn programs_get_the_configured_process_limit() {
    let mut agent = Agent::start();
    let told = agent.call(r#"{"op":"limit","processes":70001}"#);
    assert!(told.opened.is_some());
    let result = agent.sh("grep processes /proc/self/limits | tr -s ' '");
    assert_eq!(String::from_utf8_lossy(result.stdout()).trim_end(), "Max processes 70001 70001 processes");
    for bad in ["", r#","processes":-1"#, r#","processes":"1""#] {
        let refused = agent.call(&format!(r#"{{"op":"limit"{}}}"#, bad));
        assert_eq!(refused.refusal(), "invalid_request");
    }
}

#[test]
fn death_by_signal_is_128_plus_n() {
    let mut agent = Agent::start();
    for (script, code, signal) in [
        ("kill -9 $$", 137, Some("KILL")),
        ("kill -TERM $$", 143, Some("TERM")),
        // Two without names, and the first and last named relative to RTMIN.
        ("kill -32 $$", 160, Some("32")),
        ("kill -33 $$", 161, Some("33")),
        ("kill -34 $$", 162, Some("RTMIN+0")),
        ("kill -64 $$", 192, Some("RTMIN+30")),
        ("exit 255", 255, None),
        ("exit 137", 137, None),
    ] {
        let result = agent.sh(script);
        assert_eq!(result.code(), code, "{}", script);
        assert_eq!(result.exit().text("signal"), signal, "{}", script);
    }
}

#[test]
fn a_program_that_never_ran_is_refused_with_the_reason() {
    let mut agent = Agent::start();
    let request =
        |members: &str| format!(r#"{{"op":"exec","id":"{}","env":{{}},"stdin":false,{}}}"#, unique("r"), members);
    for (members, code) in [
        (r#""argv":["no-such-program"],"cwd":"/""#, "exec_program_not_found"),
        (r#""argv":["/no/such"],"cwd":"/""#, "exec_program_not_found"),
        (r#""argv":[""],"cwd":"/""#, "exec_program_not_found"),
        (r#""argv":["/etc/passwd"],"cwd":"/""#, "exec_permission_denied"),
        (r#""argv":["/etc"],"cwd":"/""#, "exec_permission_denied"),
        (r#""argv":["true"],"cwd":"/no/such""#, "exec_bad_cwd"),
        (r#""argv":["true"],"cwd":"/etc/passwd""#, "exec_bad_cwd"),
        (r#""argv":["true"],"cwd":"/","user":"nobody-here""#, "exec_bad_user"),
        (r#""argv":[],"cwd":"/""#, "exec_bad_args"),
    ] {
        let result = agent.call(&request(members));
        assert_eq!(result.refusal(), code, "{}", members);
        assert!(result.data.is_empty());
    }
}

#[test]
fn no_stdin_means_end_of_file() {
    let mut agent = Agent::start();
    let result = agent.sh("cat; read x; echo got=$x");
    assert_eq!(result.stdout(), b"got=\n");
}

#[test]
fn stdin_can_be_closed_alone() {
    let mut agent = Agent::start();
    let stream = agent.open(&exec("wc -c; echo after; exit 5", "#stdin"));
    let bytes = vec![b'x'; 50_000];
    for _ in 0..4 {
        agent.send(frame::DATA, frame::STDIN, stream, &bytes);
    }
    agent.fin(stream, frame::STDIN);
    let result = agent.finish(stream);
    assert_eq!(result.stdout(), b"200000\nafter\n");
    assert_eq!(result.code(), 5);
}

#[test]
fn a_program_that_does_not_read_its_input_loses_no_credit() {
    let mut agent = Agent::start();
    let stream = agent.open(&exec("exec <&-; sleep 0.2; echo done", "#stdin"));
    let bytes = vec![b'x'; 65_536];
    let mut credit = 256 * 1024i64;
    let mut sent = 0;
    let mut result = Outcome::default();
    while sent < 2 * 1024 * 1024 && result.event("exit").is_none() {
        while credit >= 65_536 {
            agent.send(frame::DATA, frame::STDIN, stream, &bytes);
            credit -= 65_536;
            sent += 65_536;
        }
        let (header, payload) = agent.next();
        if header.kind == frame::CREDIT && header.stream == stream {
            credit += u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]) as i64;
        } else if header.stream == stream && Agent::note(&mut result, &header, payload) {
            break;
        }
    }
    if !result.fin {
        agent.until(stream, &mut result, |_| false);
    }
    assert_eq!(result.stdout(), b"done\n");
}

#[test]
fn a_background_child_that_holds_stdout_delays_nothing_and_lives_on() {
    let mut agent = Agent::start();
    let mark = unique("mark");
    let file = agent.directory.join("alive");
    let script = format!(
        "(sleep 0.3; i=0; while [ $i -lt 300 ]; do echo late; i=$((i+1)); done; echo {} > {}) & echo early",
        mark,
        file.display()
    );
    let result = agent.sh(&script);
    assert_eq!(result.stdout(), b"early\n");
    assert_eq!(result.code(), 0);
    wait_for(|| std::fs::read_to_string(&file).map(|text| text.contains(&mark)).unwrap_or(false));
}

#[test]
fn all_output_of_the_leader_reaches_a_slow_reader() {
    let mut agent = Agent::start();
    agent.auto_credit = false;
    let stream =
        agent.open(&exec("head -c 3000000 /dev/zero; (sleep 3; echo x) & head -c 50000 /dev/zero >&2; exit 3", ""));
    let mut total = 0;
    let mut outcome = Outcome::default();
    loop {
        let (header, payload) = agent.next();
        if header.stream != stream {
            continue;
        }
        if header.kind == frame::DATA {
            total += payload.len() as u64;
            std::thread::sleep(std::time::Duration::from_millis(1));
            agent.credit(0, payload.len() as u32);
            agent.credit(stream, payload.len() as u32);
        }
        if Agent::note(&mut outcome, &header, payload) {
            break;
        }
    }
    assert_eq!(total, 3_050_000);
    assert_eq!(outcome.code(), 3);
    assert_eq!(outcome.stderr().len(), 50_000);
}

#[test]
fn without_credit_the_program_waits_and_others_do_not() {
    let mut agent = Agent::start();
    agent.auto_credit = false;
    let stalled = agent.open(&exec("yes", ""));
    let mut got = 0;
    while got < 256 * 1024 {
        let (header, payload) = agent.next();
        if header.kind == frame::DATA {
            assert_eq!(header.stream, stalled);
            got += payload.len();
            agent.credit(0, payload.len() as u32);
        }
    }
    assert_eq!(got, 256 * 1024);
    let other = agent.open(&exec("echo free", ""));
    let mut outcome = Outcome::default();
    agent.until(other, &mut outcome, |_| false);
    assert_eq!(outcome.stdout(), b"free\n");
    let held = agent.frames.iter().filter(|(header, _)| header.kind == frame::DATA).count();
    assert_eq!(held, 0);
    agent.event(stalled, r#"{"type":"kill"}"#);
}

#[test]
fn scripts_of_any_length_run() {
    let mut agent = Agent::start();
    for length in [90_000, 131_000, 131_100, 200_000, 1_000_000] {
        let script = format!(": {}; echo done; exit 7", "x".repeat(length));
        let request = exec(&script, "");
        let result = if request.len() < frame::MAX_CONTROL_BYTES {
            agent.call(&request)
        } else {
            send_script(&mut agent, &script, "")
        };
        assert_eq!((result.stdout(), result.code()), (&b"done\n"[..], 7), "{}", length);
    }
}

fn send_script(agent: &mut Agent, script: &str, more: &str) -> Outcome {
    let request = exec("", more).replace(r#""script":"""#, &format!(r#""scriptBytes":{}"#, script.len()));
    let stream = agent.open(&request);
    let mut credit = 256 * 1024;
    for chunk in script.as_bytes().chunks(32_768) {
        while credit < chunk.len() {
            let (header, payload) = agent.next();
            if header.kind == frame::CREDIT && header.stream == stream {
                credit += u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]) as usize;
            }
        }
        agent.send(frame::DATA, frame::SCRIPT, stream, chunk);
        credit -= chunk.len();
    }
    agent.fin(stream, frame::SCRIPT);
    agent.finish(stream)
}

#[test]
fn a_script_of_ten_megabytes_runs_as_any_user() {
    let mut agent = Agent::start();
    let script = format!("# {}\nid -u; cat; echo \"$(( 6 * 7 ))\"\n", "y".repeat(9_900_000));
    let result = send_script(&mut agent, &script, r#","user":"65534:65534","shell":"bash""#);
    assert_eq!(String::from_utf8_lossy(result.stdout()), "65534\n42\n");
}

#[test]
fn programs_of_any_user_can_reopen_their_streams_by_name() {
    let mut agent = Agent::start();
    let script = "cat /proc/self/fd/0; echo out > /proc/self/fd/1; echo err > /proc/self/fd/2";
    for user in ["", r#","user":"65534""#] {
        let stream = agent.open(&exec(script, &format!("{}#stdin", user)));
        agent.send(frame::DATA, frame::STDIN, stream, b"in\n");
        agent.fin(stream, frame::STDIN);
        let outcome = agent.finish(stream);
        let told = (outcome.stdout(), outcome.stderr(), outcome.code());
        assert_eq!(told, (&b"in\nout\n"[..], &b"err\n"[..], 0));
        assert_eq!(agent.call(&exec("cat /proc/self/fd/0; echo rest", user)).stdout(), b"rest\n");
    }
}

#[test]
fn a_script_of_the_wrong_length_does_not_run() {
    let mut agent = Agent::start();
    let request = exec("", "").replace(r#""script":"""#, r#""scriptBytes":10"#);
    let stream = agent.open(&request);
    agent.send(frame::DATA, frame::SCRIPT, stream, b"echo");
    agent.fin(stream, frame::SCRIPT);
    assert_eq!(agent.finish(stream).refusal(), "exec_bad_args");
}

#[test]
fn kill_reaches_daemons_that_left_the_session() {
    let mut agent = Agent::start();
    let id = unique("kill");
    let file = agent.directory.join("pids");
    std::fs::write(&file, "").expect("file");
    let _ = std::process::Command::new("chmod").arg("666").arg(&file).status();
    let script = format!(
        "f={}; (setsid sh -c 'echo $$ >> '$f'; exec sleep 1000' &) ; (sh -c 'trap \"\" TERM; echo $$ >> '$f'; while :; do sleep 0.1; done' &) ; \
         sleep 1000 & echo $! >> $f; while [ $(wc -l < $f) -lt 3 ]; do sleep 0.02; done; echo up; wait",
        file.display()
    );
    let stream = agent.open(&exec_as(&id, &script, r#","killGraceMs":50,"user":"65534""#));
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| outcome.stdout().ends_with(b"up\n"));
    agent.event(stream, r#"{"type":"kill"}"#);
    agent.until(stream, &mut outcome, |_| false);
    assert!(!outcome.exit().flag("timedOut"));
    let pids = std::fs::read_to_string(&file).expect("pids");
    assert_eq!(pids.lines().count(), 3);
    for pid in pids.lines() {
        wait_for(|| !std::path::Path::new(&format!("/proc/{}", pid)).exists());
    }
}

#[test]
fn kill_reaches_daemons_that_left_the_session_and_their_environment() {
    for user in ["", r#","user":"65534""#] {
        let mut agent = Agent::start();
        let file = agent.directory.join("pids");
        std::fs::write(&file, "").expect("file");
        let _ = std::process::Command::new("chmod").arg("666").arg(&file).status();
        let script = format!(
            "f={}; (env -i /usr/bin/setsid /bin/sh -c 'echo $$ >> '$f'; exec /bin/sleep 1000' &); \
             while [ $(wc -l < $f) -lt 1 ]; do sleep 0.02; done; echo up; sleep 1000",
            file.display()
        );
        let stream = agent.open(&exec_as(&unique("bare"), &script, user));
        let mut outcome = Outcome::default();
        agent.until(stream, &mut outcome, |outcome| outcome.stdout().ends_with(b"up\n"));
        // Another command is unaffected.
        let other = agent.open(&exec("echo there; sleep 0.5; echo still", user));
        let mut beside = Outcome::default();
        agent.until(other, &mut beside, |outcome| outcome.stdout() == b"there\n");
        agent.event(stream, r#"{"type":"kill"}"#);
        agent.until(stream, &mut outcome, |_| false);
        let pid = std::fs::read_to_string(&file).expect("pids");
        wait_for(|| !std::path::Path::new(&format!("/proc/{}", pid.trim())).exists());
        agent.until(other, &mut beside, |_| false);
        assert_eq!((beside.stdout(), beside.code()), (&b"there\nstill\n"[..], 0));
    }
}

#[test]
fn a_timeout_ends_everything_and_keeps_the_output() {
    let mut agent = Agent::start();
    let result = agent.call(&exec("echo partial; (sleep 600 & sleep 600) | cat", r#","timeoutMs":300"#));
    assert_eq!(result.stdout(), b"partial\n");
    assert!(result.exit().flag("timedOut"));
    assert_eq!(result.code(), 143);
}

#[test]
fn input_before_the_end_of_the_script_is_kept_up_to_a_bound() {
    const MOST: usize = 128 * 1024;
    let script = b"wc -c";
    for (bytes, fits) in [(MOST, true), (MOST + 1, false)] {
        let mut agent = Agent::start();
        let request = exec("", "#stdin").replace(r#""script":"""#, &format!(r#""scriptBytes":{}"#, script.len()));
        let stream = agent.open(&request);
        for chunk in vec![b'x'; bytes].chunks(16 * 1024) {
            agent.send(frame::DATA, frame::STDIN, stream, chunk);
        }
        agent.fin(stream, frame::STDIN);
        agent.send(frame::DATA, frame::SCRIPT, stream, script);
        agent.fin(stream, frame::SCRIPT);
        let outcome = agent.finish(stream);
        match fits {
            true => assert_eq!((outcome.stdout(), outcome.code()), (format!("{}\n", bytes).as_bytes(), 0)),
            false => assert_eq!((outcome.refusal(), outcome.data.len()), ("invalid_request", 0)),
        }
        assert_eq!(agent.sh("echo next").stdout(), b"next\n");
    }
}
