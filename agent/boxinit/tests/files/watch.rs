//! Notification of changes.

use crate::calls::{request, upload};
use crate::support::{self, Agent, Outcome};
use boxinit::frame;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

#[test]
fn changes_are_reported() {
    let mut agent = Agent::start();
    let directory = agent.directory.join("watched");
    std::fs::create_dir(&directory).expect("directory");
    let stream = agent.open(&request("watch", directory.as_os_str().as_bytes(), ""));
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| outcome.opened.is_some());
    std::fs::write(directory.join("new"), "x").expect("file");
    std::fs::rename(directory.join("new"), directory.join("renamed")).expect("rename");
    std::fs::remove_file(directory.join("renamed")).expect("remove");
    let seen = |outcome: &Outcome, kind: &str, name: &str| {
        let path = directory.join(name);
        outcome.events.iter().any(|event| {
            event.text("type") == Some("change")
                && event.text("kind") == Some(kind)
                && event.bytes("path") == Some(path.as_os_str().as_bytes())
        })
    };
    agent.until(stream, &mut outcome, |outcome| seen(outcome, "remove", "renamed"));
    for (kind, name) in [("create", "new"), ("write", "new"), ("rename", "new"), ("create", "renamed")] {
        assert!(seen(&outcome, kind, name), "{} {}: {:?}", kind, name, outcome.events);
    }
    agent.fin(stream, frame::ALL);
    agent.until(stream, &mut outcome, |_| false);
    assert!(outcome.fin);
}

/// The changes so far, as kind and path below the directory.
fn changes_in(outcome: &Outcome, directory: &Path) -> Vec<(String, String)> {
    let base = format!("{}/", directory.display());
    let changes = outcome.events.iter().filter(|event| event.text("type") == Some("change"));
    changes
        .map(|event| {
            let path = event.text("path").unwrap_or("").to_string();
            let below = path.strip_prefix(&base).map(str::to_string).unwrap_or(path);
            (event.text("kind").unwrap_or("").to_string(), below)
        })
        .collect()
}

fn watch(agent: &mut Agent, directory: &Path, more: &str) -> (u32, Outcome) {
    let stream = agent.open(&request("watch", directory.as_os_str().as_bytes(), more));
    let mut outcome = Outcome::default();
    agent.until(stream, &mut outcome, |outcome| outcome.opened.is_some());
    (stream, outcome)
}

#[test]
fn a_tree_is_watched_including_created_and_moved_directories() {
    let mut agent = Agent::start();
    let directory = agent.directory.join("watched");
    std::fs::create_dir_all(directory.join("old/deep")).expect("directory");
    std::os::unix::fs::symlink("/etc", directory.join("out")).expect("link");
    let (stream, mut outcome) = watch(&mut agent, &directory, r#","recursive":true"#);
    let wait = |agent: &mut Agent, outcome: &mut Outcome, kind: &str, path: &str| {
        let wanted = (kind.to_string(), path.to_string());
        agent.until(stream, outcome, |outcome| changes_in(outcome, &directory).contains(&wanted));
        assert!(changes_in(outcome, &directory).contains(&wanted), "{:?}", outcome);
    };
    std::fs::write(directory.join("old/deep/file"), "x").expect("file");
    wait(&mut agent, &mut outcome, "create", "old/deep/file");
    std::fs::create_dir_all(directory.join("new/a/b/c")).expect("directory");
    std::fs::write(directory.join("new/a/b/c/early"), "x").expect("file");
    wait(&mut agent, &mut outcome, "create", "new/a/b/c/early");
    std::fs::rename(directory.join("new/a"), directory.join("old/moved")).expect("rename");
    wait(&mut agent, &mut outcome, "rename", "new/a");
    wait(&mut agent, &mut outcome, "create", "old/moved");
    // Its directories are scanned on the next turn, before any command is started.
    assert_eq!(agent.sh("true").code(), 0);
    std::fs::write(directory.join("old/moved/b/c/late"), "x").expect("file");
    wait(&mut agent, &mut outcome, "create", "old/moved/b/c/late");
    std::fs::remove_dir_all(directory.join("old")).expect("remove");
    wait(&mut agent, &mut outcome, "remove", "old");
    let stray = changes_in(&outcome, &directory).into_iter().find(|(_, path)| path.starts_with("new/a/b/c/late"));
    assert_eq!(stray, None);
}

#[test]
fn boxinits_temporary_names_are_not_reported() {
    let mut agent = Agent::start();
    let directory = agent.directory.join("watched");
    std::fs::create_dir(&directory).expect("directory");
    std::fs::create_dir_all(agent.directory.join("tree/sub")).expect("directory");
    let (stream, mut outcome) = watch(&mut agent, &directory, r#","recursive":true"#);
    let file = directory.join("file");
    upload(&mut agent, "write", file.as_os_str().as_bytes(), "", b"content");
    std::fs::write(directory.join(".millibox-mine"), "").expect("file");
    std::fs::write(directory.join("last"), "").expect("file");
    agent.until(stream, &mut outcome, |outcome| changes_in(outcome, &directory).iter().any(|(_, path)| path == "last"));
    let mut paths: Vec<String> = changes_in(&outcome, &directory).into_iter().map(|(_, path)| path).collect();
    paths.dedup();
    assert_eq!(paths, ["file", ".millibox-mine", "last"]);
}

#[test]
fn watches_are_bounded_in_number_and_in_size() {
    let mut agent = Agent::start();
    let directory = agent.directory.join("watched");
    std::fs::create_dir(&directory).expect("directory");
    let many: Vec<u32> = (0..16).map(|_| watch(&mut agent, &directory, "").0).collect();
    let path = directory.as_os_str().as_bytes().to_vec();
    assert_eq!(agent.call(&request("watch", &path, "")).refusal(), "exec_resource_limit");
    for stream in many {
        agent.send(frame::RESET, 0, stream, b"{}");
    }
    for number in 0..5000 {
        std::fs::create_dir(directory.join(number.to_string())).expect("directory");
    }
    assert_eq!(agent.call(&request("watch", &path, r#","recursive":true"#)).refusal(), "exec_resource_limit");
    // A watch that has begun ends when its tree grows too large.
    let small = agent.directory.join("grows");
    std::fs::create_dir(&small).expect("directory");
    let (stream, mut outcome) = watch(&mut agent, &small, r#","recursive":true"#);
    for number in 0..5000 {
        std::fs::create_dir(small.join(number.to_string())).expect("directory");
    }
    agent.until(stream, &mut outcome, |outcome| outcome.reset.is_some());
    let code = outcome.reset.as_ref().and_then(|error| error.text("code")).map(str::to_string);
    assert_eq!(code.as_deref(), Some("exec_resource_limit"));
    let (_, outcome) = watch(&mut agent, &small, "");
    assert!(outcome.opened.is_some());
}

#[test]
fn a_watch_ends_when_its_target_is_gone_from_its_name() {
    let mut agent = Agent::start();
    let directory = agent.directory.join("watched");
    let file = agent.directory.join("file");
    for (more, rename) in [("", false), ("", true), (r#","recursive":true"#, false), (r#","recursive":true"#, true)] {
        std::fs::create_dir(&directory).expect("directory");
        let (stream, mut outcome) = watch(&mut agent, &directory, more);
        match rename {
            true => std::fs::rename(&directory, agent.directory.join(support::unique("away"))).expect("rename"),
            false => std::fs::remove_dir(&directory).expect("remove"),
        }
        agent.until(stream, &mut outcome, |_| false);
        assert!(outcome.fin && outcome.reset.is_none(), "{:?}", outcome);
        let kind = if rename { "rename" } else { "remove" };
        let itself = directory.display().to_string();
        assert!(changes_in(&outcome, &directory).contains(&(kind.to_string(), itself)), "{:?}", outcome);
    }
    std::fs::write(&file, "old").expect("file");
    let (stream, mut outcome) = watch(&mut agent, &file, "");
    std::fs::write(agent.directory.join("new"), "new").expect("file");
    std::fs::rename(agent.directory.join("new"), &file).expect("rename");
    agent.until(stream, &mut outcome, |_| false);
    assert!(outcome.fin, "{:?}", outcome);
}
