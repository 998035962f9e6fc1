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
fn a_listing_stays_small_whatever_the_names_are() {
    let mut agent = Agent::start();
    let directory = agent.directory.join("wide");
    std::fs::create_dir(&directory).expect("directory");
    let name = |i: usize| [&[1; 250][..], format!("{:05}", i).as_bytes()].concat();
    // Each byte of names and targets takes six in JSON.
    for i in 0..60 {
        let path = directory.join(std::ffi::OsStr::from_bytes(&name(i)));
        std::os::unix::fs::symlink(std::ffi::OsStr::from_bytes(&[2; 4095]), path).expect("link");
    }
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let part = call(&mut agent, "list", &directory, &after).opened.expect("opened");
        let entries = part.array("entries").expect("entries");
        let bytes: usize =
            entries.iter().map(|e| 6 * (e.bytes("name").unwrap().len() + e.bytes("target").unwrap().len())).sum();
        assert!(!entries.is_empty() && bytes < 640 * 1024, "{} entries, {} bytes", entries.len(), bytes);
        found.extend(entries.iter().map(|e| e.bytes("name").expect("name").to_vec()));
        if !part.flag("more") {
            break;
        }
        let last = format!("{}{}", "\\u0001".repeat(250), format!("{:05}", found.len() - 1));
        after = format!(r#","after":"{}""#, last);
    }
    assert_eq!(found, (0..60).map(name).collect::<Vec<_>>());
}

#[test]
fn a_path_that_leads_in_circles_is_a_bad_request() {
    let mut agent = Agent::start();
    let link = agent.directory.join("circle");
    std::os::unix::fs::symlink(&link, &link).expect("link");
    for kind in ["read", "write", "list"] {
        assert_eq!(call(&mut agent, kind, &link, "").refusal(), "invalid_request", "{}", kind);
    }
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
