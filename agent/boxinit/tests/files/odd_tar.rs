//! Archives that few programs make, and directory entries in archives.

use crate::calls::{call, upload};
use crate::support::{Agent, Outcome};
use crate::tar::{member, names};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

fn write(agent: &mut Agent, to: &Path, archive: &[u8]) -> Outcome {
    upload(agent, "tar-write", to.as_os_str().as_bytes(), "", &[archive, &[0; 1024]].concat())
}

fn code(result: &Outcome) -> Option<&str> {
    result.reset.as_ref().and_then(|error| error.text("code"))
}

/// A ustar member whose header is changed before its checksum is computed.
fn changed(name: &str, kind: u8, change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut header = member(name, kind, "", b"");
    change(&mut header);
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{:06o}\0", sum).as_bytes());
    header
}

fn set_modified(path: &Path, seconds: i64) {
    let done = Command::new("touch").arg("-h").arg("-d").arg(format!("@{}", seconds)).arg(path).status();
    assert!(done.expect("touch").success());
}

#[test]
fn directories_keep_their_time_and_mode_whatever_is_added_later() {
    let mut agent = Agent::start();
    let from = agent.directory.join("from");
    std::fs::create_dir_all(from.join("a/b/c")).expect("directory");
    std::fs::create_dir_all(from.join("a/d")).expect("directory");
    for file in ["a/b/c/one", "a/b/two", "a/d/three", "a/four", "five"] {
        std::fs::write(from.join(file), file).expect("file");
    }
    let times = [("a/b/c", 1_000_000_001), ("a/b", -5), ("a/d", 1_000_000_003), ("a", 1_000_000_004), ("", 77)];
    for (directory, seconds) in times {
        set_modified(&from.join(directory), seconds);
    }
    for directory in ["a/b/c", ""] {
        std::fs::set_permissions(from.join(directory), PermissionsExt::from_mode(0o750)).expect("mode");
    }
    let ours = call(&mut agent, "tar-read", &from, "").bytes().to_vec();
    let gnu = Command::new("tar").args(["--format=gnu", "-C"]).arg(&from).args(["-cf", "-", "."]).output();
    for (name, archive, with_base) in [("ours", ours, false), ("gnu", gnu.expect("tar").stdout, true)] {
        let (new, old) = (agent.directory.join(name), agent.directory.join(format!("{}-old", name)));
        std::fs::create_dir_all(old.join("a")).expect("directory");
        std::fs::set_permissions(&old, PermissionsExt::from_mode(0o1777)).expect("mode");
        for to in [&new, &old] {
            let result = write(&mut agent, to, &archive);
            assert!(result.event("done").is_some(), "{}: {:?}", name, result);
            for (directory, seconds) in times {
                let found = std::fs::metadata(to.join(directory)).expect("directory");
                let kept = match directory {
                    "" => to == &new && with_base,
                    "a" => to == &new,
                    _ => true,
                };
                assert_eq!(found.mtime() == seconds, kept, "{} {:?} {:?}", name, to, directory);
            }
            let mode = std::fs::metadata(to).expect("base").mode() & 0o7777;
            assert_eq!(
                mode,
                if to == &old {
                    0o1777
                } else if with_base {
                    0o750
                } else {
                    0o755
                },
                "{}",
                name
            );
            assert_eq!(std::fs::metadata(to.join("a/b/c")).expect("inner").mode() & 0o7777, 0o750);
        }
    }
}

#[test]
fn invalid_numbers_are_refused_and_create_nothing() {
    let mut agent = Agent::start();
    let to = agent.directory.join("box");
    let pax = |record: &str| [member("pax", b'x', "", record.as_bytes()), member("f", b'0', "", b"x")].concat();
    for (what, archive) in [
        ("size is no number", pax("10 size=x\n")),
        ("size below zero", pax("11 size=-1\n")),
        ("size beyond all", pax("29 size=99999999999999999999\n")),
        ("owner beyond all", pax("18 uid=4294967296\n")),
        ("time is no number", pax("11 mtime=x\n")),
        ("length of a record", pax("999 size=1\n")),
        ("owner beyond all, in the header", changed("f", b'0', |header| header[108..116].fill(0x81))),
        ("owner below zero, in the header", changed("f", b'0', |header| header[108..116].fill(0xff))),
        ("size below zero, in the header", changed("f", b'0', |header| header[124..136].fill(0xff))),
    ] {
        let result = write(&mut agent, &to, &archive);
        assert_eq!(code(&result), Some("invalid_request"), "{}: {:?}", what, result);
        assert_eq!(names(&to), [""; 0], "{}", what);
    }
    // The largest possible size: more than arrives, for a member without data as for a file.
    let largest = member("pax", b'x', "", b"29 size=18446744073709551615\n");
    for name in ["./", "f"] {
        let result = write(&mut agent, &to, &[largest.clone(), member(name, b'0', "", b"")].concat());
        assert_eq!(code(&result), Some("invalid_request"), "{}: {:?}", name, result);
    }
    // Before 1970, in GNU tar's encoding.
    let early = changed("early", b'0', |header| {
        header[136..148].copy_from_slice(&[[0xff; 4], [0xff; 4], [0xff, 0xff, 0xff, 0xfb]].concat())
    });
    assert!(write(&mut agent, &to, &early).event("done").is_some());
    assert_eq!(std::fs::metadata(to.join("early")).expect("file").mtime(), -5);
    assert_eq!(names(&to), ["early"]);
    assert_eq!(agent.sh("true").code(), 0);
}

/// A directory in which a script has run.
fn made_by(script: &str, agent: &Agent) -> std::path::PathBuf {
    let directory = agent.directory.join("made");
    std::fs::create_dir(&directory).expect("directory");
    assert!(Command::new("sh").args(["-c", script]).current_dir(&directory).status().expect("sh").success());
    directory
}

#[test]
fn a_tree_too_deep_for_an_archive_is_refused_with_a_message() {
    let mut agent = Agent::start();
    // Longer than any path may be, so in two steps.
    let script = "p=$(printf 'd/%.0s' $(seq 2000)); mkdir -p $p && cd -P $p && mkdir -p $(printf 'd/%.0s' $(seq 100))";
    let deep = made_by(script, &agent);
    let result = call(&mut agent, "tar-read", &deep, "");
    assert_eq!(code(&result), Some("invalid_request"), "{:?}", result.reset);
    let said = result.reset.as_ref().and_then(|error| error.text("message")).unwrap_or("");
    assert!(said.contains("deeper than 2048 levels"), "{}", said);
    let removed = call(&mut agent, "remove", &deep, r#","recursive":true"#);
    assert!(removed.reset.is_none(), "{:?}", removed);
    assert!(!deep.exists());
    // A path that no system call accepts creates nothing.
    let to = agent.directory.join("box");
    for levels in [2_500, 300_000] {
        let path = "d/".repeat(levels);
        let length = path.len() + " path=\n".len();
        let record = format!("{} path={}\n", length + (length + 7).to_string().len(), path);
        let archive = [member("pax", b'x', "", record.as_bytes()), member("d", b'5', "", b"")].concat();
        let result = write(&mut agent, &to, &archive);
        assert_eq!(code(&result), Some("invalid_request"), "{:?}", result.reset);
        assert_eq!(names(&to), [""; 0]);
    }
}

fn peak_kb(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid)).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn a_deep_tree_of_long_names_takes_no_memory_for_each_level() {
    let mut agent = Agent::start();
    let script = "n=$(printf %0250d 0); for i in $(seq 500); do mkdir $n && cd -P $n || exit; done";
    let deep = made_by(script, &agent);
    let before = peak_kb(agent.child.id());
    let result = call(&mut agent, "tar-read", &deep, "");
    assert!(result.reset.is_none(), "{:?}", result.reset);
    let grown = peak_kb(agent.child.id()) - before;
    assert!(grown < 12 * 1024, "{} kB", grown);
    assert!(call(&mut agent, "remove", &deep, r#","recursive":true"#).reset.is_none());
}
