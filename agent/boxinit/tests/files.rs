//! Calls on files.

mod support;

use boxinit::frame;
use boxinit::json::{self, Value, Writer};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use support::{Agent, Outcome};

/// A request on a path that may hold any byte.
fn request(call: &str, path: &[u8], more: &str) -> String {
    let mut writer = Writer::object();
    writer.str("op", b"file");
    writer.str("call", call.as_bytes());
    writer.str("path", path);
    let text = String::from_utf8(writer.end()).expect("utf8");
    format!("{}{}}}", &text[..text.len() - 1], more)
}

fn call(agent: &mut Agent, call: &str, path: &Path, more: &str) -> Outcome {
    agent.call(&request(call, path.as_os_str().as_bytes(), more))
}

/// Sends bytes as credit allows, then FIN.
fn upload(agent: &mut Agent, kind: &str, path: &[u8], more: &str, bytes: &[u8]) -> Outcome {
    let stream = agent.open(&request(kind, path, more));
    let mut outcome = Outcome::default();
    let (mut mine, mut links) = (256 * 1024usize, 1024 * 1024usize);
    for chunk in bytes.chunks(60_000) {
        while mine < chunk.len() || links < chunk.len() {
            let (header, payload) = agent.next();
            if header.kind == frame::CREDIT {
                let count = u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]) as usize;
                if header.stream == 0 {
                    links += count;
                } else if header.stream == stream {
                    mine += count;
                }
            } else if header.stream == stream && Agent::note(&mut outcome, &header, payload) {
                return outcome;
            }
        }
        agent.send(frame::DATA, frame::BYTES, stream, chunk);
        mine -= chunk.len();
        links -= chunk.len();
    }
    agent.fin(stream, frame::BYTES);
    agent.until(stream, &mut outcome, |_| false);
    agent.fin(stream, frame::ALL);
    outcome
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 256) as u8).collect()
}

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
fn what_is_no_regular_file_is_refused_and_nothing_hangs() {
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
fn a_write_that_does_not_end_well_leaves_the_old_file() {
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
fn owner_and_mode_are_as_asked_parents_too_and_kept_when_overwritten() {
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
fn every_name_survives() {
    let mut agent = Agent::start();
    let directory = agent.directory.join("names");
    let long = "n".repeat(255);
    let names: Vec<Vec<u8>> = [
        "a b+c%20d?e#f&g.txt",
        "-rf",
        "'q\".txt",
        "nl\nx",
        &long,
        "e\u{301}",
        "😀",
        "..hidden",
        "trailing ",
        "C:\\x",
        ".millibox",
    ]
    .iter()
    .map(|name| name.as_bytes().to_vec())
    .chain([b"\xff\x80odd\xc3".to_vec(), b"\xed\xa0\x80".to_vec()])
    .collect();
    for name in &names {
        let path = [directory.as_os_str().as_bytes(), b"/", name].concat();
        let done = upload(&mut agent, "write", &path, "", name);
        assert!(done.event("done").is_some(), "{:?}: {:?}", name, done);
        assert_eq!(agent.call(&request("read", &path, "")).bytes(), name.as_slice());
    }
    let listed = call(&mut agent, "list", &directory, "").opened.expect("opened");
    let mut found: Vec<Vec<u8>> =
        listed.array("entries").expect("entries").iter().map(|e| e.bytes("name").expect("name").to_vec()).collect();
    let mut expected = names.clone();
    expected.sort();
    assert_eq!(found, expected);
    found.clear();
    assert_eq!(
        agent
            .call(&request("write", &[directory.as_os_str().as_bytes(), b"/", &[b'x'; 256][..]].concat(), ""))
            .refusal(),
        "invalid_request"
    );
}

#[test]
fn long_directories_are_listed_in_parts() {
    let mut agent = Agent::start();
    let directory = agent.directory.join("many");
    std::fs::create_dir(&directory).expect("directory");
    let mut expected: Vec<String> = (0..2500).map(|i| format!("{}", i * 7919 % 100_003)).collect();
    for name in &expected {
        std::fs::write(directory.join(name), "").expect("file");
    }
    expected.sort();
    let mut found: Vec<String> = Vec::new();
    let mut parts = 0;
    loop {
        let after = found.last().map(|name| format!(r#","after":"{}""#, name)).unwrap_or_default();
        let part = call(&mut agent, "list", &directory, &after).opened.expect("opened");
        found.extend(part.array("entries").expect("list").iter().map(|e| e.text("name").expect("name").to_string()));
        parts += 1;
        if !part.flag("more") {
            break;
        }
    }
    assert_eq!((found, parts), (expected, 3));
}

#[test]
fn stat_knows_links_from_what_they_name() {
    let mut agent = Agent::start();
    let link = agent.directory.join("link");
    std::os::unix::fs::symlink("/etc/passwd", &link).expect("link");
    let follow = call(&mut agent, "stat", &link, "").opened.expect("opened");
    assert_eq!((follow.text("kind"), follow.text("target")), (Some("file"), None));
    let link_itself = call(&mut agent, "stat", &link, r#","follow":false"#).opened.expect("opened");
    assert_eq!((link_itself.text("kind"), link_itself.text("target")), (Some("symlink"), Some("/etc/passwd")));
    for (path, kind) in [("/dev/null", "device"), ("/", "directory")] {
        assert_eq!(call(&mut agent, "stat", Path::new(path), "").opened.expect("opened").text("kind"), Some(kind));
    }
}

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

    // And the other way: what tar makes, in each of its formats.
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
fn member(name: &str, kind: u8, target: &str, content: &[u8]) -> Vec<u8> {
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
fn changes_are_told() {
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

#[test]
fn a_growing_file_gives_a_prefix() {
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
    assert!(matches!(json::parse(b"{}"), Some(Value::Object(_))));
}
