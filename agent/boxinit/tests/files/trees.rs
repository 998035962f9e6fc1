//! Directories and trees: created, moved, removed.

use crate::calls::{call, pattern, request};
use crate::support::{self, Agent};
use boxinit::frame;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

#[test]
fn directories_are_made_moved_changed_and_removed() {
    let mut agent = Agent::start();
    let base = agent.directory.join("tree");
    let made = call(&mut agent, "mkdir", &base.join("x/y"), r#","mode":448,"owner":"77""#);
    assert_eq!(made.opened.as_ref().and_then(|stat| stat.uint("mode")), Some(0o700));
    assert_eq!(std::fs::metadata(base.join("x")).expect("x").uid(), 77);
    assert!(call(&mut agent, "mkdir", &base.join("x/y"), "").opened.is_some());
    std::fs::write(base.join("file"), "1").expect("file");
    assert_eq!(call(&mut agent, "mkdir", &base.join("file"), "").refusal(), "file_exists");
    assert_eq!(call(&mut agent, "mkdir", &base.join("file/x"), "").refusal(), "file_not_directory");

    let to = |path: &str| format!(r#","to":"{}""#, base.join(path).display());
    assert!(call(&mut agent, "move", &base.join("file"), &to("moved")).opened.is_some());
    std::fs::write(base.join("other"), "2").expect("file");
    assert_eq!(call(&mut agent, "move", &base.join("other"), &to("moved")).refusal(), "file_exists");
    let over = format!(r#"{},"overwrite":true"#, to("moved"));
    assert!(call(&mut agent, "move", &base.join("other"), &over).opened.is_some());
    assert_eq!(std::fs::read(base.join("moved")).expect("moved"), b"2");
    assert_eq!(call(&mut agent, "move", &base.join("none"), &to("z")).refusal(), "file_not_found");

    let changed =
        call(&mut agent, "chmod", &base.join("moved"), r#","mode":2541,"owner":"5:6""#).opened.expect("opened");
    assert_eq!((changed.uint("mode"), changed.uint("uid"), changed.uint("gid")), (Some(2541), Some(5), Some(6)));

    assert_eq!(call(&mut agent, "remove", &base, "").refusal(), "file_exists");
    assert!(call(&mut agent, "remove", &base.join("moved"), "").opened.is_some());
    assert_eq!(call(&mut agent, "remove", &base.join("moved"), "").refusal(), "file_not_found");
    assert!(call(&mut agent, "remove", &base, r#","recursive":true"#).opened.is_some());
    assert!(!base.exists());
    for path in ["/", "/..", "/etc/."] {
        let refused = call(&mut agent, "remove", Path::new(path), r#","recursive":true"#);
        assert_eq!(refused.refusal(), "file_permission_denied", "{}", path);
    }
}

#[test]
fn a_deep_and_wide_tree_is_removed_and_links_are_not_followed() {
    let mut agent = Agent::start();
    let base = agent.directory.join("deep");
    let outside = agent.directory.join("outside");
    std::fs::create_dir(&outside).expect("directory");
    std::fs::write(outside.join("safe"), "").expect("file");
    let script = format!(
        "mkdir {0}; cd {0}; ln -s {1} out; i=0; while [ $i -lt 1500 ]; do mkdir d; touch f; cd d; i=$((i+1)); done; \
         cd {0}; mkdir w; i=0; while [ $i -lt 3000 ]; do : > w/$i; i=$((i+1)); done",
        base.display(),
        outside.display()
    );
    assert_eq!(agent.sh(&script).code(), 0);
    let removed = call(&mut agent, "remove", &base, r#","recursive":true"#);
    assert!(removed.opened.is_some(), "{:?}", removed);
    assert!(!base.exists());
    assert!(outside.join("safe").exists());
}

#[test]
fn a_move_across_file_systems_keeps_everything() {
    let mut agent = Agent::start();
    let shm = Path::new("/dev/shm").join(support::unique("boxinit-test"));
    let here = agent.directory.join("here");
    if !Path::new("/dev/shm").is_dir()
        || std::fs::metadata("/dev/shm").expect("shm").dev() == std::fs::metadata(&agent.directory).expect("tmp").dev()
    {
        return;
    }
    std::fs::create_dir_all(here.join("sub")).expect("directory");
    std::fs::write(here.join("sub/file"), pattern(300_000)).expect("file");
    std::fs::set_permissions(here.join("sub/file"), PermissionsExt::from_mode(0o741)).expect("mode");
    std::os::unix::fs::symlink("sub/file", here.join("link")).expect("link");
    let moved = call(&mut agent, "move", &here, &format!(r#","to":"{}""#, shm.display()));
    assert!(moved.opened.is_some(), "{:?}", moved);
    assert!(!here.exists());
    assert_eq!(std::fs::read(shm.join("link")).expect("file"), pattern(300_000));
    assert_eq!(std::fs::metadata(shm.join("sub/file")).expect("file").mode() & 0o7777, 0o741);
    let back = call(&mut agent, "move", &shm.join("sub/file"), &format!(r#","to":"{}""#, here.display()));
    assert!(back.opened.is_some(), "{:?}", back);
    assert_eq!(std::fs::read(&here).expect("file"), pattern(300_000));
    std::fs::remove_dir_all(&shm).expect("clean up");
}

#[test]
fn a_cancelled_move_leaves_the_original_and_no_partial_copy() {
    let mut agent = Agent::start();
    let shm = Path::new("/dev/shm").join(support::unique("boxinit-test"));
    if !Path::new("/dev/shm").is_dir()
        || std::fs::metadata("/dev/shm").expect("shm").dev() == std::fs::metadata(&agent.directory).expect("tmp").dev()
    {
        return;
    }
    let here = agent.directory.join("here");
    std::fs::create_dir_all(here.join("sub")).expect("directory");
    for number in 0..200 {
        std::fs::write(here.join("sub").join(number.to_string()), pattern(300_000)).expect("file");
    }
    std::fs::create_dir(&shm).expect("directory");
    let to = format!(r#","to":"{}/there""#, shm.display());
    let stream = agent.open(&request("move", here.as_os_str().as_bytes(), &to));
    // Commands are not blocked meanwhile.
    assert_eq!(agent.sh("true").code(), 0);
    agent.send(frame::RESET, 0, stream, b"{}");
    assert_eq!(agent.sh("true").code(), 0);
    let finished = shm.join("there").exists();
    if !finished {
        while std::fs::read_dir(&shm).expect("list").count() > 0 {
            assert_eq!(agent.sh("sleep 0.01").code(), 0);
        }
        assert_eq!(std::fs::read_dir(here.join("sub")).expect("list").count(), 200);
    }
    std::fs::remove_dir_all(&shm).expect("clean up");
}

#[test]
fn no_link_of_proc_leads_a_change_to_what_a_process_has_open() {
    let mut agent = Agent::start();
    let file = agent.directory.join("file");
    std::fs::write(&file, "1").expect("file");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("mode");
    let through = Path::new("/proc/self/root").join(file.strip_prefix("/").expect("absolute"));
    assert!(std::fs::metadata(&through).is_ok());
    let other = format!(r#","to":"{}2""#, file.display());
    assert_eq!(call(&mut agent, "move", &through, &other).refusal(), "invalid_request");
    let back = format!(r#","to":"{}2""#, through.display());
    assert_eq!(call(&mut agent, "move", &file, &back).refusal(), "invalid_request");
    assert_eq!(call(&mut agent, "chmod", &through, r#","mode":511,"owner":"77""#).refusal(), "invalid_request");
    assert_eq!(call(&mut agent, "remove", &through, "").refusal(), "invalid_request");
    assert_eq!(call(&mut agent, "mkdir", &through.with_file_name("made"), "").refusal(), "invalid_request");
    assert_eq!(call(&mut agent, "chmod", Path::new("/proc/self/fd/0"), r#","mode":511"#).refusal(), "invalid_request");
    let found = std::fs::metadata(&file).expect("file");
    assert_eq!((found.mode() & 0o7777, found.uid()), (0o600, 0));
    assert!(!file.with_file_name("made").exists());
}

#[test]
fn a_move_onto_another_name_of_the_same_file_leaves_one_name() {
    let mut agent = Agent::start();
    let (one, two) = (agent.directory.join("one"), agent.directory.join("two"));
    std::fs::write(&one, "1").expect("file");
    std::fs::hard_link(&one, &two).expect("link");
    let to = |path: &Path| format!(r#","to":"{}","overwrite":true"#, path.display());
    assert!(call(&mut agent, "move", &one, &to(&two)).opened.is_some());
    assert!(!one.exists());
    assert!(two.exists());
    // Moving it onto itself, however spelled, removes neither name.
    std::fs::hard_link(&two, &one).expect("link");
    let here = agent.directory.join(".").join("one");
    assert!(call(&mut agent, "move", &one, &to(&here)).opened.is_some());
    assert!(one.exists() && two.exists());
}
