//! A container waiting for its image.

mod support;

use support::Agent;

#[test]
fn nothing_runs_in_a_blank() {
    let mut agent = Agent::start_with(&[("MILLIBOX_BLANK", "1")]);
    assert!(agent.hello.flag("blank"));
    for request in [
        r#"{"op":"exec","id":"a","argv":["true"],"env":{},"cwd":"/","stdin":false}"#,
        r#"{"op":"file","call":"read","path":"/etc/passwd"}"#,
        r#"{"op":"port","port":1}"#,
        r#"{"op":"list"}"#,
    ] {
        let stream = agent.open(request);
        assert_eq!(agent.finish(stream).refusal(), "sandbox_not_ready", "{}", request);
    }
}

#[test]
fn a_blank_abandoned_by_its_agent_exits() {
    let mut agent = Agent::start_with(&[("MILLIBOX_BLANK", "1"), ("MILLIBOX_PATIENCE_MS", "200")]);
    std::fs::remove_dir_all(&agent.directory).expect("directory");
    agent.link.shutdown(std::net::Shutdown::Both).expect("link");
    assert!(agent.child.wait().expect("its end").success());
    // Its pid may have been reused by now.
    std::mem::forget(agent);
}
