//! Which commands, running or ended, are kept for a later attach; and the lists that report them.

use crate::support::{exec, exec_as, unique, wait_for, Agent, Outcome};
use boxinit::frame;
use boxinit::json::Value;

fn ids_of(answer: &Value) -> Vec<&str> {
    answer.array("execs").expect("execs").iter().map(|exec| exec.text("id").expect("id")).collect()
}

fn reset(agent: &mut Agent, stream: u32, code: &str) {
    let error = format!(r#"{{"code":"{}","message":"bye"}}"#, code);
    agent.send(frame::RESET, 0, stream, error.as_bytes());
}

#[test]
fn an_exit_is_kept_until_it_is_acknowledged() {
    let mut agent = Agent::start();
    let id = unique("kept");
    let stream = agent.open(&exec_as(&id, "echo hi; exit 3", ""));
    let mut first = Outcome::default();
    agent.until(stream, &mut first, |_| false);
    agent.reconnect();
    assert_eq!(agent.listed(), [(id.clone(), false)]);
    let answer = agent.call(r#"{"op":"list"}"#).opened.expect("opened");
    let exit = answer.array("execs").and_then(|execs| execs[0].get("exit")).and_then(|exit| exit.uint("exitCode"));
    assert_eq!(exit, Some(3));
    let stream = agent.attach(&id, 0, 0);
    let again = agent.finish(stream);
    assert_eq!((again.stdout(), again.code()), (&b"hi\n"[..], 3));
    assert_eq!(agent.listed(), []);
    let stream = agent.attach(&id, 0, 0);
    assert_eq!(agent.finish(stream).refusal(), "exec_not_found");
}

#[test]
fn acknowledged_commands_take_no_output_from_one_that_was_cut_off() {
    let mut agent = Agent::start();
    let id = unique("unread");
    let stream = agent.open(&exec_as(&id, "echo unread; exit 3", ""));
    let mut first = Outcome::default();
    agent.until(stream, &mut first, |_| false);
    agent.reconnect();
    // More exits than are kept with output.
    for _ in 0..12 {
        let streams: Vec<u32> = (0..50).map(|_| agent.open(&exec("exit 0", ""))).collect();
        for stream in streams {
            assert_eq!(agent.finish(stream).code(), 0);
        }
    }
    assert_eq!(agent.listed(), [(id.clone(), false)]);
    let stream = agent.attach(&id, 0, 0);
    let result = agent.finish(stream);
    assert!(result.event("output_lost").is_none());
    assert_eq!((result.stdout(), result.code()), (&b"unread\n"[..], 3));
}

#[test]
fn a_detached_command_is_eventually_killed_and_forgotten_but_a_job_is_not() {
    let mut agent = Agent::start();
    let abandoned = unique("abandoned");
    let job = unique("job");
    let short = |request: String| request.replace(r#""detachedMs":60000"#, r#""detachedMs":0"#);
    agent.open(&short(exec_as(&abandoned, "sleep 1000", "")));
    agent.open(&short(exec_as(&job, "sleep 1000", r#","background":true"#)));
    let result = agent.sh("true");
    assert_eq!(result.code(), 0);
    agent.reconnect();
    wait_for(|| {
        let list = agent.listed();
        assert!(list.iter().any(|(id, running)| *id == job && *running));
        list.len() == 1
    });
}

#[test]
fn an_exit_is_not_kept_if_the_reader_killed_the_command_and_detached() {
    let mut agent = Agent::start();
    for round in 0..100 {
        // Some have ended before anyone learns of the kill.
        let script = if round % 3 == 0 { "echo done" } else { "echo begun; sleep 1000" };
        let stream = agent.open(&exec(script, ""));
        if round % 2 == 0 {
            let mut outcome = Outcome::default();
            agent.until(stream, &mut outcome, |outcome| outcome.opened.is_some());
        }
        agent.event(stream, r#"{"type":"kill"}"#);
        reset(&mut agent, stream, "cancelled");
    }
    wait_for(|| agent.listed().is_empty());
}

#[test]
fn an_exit_is_kept_for_a_reader_that_was_cut_off_even_after_a_kill() {
    let mut agent = Agent::start();
    let id = unique("cut");
    let stream = agent.open(&exec_as(&id, "exec sleep 1000", ""));
    agent.event(stream, r#"{"type":"kill"}"#);
    reset(&mut agent, stream, "interrupted");
    let stream = agent.attach(&id, 0, 0);
    assert_eq!(agent.finish(stream).exit().text("signal"), Some("TERM"));
    // A command detached without a kill is kept as well.
    let id = unique("left");
    let stream = agent.open(&exec_as(&id, "exit 3", ""));
    reset(&mut agent, stream, "cancelled");
    let stream = agent.attach(&id, 0, 0);
    assert_eq!(agent.finish(stream).code(), 3);
}

#[test]
fn a_list_too_long_for_one_answer_is_flagged_and_contains_all_requested_ids() {
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
