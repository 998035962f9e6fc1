//! Detects a child that is kept from executing its program. Code in the sandbox can stop it, or hold a lease on the
//! file to execute. boxinit serves nothing else meanwhile, so it must not wait long.

use crate::sys::{c_int, process, signal};
use std::fs::File;
use std::io::Read;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

/// Hardly any child takes longer than this.
const LOOK: Duration = Duration::from_millis(25);
/// A lease holder is notified and may need a moment to release it.
const LEASE: Duration = Duration::from_millis(200);
/// For a slow disk, and anything else that delays a start.
const LIMIT: Duration = Duration::from_secs(10);
/// For a child that was killed.
const DEATH: Duration = Duration::from_secs(1);
/// For this long after a hold-up, no other lease holder is given time: there may be hundreds in line.
const WARY: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldUp {
    Stopped,
    Leased,
    Slow,
}

pub enum Outcome {
    /// It has executed its program, or has exited by itself.
    Free,
    Killed(HoldUp),
    /// It hangs in the kernel, where SIGKILL does not take effect yet.
    Stuck,
}

#[derive(Default)]
pub struct Watch {
    last: Option<Instant>,
}

impl Watch {
    /// Returns once `runs` is cleared, or the child has been given up on.
    pub fn over(&mut self, pid: c_int, runs: &AtomicU32) -> Outcome {
        if process::wait_cleared(runs, LOOK) {
            return Outcome::Free;
        }
        let began = Instant::now();
        let wary = self.last.map_or(false, |last| began.duration_since(last) < WARY);
        let why = loop {
            let waited = began.elapsed();
            match reason(pid) {
                Some(HoldUp::Leased) if !wary && waited < LEASE => {}
                Some(why) => break why,
                None if waited >= LIMIT => break HoldUp::Slow,
                None => {}
            }
            if process::wait_cleared(runs, LOOK) {
                return Outcome::Free;
            }
        };
        signal::kill(pid, signal::SIGKILL);
        self.last = Some(Instant::now());
        let until = Instant::now() + DEATH;
        while !process::wait_cleared(runs, LOOK) {
            if Instant::now() >= until {
                return Outcome::Stuck;
            }
        }
        Outcome::Killed(why)
    }
}

fn reason(pid: c_int) -> Option<HoldUp> {
    if process::is_stopped(pid) {
        return Some(HoldUp::Stopped);
    }
    let (locks, all) = locks_within(LOOK)?;
    (lease_is_broken(&locks) || (!all && sleeps(pid))).then_some(HoldUp::Leased)
}

/// As much of the kernel's list of locks as can be read in this time, and whether that is all: the kernel goes through
/// the list from its start for each page of it, so hundreds of thousands of locks take it minutes.
fn locks_within(limit: Duration) -> Option<(Vec<u8>, bool)> {
    let until = Instant::now() + limit;
    let mut file = File::open("/proc/locks").ok()?;
    let mut locks = Vec::new();
    let mut page = [0; 4096];
    while Instant::now() < until {
        match file.read(&mut page).ok()? {
            0 => return Some((locks, true)),
            count => locks.extend_from_slice(&page[..count]),
        }
    }
    Some((locks, false))
}

/// Whether it waits for something other than a disk. On its way to a program, that is a lease.
fn sleeps(pid: c_int) -> bool {
    let stat = std::fs::read(format!("/proc/{}/stat", pid)).unwrap_or_default();
    let name_end = stat.iter().rposition(|byte| *byte == b')');
    name_end.map_or(false, |at| stat[at + 1..].starts_with(b" S"))
}

/// Whether someone is waiting for a lease to be released: only leases visible here are listed, so it is the sandbox's
/// own.
fn lease_is_broken(locks: &[u8]) -> bool {
    let breaking = |line: &[u8]| {
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).skip(1);
        words.next() == Some(b"LEASE") && words.next() == Some(b"BREAKING")
    };
    locks.split(|byte| *byte == b'\n').any(breaking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_being_broken_is_found_among_the_locks() {
        let active = b"1: POSIX  ADVISORY  WRITE 12 00:2c:34 0 EOF\n2: LEASE  ACTIVE    READ  47 00:2c:35 0 EOF\n";
        assert!(!lease_is_broken(active));
        assert!(lease_is_broken(
            b"1: FLOCK  ADVISORY  WRITE 9 00:2c:1 0 EOF\n2: LEASE  BREAKING  READ  47 00:2c:35 0 EOF\n"
        ));
        assert!(!lease_is_broken(b""));
    }
}
