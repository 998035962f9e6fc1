//! The process table, and the marks by which each process is traced to its command.

use crate::exec::request::MARKER;
use crate::sys::privilege::BorrowedIdentity;
use crate::sys::{c_int, limits, process, EACCES};
use std::io::Read;
use std::os::unix::fs::MetadataExt;

const MAX_LIMITS_BYTES: u64 = 16 * 1024;
/// What is read of all environments in one scan, many times that of ordinary ones: thousands of processes may share one
/// of megabytes.
const MAX_ENVIRON_BYTES: u64 = 16 * 1024 * 1024;

pub struct Process {
    pub pid: c_int,
    pub parent: c_int,
    pub group: c_int,
    pub session: c_int,
    /// None of its threads runs.
    pub dead: bool,
}

/// From the session to the number of threads.
const FIELDS_BETWEEN: usize = 13;

/// Parses the relevant fields of /proc/PID/stat. The name before them may contain anything, brackets too.
fn parse_stat(pid: c_int, text: &[u8]) -> Option<Process> {
    let after = text.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(&text[after..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let session = fields.next()?.parse().ok()?;
    let threads: u32 = fields.nth(FIELDS_BETWEEN)?.parse().ok()?;
    // The state is that of the first thread, which may end before the others. It counts as a thread until it is reaped.
    let dead = matches!(state, "Z" | "X" | "x") && threads <= 1;
    Some(Process { pid, parent, group, session, dead })
}

fn read(path: &str, max: u64) -> Result<Vec<u8>, i32> {
    let mut text = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.raw_os_error().unwrap_or(0))?;
    file.take(max).read_to_end(&mut text).map_err(|error| error.raw_os_error().unwrap_or(0))?;
    Ok(text)
}

pub fn read_all() -> Vec<Process> {
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

/// How much may still be read of environments.
pub struct EnvironBytes(u64);

impl Default for EnvironBytes {
    fn default() -> EnvironBytes {
        EnvironBytes(MAX_ENVIRON_BYTES)
    }
}

/// The command ids in its environment.
pub fn each_mark(pid: c_int, left: &mut EnvironBytes, mut take: impl FnMut(&[u8])) {
    if left.0 == 0 {
        return;
    }
    let path = format!("/proc/{}/environ", pid);
    let environ = match read(&path, left.0) {
        Err(EACCES) | Err(crate::sys::EPERM) => {
            // Another user's: the kernel shows it to that user only.
            let owner = match std::fs::metadata(format!("/proc/{}", pid)) {
                Ok(meta) => meta,
                Err(_) => return,
            };
            let _identity = BorrowedIdentity::of(owner.uid(), owner.gid());
            read(&path, left.0)
        }
        other => other,
    }
    .unwrap_or_default();
    left.0 -= environ.len() as u64;
    for entry in environ.split(|byte| *byte == 0) {
        if let Some(id) = entry.strip_prefix(MARKER).and_then(|rest| rest.strip_prefix(b"=")) {
            take(id);
        }
    }
}

/// Its tag, if any, which is inherited: even programs that overwrite or clear their environment keep it.
pub fn each_tag(pid: c_int, take: impl FnMut(u64)) {
    match limits::tag_of(pid) {
        Ok(tag) => std::iter::once(tag).for_each(take),
        // Another user's: this file is readable by everybody.
        Err(_) => tags_in(&read(&format!("/proc/{}/limits", pid), MAX_LIMITS_BYTES).unwrap_or_default(), take),
    }
}

fn tags_in(limits: &[u8], take: impl FnMut(u64)) {
    let line = limits.split(|byte| *byte == b'\n').find(|line| line.starts_with(b"Max file locks"));
    let fields = line.unwrap_or(b"").split(|byte| *byte == b' ');
    fields.filter_map(|field| std::str::from_utf8(field).ok()?.parse().ok()).for_each(take);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_among_the_limits() {
        let limits =
            b"Limit   Soft Limit  Hard Limit  Units\nMax cpu time  7  7  seconds\nMax file locks  42   42   locks \n";
        let tags = |limits: &[u8]| {
            let mut found = Vec::new();
            tags_in(limits, |tag| found.push(tag));
            found
        };
        assert_eq!(tags(limits), [42, 42]);
        assert!(tags(b"").is_empty());
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = b"7 (a) S 99 (b)) R 5 7 3 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 2 0";
        let process = parse_stat(7, text).expect("parsed");
        assert_eq!((process.parent, process.group, process.session, process.dead), (5, 7, 3, false));
        assert!(parse_stat(7, b"rubbish").is_none());
    }

    #[test]
    fn a_process_is_dead_once_all_its_threads_are() {
        let dead = |threads| {
            let text = format!("7 (x) Z 5 7 3 0 -1 4228364 0 0 0 0 0 0 0 0 20 0 {} 0", threads);
            parse_stat(7, text.as_bytes()).expect("parsed").dead
        };
        assert_eq!([0, 1, 2].map(dead), [true, true, false]);
    }
}
