//! Everything that a command started: its session, its descendants, the sessions those made, and whoever carries its tag,
//! or its id in the environment. A session belongs to whoever made it, so one member of ours makes the whole session ours.

use crate::exec::request::MARKER;
use crate::sys::process::{self, BorrowedIdentity};
use crate::sys::signal::{self, SIGCONT, SIGKILL, SIGTERM};
use crate::sys::{c_int, EACCES};
use std::collections::HashSet;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

/// Tags are above this, out of the way of limits that mean something.
pub const TAGS: u64 = 1 << 62;
const MAX_LIMITS_BYTES: u64 = 16 * 1024;
const MAX_ENVIRON_BYTES: u64 = 4 * 1024 * 1024;
/// Looks at the table of processes without a pause between.
const PASSES: u32 = 32;

struct Process {
    pid: c_int,
    parent: c_int,
    session: c_int,
    dead: bool,
}

/// The fields of /proc/PID/stat that matter. The name before them may hold anything, brackets too.
fn parse_stat(pid: c_int, text: &[u8]) -> Option<Process> {
    let after = text.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(&text[after..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    fields.next()?;
    let session = fields.next()?.parse().ok()?;
    Some(Process { pid, parent, session, dead: matches!(state, "Z" | "X" | "x") })
}

fn read(path: &str, max: u64) -> Result<Vec<u8>, i32> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.raw_os_error().unwrap_or(0))?;
    file.take(max).read_to_end(&mut text).map_err(|error| error.raw_os_error().unwrap_or(0))?;
    Ok(text)
}

fn table() -> Vec<Process> {
    let mut processes = Vec::new();
    let me = process::getpid();
    if let Ok(entries) = std::fs::read_dir("/proc") {
        for entry in entries.flatten() {
            let pid: c_int = match entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                Some(pid) if pid > 1 && pid != me => pid,
                _ => continue,
            };
            if let Ok(stat) = read(&format!("/proc/{}/stat", pid), 4096) {
                processes.extend(parse_stat(pid, &stat));
            }
        }
    }
    processes
}

fn marked(pid: c_int, marker: &[u8]) -> bool {
    let path = format!("/proc/{}/environ", pid);
    let environ = match read(&path, MAX_ENVIRON_BYTES) {
        Err(EACCES) | Err(crate::sys::EPERM) => {
            // Another user's: the kernel shows it to that user alone.
            let owner = match std::fs::metadata(format!("/proc/{}", pid)) {
                Ok(meta) => meta,
                Err(_) => return false,
            };
            let _identity = BorrowedIdentity::of(owner.uid(), owner.gid());
            read(&path, MAX_ENVIRON_BYTES)
        }
        other => other,
    };
    environ.map(|text| text.split(|byte| *byte == 0).any(|entry| entry == marker)).unwrap_or(false)
}

/// Whether a process carries the tag: it is inherited, and programs that write over their environment or clear it keep it.
fn tagged(pid: c_int, tag: u64) -> bool {
    match process::tag_of(pid) {
        Ok(found) => found == tag,
        // Another user's: this file is for everybody to read.
        Err(_) => read(&format!("/proc/{}/limits", pid), MAX_LIMITS_BYTES).map_or(false, |text| holds_tag(&text, tag)),
    }
}

fn holds_tag(limits: &[u8], tag: u64) -> bool {
    let tag = tag.to_string();
    let line = limits.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"Max file locks"));
    let mut fields = line.unwrap_or(b"").split(|byte| *byte == b' ');
    fields.any(|field| field == tag.as_bytes())
}

fn marker(id: &[u8]) -> Vec<u8> {
    [MARKER, b"=", id].concat()
}

/// Whose members are meant.
pub struct Family<'a> {
    pub id: &'a [u8],
    pub tag: u64,
    /// The process the command began with, which is also the number of its session.
    pub leader: c_int,
    /// Its exit has been collected: the number may be another's by now.
    pub leader_reaped: bool,
    /// The leaders of other commands.
    pub others: &'a HashSet<c_int>,
}

/// The living members.
pub fn members(family: &Family) -> Vec<c_int> {
    let marker = marker(family.id);
    let others = family.others;
    let processes = table();
    // A number is free again only when nobody is left in its session.
    let taken = family.leader_reaped && processes.iter().any(|process| process.pid == family.leader);
    let leader = if taken { -1 } else { family.leader };
    let mut ours: HashSet<c_int> = HashSet::new();
    let mut sessions: HashSet<c_int> = HashSet::new();
    sessions.insert(leader);
    let me = process::getpid();
    for process in &processes {
        let known = process.pid == leader || process.session == leader;
        let carries = || tagged(process.pid, family.tag) || marked(process.pid, &marker);
        if known || (!others.contains(&process.session) && !process.dead && carries()) {
            ours.insert(process.pid);
        }
    }
    loop {
        let before = (ours.len(), sessions.len());
        for process in &processes {
            let related = ours.contains(&process.parent) || sessions.contains(&process.session);
            if (related || ours.contains(&process.pid)) && !others.contains(&process.session) {
                ours.insert(process.pid);
                // 0 is a session outside of what we can see.
                if process.session > 1 && process.session != me && own_session(&processes, process.session, &ours) {
                    sessions.insert(process.session);
                }
            }
        }
        if before == (ours.len(), sessions.len()) {
            break;
        }
    }
    processes.iter().filter(|process| !process.dead && ours.contains(&process.pid)).map(|process| process.pid).collect()
}

/// Whether a session can only have been made by one of ours: its leader is ours, or is gone.
fn own_session(processes: &[Process], session: c_int, ours: &HashSet<c_int>) -> bool {
    ours.contains(&session) || !processes.iter().any(|process| process.pid == session)
}

/// Asks all members to end. A stopped one must run to hear it.
pub fn terminate(members: &[c_int]) {
    for pid in members {
        signal::kill(*pid, SIGTERM);
    }
    for pid in members {
        signal::kill(*pid, SIGCONT);
    }
}

/// A signal to all members: KILL also to those that are born meanwhile.
pub fn send(family: &Family, number: c_int) {
    if number == SIGKILL {
        exterminate(family);
        return;
    }
    for pid in members(family) {
        signal::kill(pid, number);
    }
}

/// Kills until a look finds nobody: what forks while being killed is found by the next look. False when some remain.
pub fn exterminate(family: &Family) -> bool {
    let mut before = Vec::new();
    for _ in 0..PASSES {
        let found = members(family);
        if found.is_empty() {
            return true;
        }
        for pid in &found {
            signal::kill(*pid, SIGKILL);
        }
        if found == before {
            // They are dying, or cannot: the caller looks again later.
            return false;
        }
        before = found;
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_among_the_limits() {
        let limits =
            b"Limit   Soft Limit  Hard Limit  Units\nMax cpu time  7  7  seconds\nMax file locks  42   42   locks \n";
        assert!(holds_tag(limits, 42));
        assert!(!holds_tag(limits, 4));
        assert!(!holds_tag(limits, 7));
        assert!(!holds_tag(b"", 42));
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let process = parse_stat(7, b"7 (a) S 99 (b)) R 5 7 3 0 -1 4194304").expect("parsed");
        assert_eq!((process.parent, process.session, process.dead), (5, 3, false));
        assert!(parse_stat(7, b"7 (x) Z 5 7 3").expect("parsed").dead);
        assert!(parse_stat(7, b"rubbish").is_none());
    }
}
