//! Directory listings and file metadata.

use crate::calls::{call, request, upload};
use crate::support::Agent;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

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

/// A directory with this many files, and their names in order.
fn directory_of(agent: &Agent, count: usize) -> (PathBuf, Vec<String>) {
    let directory = agent.directory.join("long");
    std::fs::create_dir(&directory).expect("directory");
    let names: Vec<String> = (0..count).map(|i| format!("{:06}", i)).collect();
    for name in &names {
        std::fs::write(directory.join(name), "").expect("file");
    }
    (directory, names)
}

/// The page after a name: its names, and whether there are more.
fn page(agent: &mut Agent, directory: &Path, after: &str) -> (Vec<String>, bool) {
    let page = call(agent, "list", directory, &format!(r#","after":"{}""#, after)).opened.expect("opened");
    let entries = page.array("entries").expect("entries");
    (entries.iter().map(|entry| entry.text("name").expect("name").to_string()).collect(), page.flag("more"))
}

/// All pages after a name, with a change before each.
fn pages(agent: &mut Agent, directory: &Path, after: &str, mut change: impl FnMut(usize)) -> Vec<String> {
    let (mut found, mut at) = (Vec::new(), after.to_string());
    for number in 0.. {
        change(number);
        let (names, more) = page(agent, directory, &at);
        found.extend(names);
        if !more {
            break;
        }
        at = found.last().expect("a page that is not the last has entries").clone();
    }
    found
}

#[test]
fn the_pages_of_a_long_directory_come_from_one_reading() {
    let mut agent = Agent::start();
    let (directory, names) = directory_of(&agent, 5_000);
    let made = |number: usize| std::fs::write(directory.join(format!("zz{}", number)), "").expect("file");
    // Names created before the listing began are listed; those created meanwhile need not be.
    let found = pages(&mut agent, &directory, "", made);
    assert_eq!(found[..names.len()], names);
    assert_eq!(found[names.len()..], ["zz0"]);
    // A caller that does not continue a listing sees the current state.
    assert_eq!(page(&mut agent, &directory, "zz2").0, ["zz3", "zz4", "zz5"]);
    assert_eq!(page(&mut agent, &directory, "004500").0.last().map(String::as_str), Some("zz5"));
}

#[test]
fn entries_that_vanish_between_pages_are_omitted_and_end_no_listing() {
    let mut agent = Agent::start();
    let (directory, names) = directory_of(&agent, 6_000);
    let found = pages(&mut agent, &directory, "", |number| {
        if number == 1 {
            names[1_500..5_500].iter().for_each(|name| std::fs::remove_file(directory.join(name)).expect("remove"));
        }
    });
    assert_eq!(found, [&names[..1_500], &names[5_500..]].concat());
}

#[test]
fn a_repeated_page_is_the_same() {
    let mut agent = Agent::start();
    let (directory, names) = directory_of(&agent, 3_500);
    for _ in 0..2 {
        assert_eq!(page(&mut agent, &directory, "000999"), (names[1_000..2_000].to_vec(), true));
        assert_eq!(page(&mut agent, &directory, "002999"), (names[3_000..].to_vec(), false));
    }
    assert_eq!(pages(&mut agent, &directory, "", |_| ()), names);
}

#[test]
fn a_directory_with_a_new_inode_is_read_again() {
    let mut agent = Agent::start();
    let (directory, names) = directory_of(&agent, 1_500);
    assert_eq!(page(&mut agent, &directory, "").0, names[..1_000]);
    std::fs::rename(&directory, agent.directory.join("old")).expect("rename");
    std::fs::create_dir(&directory).expect("directory");
    std::fs::write(directory.join("new"), "").expect("file");
    assert_eq!(page(&mut agent, &directory, "000999"), (vec!["new".to_string()], false));
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
        let last = format!("{}{:05}", "\\u0001".repeat(250), found.len() - 1);
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
fn stat_distinguishes_links_from_their_targets() {
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
