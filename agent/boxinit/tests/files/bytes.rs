//! Reading and writing.

use crate::calls::{call, pattern, request, upload};
use crate::support::{self, Agent, Outcome};
use boxinit::frame;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[test]
fn files_of_every_size_come_back_byte_for_byte() {
    let mut agent = Agent::start();
    let path = agent.directory.join("deep/er/file");
    for size in [0, 1, 4095, 4096, 4097, 18_500, 131_072, 1_048_577, 5_000_000] {
        let bytes = pattern(size);
        let done = upload(&mut agent, "write", path.as_os_str().as_bytes(), &format!(r#","size":{}"#, size), &bytes);
        let stat = done.event("done").and_then(|event| event.get("stat")).expect("done");
        assert_eq!(stat.uint("sizeBytes"), Some(size as u64));
        assert_eq!(std::fs::read(&path).expect("file"), bytes);
        let read = call(&mut agent, "read", &path, "");
        assert_eq!(read.opened.as_ref().and_then(|stat| stat.uint("sizeBytes")), Some(size as u64));
        assert!(read.bytes() == bytes, "{}", size);
    }
    assert_eq!(std::fs::read_dir(path.parent().expect("parent")).expect("list").count(), 1);
}

#[test]
fn ranges_are_exact() {
    let mut agent = Agent::start();
    for size in [1000, 300_000] {
        let path = agent.directory.join("range");
        let bytes = pattern(size);
        std::fs::write(&path, &bytes).expect("write");
        for (offset, length) in [(0, 10), (5, size), (size - 1, 1), (size, 5), (100, 0), (17, 900)] {
            let read = call(&mut agent, "read", &path, &format!(r#","offset":{},"length":{}"#, offset, length));
            assert_eq!(read.bytes(), &bytes[offset..size.min(offset + length)]);
        }
        let read = call(&mut agent, "read", &path, &format!(r#","offset":{}"#, size + 1));
        assert_eq!(read.refusal(), "range_not_satisfiable");
    }
}

#[test]
fn the_kernels_own_files_have_content() {
    let mut agent = Agent::start();
    for path in ["/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled", "/proc/self/maps"] {
        if !Path::new(path).exists() {
            continue;
        }
        let read = call(&mut agent, "read", Path::new(path), "");
        assert!(!read.bytes().is_empty(), "{}", path);
        let told = read.opened.as_ref().and_then(|stat| stat.uint("sizeBytes"));
        assert_eq!(told, Some(read.bytes().len() as u64), "{}", path);
    }
}

#[test]
fn anything_but_a_regular_file_is_refused_and_nothing_hangs() {
    let mut agent = Agent::start();
    let fifo = agent.directory.join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let directory = agent.directory.clone();
    for path in [&fifo, &directory, Path::new("/dev/zero"), Path::new("/dev/tty")] {
        assert_eq!(call(&mut agent, "read", path, "").refusal(), "file_not_regular", "{:?}", path);
        assert_eq!(call(&mut agent, "write", path, "").refusal(), "file_not_regular", "{:?}", path);
        assert_eq!(call(&mut agent, "write", path, r#","append":true"#).refusal(), "file_not_regular", "{:?}", path);
    }
    assert_eq!(call(&mut agent, "read", &directory.join("none"), "").refusal(), "file_not_found");
    assert_eq!(call(&mut agent, "list", Path::new("/etc/passwd"), "").refusal(), "file_not_directory");
    assert_eq!(call(&mut agent, "read", Path::new("/etc/passwd/x"), "").refusal(), "file_not_directory");
    assert_eq!(call(&mut agent, "stat", Path::new("relative"), "").refusal(), "invalid_request");
    assert_eq!(call(&mut agent, "nonsense", &directory, "").refusal(), "not_supported");
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let mut agent = Agent::start();
    let path = agent.directory.join("kept/file");
    std::fs::create_dir_all(path.parent().expect("parent")).expect("directory");
    std::fs::write(&path, "old").expect("write");
    let name = path.as_os_str().as_bytes().to_vec();
    for sent in [&b"12345"[..], b"1"] {
        let result = upload(&mut agent, "write", &name, r#","size":3"#, sent);
        assert_eq!(result.reset.as_ref().and_then(|error| error.text("code")), Some("invalid_request"));
    }
    let stream = agent.open(&request("write", &name, ""));
    agent.send(frame::DATA, frame::BYTES, stream, b"half");
    agent.send(frame::RESET, 0, stream, b"{}");
    assert_eq!(agent.sh("true").code(), 0);
    let stream = agent.open(&request("write", &name, ""));
    agent.send(frame::DATA, frame::BYTES, stream, b"half");
    agent.reconnect();
    assert_eq!(agent.sh("true").code(), 0);
    assert_eq!(std::fs::read(&path).expect("file"), b"old");
    assert_eq!(std::fs::read_dir(path.parent().expect("parent")).expect("list").count(), 1);
}

#[test]
fn a_symbolic_link_is_written_through() {
    let mut agent = Agent::start();
    let target = agent.directory.join("target");
    let link = agent.directory.join("link");
    std::os::unix::fs::symlink("target", &link).expect("link");
    upload(&mut agent, "write", link.as_os_str().as_bytes(), "", b"through");
    assert_eq!(std::fs::read(&target).expect("target"), b"through");
    assert!(std::fs::symlink_metadata(&link).expect("link").file_type().is_symlink());
}

#[test]
fn owner_and_mode_are_as_requested_including_parents_and_kept_when_overwritten() {
    let mut agent = Agent::start();
    let path = agent.directory.join("a/b/c.sh");
    let name = path.as_os_str().as_bytes().to_vec();
    upload(&mut agent, "write", &name, r#","owner":"10001:10002","mode":493"#, b"one");
    for part in [path.as_path(), path.parent().expect("b"), path.parent().and_then(Path::parent).expect("a")] {
        let meta = std::fs::metadata(part).expect("stat");
        assert_eq!((meta.uid(), meta.gid()), (10_001, 10_002), "{:?}", part);
    }
    upload(&mut agent, "write", &name, "", b"two");
    let meta = std::fs::metadata(&path).expect("stat");
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (10_001, 0o755));
    upload(&mut agent, "write", &name, r#","append":true"#, b" three");
    assert_eq!(std::fs::read(&path).expect("file"), b"two three");
    assert_eq!(std::fs::metadata(&path).expect("stat").mode() & 0o7777, 0o755);
    upload(&mut agent, "write", &name, r#","defaultOwner":"77:78""#, b"kept");
    assert_eq!(std::fs::metadata(&path).expect("stat").uid(), 10_001);
    let relative = format!(r#","workdir":"{}","defaultOwner":"77:78""#, path.parent().expect("parent").display());
    upload(&mut agent, "write", b"new/file", &relative, b"new");
    for part in ["new", "new/file"] {
        let meta = std::fs::metadata(path.with_file_name(part)).expect("stat");
        assert_eq!((meta.uid(), meta.gid()), (77, 78));
    }
    let bad = agent.call(&request("write", &name, r#","owner":"nobody-here""#));
    assert_eq!(bad.refusal(), "exec_bad_user");
}

#[test]
fn a_file_gets_the_time_that_its_writer_sets() {
    let mut agent = Agent::start();
    let path = agent.directory.join("old");
    let name = path.as_os_str().as_bytes().to_vec();
    let modified = || {
        let meta = std::fs::metadata(&path).expect("stat");
        (meta.mtime(), meta.mtime_nsec())
    };
    for (more, expected) in [
        (r#","modifiedAtMs":1700000000123.456"#, (1_700_000_000, 123_456_000)),
        (r#","modifiedAtMs":0,"append":true"#, (0, 0)),
        (r#","modifiedAtMs":-0.001"#, (-1, 999_999_000)),
    ] {
        let written = upload(&mut agent, "write", &name, more, b"bytes");
        assert!(written.fin, "{}", more);
        assert_eq!(modified(), expected, "{}", more);
    }
    let written = upload(&mut agent, "write", &name, r#","modifiedAtMs":1500.25"#, b"bytes");
    let told = written.event("done").and_then(|done| done.get("stat")).expect("stat").get("modifiedAtMs").cloned();
    assert_eq!(told, Some(boxinit::json::Value::Number(1500.25)));
    // Without a time, it is now.
    upload(&mut agent, "write", &name, "", b"bytes");
    assert!(modified().0 > 1_700_000_000);
    for bad in [r#","modifiedAtMs":"1""#, r#","modifiedAtMs":1e17"#] {
        assert_eq!(agent.call(&request("write", &name, bad)).refusal(), "invalid_request", "{}", bad);
    }
}

#[test]
fn reading_a_growing_file_returns_a_prefix() {
    let mut agent = Agent::start();
    let path = agent.directory.join("growing");
    let script = format!("while :; do echo line of a log that grows; done > {}", path.display());
    let stream = agent.open(&support::exec(&script, ""));
    while std::fs::metadata(&path).map(|meta| meta.len()).unwrap_or(0) < 100_000 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let read = call(&mut agent, "read", &path, "");
    let told = read.opened.as_ref().and_then(|stat| stat.uint("sizeBytes")).expect("size");
    assert_eq!(read.bytes().len() as u64, told);
    assert!(read.fin);
    agent.event(stream, r#"{"type":"kill"}"#);
}

#[test]
fn a_stalled_reader_of_a_file_delays_nobody() {
    let mut agent = Agent::start();
    let path = agent.directory.join("large");
    std::fs::write(&path, pattern(2_000_000)).expect("file");
    agent.auto_credit = false;
    let stalled = agent.open(&request("read", path.as_os_str().as_bytes(), ""));
    let mut got = 0;
    while got < 256 * 1024 {
        let (header, payload) = agent.next();
        if header.stream == stalled && header.kind == frame::DATA {
            got += payload.len();
            agent.credit(0, payload.len() as u32);
        }
    }
    let other = agent.open(&request("stat", b"/etc", ""));
    let mut outcome = Outcome::default();
    agent.until(other, &mut outcome, |_| false);
    assert!(outcome.opened.is_some());
}
