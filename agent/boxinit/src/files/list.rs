//! The entries of a directory, in the order of their bytes, a thousand at a time. The names of a long one are read once
//! and kept for the pages that follow.

use super::sorted_names::{Room, SortedNames};
use super::stat::write_stat;
use super::{file_error, Progress};
use crate::core::Core;
use crate::error::WireError;
use crate::json::{Value, Writer};
use crate::sys::entries::Entries;
use crate::sys::fs;
use crate::sys::ENOTDIR;
use crate::timers::Timer;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const MAX_ENTRIES: usize = 1000;
/// Names looked at in one turn.
const TURN_NAMES: usize = 4096;
/// An answer that has so many bytes gets no further entry. With the longest one behind it (40 KiB: names and targets of
/// bytes that JSON writes with six), it is still well below what the agent takes for an answer.
const FULL_BYTES: usize = 512 * 1024;
/// Names are kept so long for the next page.
const KEPT: Duration = Duration::from_secs(10);
const MAX_KEPT: usize = 8;

/// A reading of a directory.
struct Reading {
    /// Device and inode of the directory.
    of: ((u32, u32), u64),
    names: SortedNames,
    /// The last names of the pages told so far. Only who continues behind one of them gets this reading: to everybody
    /// else the directory is as it is now.
    told: Vec<Vec<u8>>,
    until: Instant,
}

/// The readings that are kept, oldest first.
#[derive(Default)]
pub struct Readings {
    kept: VecDeque<Reading>,
    room: Room,
}

impl Readings {
    /// The reading that a page behind this name continues, the newest if there are several.
    fn take(&mut self, of: ((u32, u32), u64), after: &[u8]) -> Option<Reading> {
        let continued = |kept: &Reading| kept.of == of && kept.told.iter().any(|name| name == after);
        let at = self.kept.iter().rposition(continued)?;
        self.kept.remove(at)
    }

    pub fn keep(&mut self, core: &mut Core, list: List) {
        let mut reading = list.reading;
        if reading.told.is_empty() {
            return;
        }
        reading.until = Instant::now() + KEPT;
        if self.kept.is_empty() {
            core.timers.at(reading.until, Timer::Listings);
        }
        self.kept.push_back(reading);
        if self.kept.len() > MAX_KEPT {
            self.kept.pop_front();
        }
    }

    /// Forgets what was kept for long enough.
    pub fn expire(&mut self, core: &mut Core) {
        let now = Instant::now();
        while self.kept.front().map_or(false, |reading| reading.until <= now) {
            self.kept.pop_front();
        }
        if let Some(next) = self.kept.front() {
            core.timers.at(next.until, Timer::Listings);
        }
    }
}

pub struct List {
    path: Vec<u8>,
    entries: Entries,
    reading: Reading,
    /// The names are all there.
    read: bool,
    /// Names up to this one are told, or have no entry any more.
    at: Vec<u8>,
    /// The answer so far, and how many entries it has.
    out: Writer,
    told: usize,
    /// The last entry of it.
    last: Vec<u8>,
}

impl List {
    pub fn open(open: &Value, path: &[u8], readings: &mut Readings) -> Result<List, WireError> {
        let failed = |errno| file_error(path, errno);
        if !fs::stat_at(super::CWD, path, true).map_err(failed)?.is_directory() {
            return Err(failed(ENOTDIR));
        }
        let entries = Entries::open(super::CWD, path, true).map_err(failed)?;
        let found = fs::stat_fd(entries.fd.raw()).map_err(failed)?;
        let of = (found.device, found.inode);
        let after = open.bytes("after").unwrap_or(b"").to_vec();
        let continued = readings.take(of, &after);
        let read = continued.is_some();
        let reading = continued.unwrap_or_else(|| Reading {
            of,
            names: names_behind(&after, readings.room.clone()),
            told: Vec::new(),
            until: Instant::now(),
        });
        let mut out = Writer::object();
        out.begin_array("entries");
        Ok(List { path: path.to_vec(), entries, reading, read, at: after, out, told: 0, last: Vec::new() })
    }

    pub fn step(&mut self) -> Result<Progress, WireError> {
        match self.read {
            true => self.tell(),
            false => self.read_names(),
        }
        .map_err(|errno| file_error(&self.path, errno))
    }

    fn read_names(&mut self) -> Result<Progress, i32> {
        for _ in 0..TURN_NAMES {
            match self.entries.next_borrowed()? {
                Some(name) => self.reading.names.add(name),
                None => {
                    self.reading.names.end();
                    self.read = true;
                    break;
                }
            }
        }
        Ok(Progress::More)
    }

    fn tell(&mut self) -> Result<Progress, i32> {
        let directory = self.entries.fd.raw();
        let mut names = self.reading.names.behind(&self.at).peekable();
        let mut last = None;
        let mut looked = 0;
        while let (Some(name), true) = (names.peek(), self.told < MAX_ENTRIES && self.out.len() <= FULL_BYTES) {
            if looked == MAX_ENTRIES {
                // Most have vanished since: the rest has its turn later.
                self.at = last.map_or_else(Vec::new, <[u8]>::to_vec);
                return Ok(Progress::More);
            }
            looked += 1;
            if let Ok(found) = fs::stat_at(directory, name, false) {
                let target = if found.is_link() { fs::read_link(directory, name).ok() } else { None };
                self.out.begin_object("");
                self.out.str("name", name);
                write_stat(&mut self.out, &found, target.as_deref());
                self.out.close();
                self.told += 1;
                self.last = name.to_vec();
            }
            last = names.next();
        }
        let in_reading = names.peek().is_some();
        drop(names);
        match self.reading.names.cut_behind() {
            // The next page begins behind an entry of this one, so it must have one.
            Some(cut) if !in_reading && self.told == 0 => {
                self.at = cut.to_vec();
                self.reading.names = names_behind(&self.at, self.reading.names.room());
                self.entries.rewind()?;
                self.read = false;
                Ok(Progress::More)
            }
            cut => Ok(Progress::Answer(self.finish(in_reading, in_reading || cut.is_some()))),
        }
    }

    /// Notes where the next page begins in this reading.
    fn finish(&mut self, in_reading: bool, more: bool) -> Vec<u8> {
        match in_reading {
            true => self.reading.told.push(std::mem::take(&mut self.last)),
            false => self.reading.told.clear(),
        }
        let mut out = std::mem::replace(&mut self.out, Writer::object());
        out.close();
        out.bool("more", more);
        out.end()
    }
}

/// One more than are told are kept in any case, to know whether there are more.
fn names_behind(after: &[u8], room: Room) -> SortedNames {
    SortedNames::new(after, MAX_ENTRIES + 1, room)
}
