//! What a directory holds, and what each entry is.

use crate::calls::{call, request, upload};
use crate::support::Agent;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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
