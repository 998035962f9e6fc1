//! Trees as tar archives.

use crate::calls::{call, pattern, request, upload};
use crate::support::Agent;
use boxinit::frame;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

#[test]
fn a_tree_travels_as_a_tar_both_ways() {
    let mut agent = Agent::start();
    let from = agent.directory.join("from");
    let long = "long-".repeat(30);
    std::fs::create_dir_all(from.join(&long).join("empty")).expect("directory");
    std::fs::write(from.join("plain"), pattern(100_000)).expect("file");
    std::fs::write(from.join(&long).join("inner"), pattern(513)).expect("file");
    std::fs::write(from.join(std::ffi::OsStr::from_bytes(b"\xff odd")), b"x").expect("file");
    std::fs::hard_link(from.join("plain"), from.join("hard")).expect("link");
    std::os::unix::fs::symlink("/no/where", from.join("dangling")).expect("link");
    std::fs::set_permissions(from.join("plain"), PermissionsExt::from_mode(0o4750)).expect("mode");
    let archive = call(&mut agent, "tar-read", &from, "");
    assert_eq!(archive.bytes().len() % 512, 0);

    // What tar itself makes of it.
    let with_tar = agent.directory.join("with-tar");
    std::fs::create_dir(&with_tar).expect("directory");
    let mut tar = std::process::Command::new("tar")
        .args(["-xpf", "-", "-C"])
        .arg(&with_tar)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("tar");
    std::io::Write::write_all(&mut tar.stdin.take().expect("stdin"), archive.bytes()).expect("write");
    assert!(tar.wait().expect("tar").success());

    let with_us = agent.directory.join("with/us");
    let done = upload(&mut agent, "tar-write", with_us.as_os_str().as_bytes(), "", archive.bytes());
    assert!(done.event("done").is_some(), "{:?}", done);
    for to in [&with_tar, &with_us] {
        let same = std::process::Command::new("diff").args(["-r", "--no-dereference"]).arg(&from).arg(to).output();
        let same = same.expect("diff");
        assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
        let meta = std::fs::metadata(to.join("plain")).expect("plain");
        assert_eq!((meta.mode() & 0o7777, meta.nlink()), (0o4750, 2), "{:?}", to);
    }

    // And the reverse: what tar produces, in each of its formats.
    for format in ["gnu", "pax", "ustar", "v7"] {
        let plain = from.join("plain");
        let list = if matches!(format, "gnu" | "pax") { vec!["."] } else { vec!["./plain", "./hard"] };
        let made = std::process::Command::new("tar")
            .args(["--format", format, "-cf", "-", "-C"])
            .arg(&from)
            .args(&list)
            .output()
            .expect("tar");
        let to = agent.directory.join(format);
        let done = upload(&mut agent, "tar-write", to.as_os_str().as_bytes(), r#","owner":"12:13""#, &made.stdout);
        assert!(done.event("done").is_some(), "{}: {:?}", format, done);
        assert_eq!(std::fs::read(to.join("hard")).expect("hard"), std::fs::read(&plain).expect("plain"));
        assert_eq!(std::fs::metadata(to.join("plain")).expect("plain").uid(), 12);
        if list.len() == 1 {
            assert!(to.join(&long).join("inner").exists());
        }
    }
}

#[test]
fn one_file_as_a_tar() {
    let mut agent = Agent::start();
    let file = agent.directory.join("single");
    std::fs::write(&file, b"content").expect("file");
    let archive = call(&mut agent, "tar-read", &file, "");
    let to = agent.directory.join("to");
    upload(&mut agent, "tar-write", to.as_os_str().as_bytes(), "", archive.bytes());
    assert_eq!(std::fs::read(to.join("single")).expect("single"), b"content");
}

/// A ustar member.
pub fn member(name: &str, kind: u8, target: &str, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[108..115].copy_from_slice(b"0000000");
    header[116..123].copy_from_slice(b"0000000");
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[156] = kind;
    header[157..157 + target.len()].copy_from_slice(target.as_bytes());
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{:06o}\0", sum).as_bytes());
    header.extend_from_slice(content);
    while header.len() % 512 != 0 {
        header.push(0);
    }
    header
}

#[test]
fn no_member_leaves_the_directory() {
    let mut agent = Agent::start();
    let outside = agent.directory.join("outside");
    std::fs::create_dir(&outside).expect("directory");
    let victim = outside.join("victim");
    std::fs::write(&victim, "untouched").expect("file");
    let absolute = format!("{}/", outside.display());
    let end = vec![0u8; 1024];
    let archives = [
        member("../outside/victim", b'0', "", b"evil"),
        member("a/../../outside/victim", b'0', "", b"evil"),
        [member("link", b'2', &absolute, b""), member("link/victim", b'0', "", b"evil")].concat(),
        [member("link", b'2', "../outside", b""), member("link/victim", b'0', "", b"evil")].concat(),
        [member("v", b'2', &victim.display().to_string(), b""), member("v", b'0', "", b"evil")].concat(),
        [member("h", b'1', "../outside/victim", b""), member("h", b'0', "", b"evil")].concat(),
        [member("d", b'2', "../outside", b""), member("h", b'1', "d/victim", b""), member("h", b'0', "", b"evil")]
            .concat(),
    ];
    for (number, archive) in archives.iter().enumerate() {
        let to = agent.directory.join(format!("box-{}", number));
        let bytes = [archive.as_slice(), &end].concat();
        let _ = upload(&mut agent, "tar-write", to.as_os_str().as_bytes(), "", &bytes);
        assert_eq!(std::fs::read(&victim).expect("victim"), b"untouched", "{}", number);
        assert_eq!(std::fs::read_dir(&outside).expect("outside").count(), 1, "{}", number);
    }
    for rubbish in [vec![1u8; 2000], member("x", b'0', "", b"abc")[..700].to_vec(), member("x", b'S', "", b"")] {
        let to = agent.directory.join("rubbish");
        let result = upload(&mut agent, "tar-write", to.as_os_str().as_bytes(), "", &rubbish);
        assert_eq!(result.reset.as_ref().and_then(|error| error.text("code")), Some("invalid_request"));
    }
}

#[test]
fn the_extended_headers_of_one_member_are_bounded_together() {
    let mut agent = Agent::start();
    let to = agent.directory.join("extended");
    let record = |bytes: usize| format!("{} comment={}\n", bytes, "c".repeat(bytes - 16)).into_bytes();
    let header = member("pax", b'x', "", &record(100_000));
    let mut write = |archive: &[u8]| {
        upload(&mut agent, "tar-write", to.as_os_str().as_bytes(), "", &[archive, &[0; 1024]].concat())
    };
    let many: Vec<u8> = (0..20).flat_map(|_| [header.clone(), member("f", b'0', "", b"x")].concat()).collect();
    assert!(write(&many).event("done").is_some());
    let result = write(&header.repeat(20));
    assert_eq!(result.reset.as_ref().and_then(|error| error.text("code")), Some("invalid_request"));
}

/// A directory's entries, by name.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("list");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_truncated_member_leaves_only_the_old_file() {
    let mut agent = Agent::start();
    let to = agent.directory.join("box");
    let path = to.as_os_str().as_bytes().to_vec();
    std::fs::create_dir(&to).expect("directory");
    std::fs::write(to.join("old"), "old").expect("file");
    let archive = [member("whole", b'0', "", b"whole"), member("old", b'0', "", &[b'n'; 5000])].concat();
    let result = upload(&mut agent, "tar-write", &path, "", &archive[..3000]);
    assert_eq!(result.reset.as_ref().and_then(|error| error.text("code")), Some("invalid_request"));
    let stream = agent.open(&request("tar-write", &path, ""));
    agent.send(frame::DATA, frame::BYTES, stream, &archive[..3000]);
    agent.send(frame::RESET, 0, stream, b"{}");
    assert_eq!(agent.sh("true").code(), 0);
    assert_eq!(names(&to), ["old", "whole"]);
    assert_eq!(std::fs::read(to.join("old")).expect("old"), b"old");
    assert!(upload(&mut agent, "tar-write", &path, "", &[archive.as_slice(), &[0; 1024]].concat())
        .event("done")
        .is_some());
    assert_eq!(std::fs::metadata(to.join("old")).expect("old").len(), 5000);
    assert_eq!(names(&to), ["old", "whole"]);
}

#[test]
fn members_replace_existing_entries_as_tar_does() {
    let mut agent = Agent::start();
    let to = agent.directory.join("box");
    let mut write = |members: &[Vec<u8>]| {
        let bytes = [members.concat().as_slice(), &[0; 1024]].concat();
        upload(&mut agent, "tar-write", to.as_os_str().as_bytes(), "", &bytes)
    };
    // A file packed twice is a hard link to itself.
    assert!(write(&[member("f", b'0', "", b"1"), member("f", b'1', "f", b"")]).event("done").is_some());
    assert_eq!(std::fs::read(to.join("f")).expect("file"), b"1");
    assert!(write(&[member("f/", b'5', "", b""), member("f/in", b'0', "", b"2")]).event("done").is_some());
    assert_eq!(std::fs::read(to.join("f/in")).expect("file"), b"2");
    let refused = write(&[member("f", b'0', "", b"3")]);
    assert_eq!(refused.reset.as_ref().and_then(|error| error.text("code")), Some("file_exists"));
    assert_eq!(names(&to), ["f"]);
    assert_eq!(names(&to.join("f")), ["in"]);
    let missing = write(&[member("h", b'1', "none", b"")]);
    let said = missing.reset.as_ref().and_then(|error| error.text("message")).unwrap_or("");
    assert!(said.contains("none"), "{}", said);
}

#[test]
fn unsupported_members_are_refused_by_name_and_never_unpacked_as_something_else() {
    let mut agent = Agent::start();
    let to = agent.directory.join("box");
    let mut said = |archive: &[u8]| {
        let result = upload(&mut agent, "tar-write", to.as_os_str().as_bytes(), "", archive);
        let error = result.reset.expect("refused");
        assert_eq!(error.text("code"), Some("invalid_request"));
        error.text("message").unwrap_or("").to_string()
    };
    let sparse = member("pax", b'x', "", b"22 GNU.sparse.major=1\n");
    let archive = [sparse, member("GNUSparseFile.1/s", b'0', "", b"parts"), vec![0; 1024]].concat();
    assert!(said(&archive).contains("sparse"));
    assert!(said(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]).contains("not a tar"));
    assert_eq!(names(&to), [""; 0]);
}
