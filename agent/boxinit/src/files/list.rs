//! Lists a directory in byte order, a thousand entries at a time. The names of a long one are read once and kept for
//! the following pages.

use super::sorted_names::{Room, SortedNames};
use super::stat::write_stat;
use super::{file_error, Progress};
use crate::error::WireError;
use crate::json::{Value, Writer};
use crate::sys::entries::Entries;
use crate::sys::fs;
use crate::sys::ENOTDIR;
use crate::timers::{Timer, TimerId, Timers};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

const MAX_ENTRIES: usize = 1000;
/// Names examined per turn.
const TURN_NAMES: usize = 4096;
/// An answer of this size gets no further entry. With the longest possible entry on top (40 KiB: names and targets of
/// bytes that JSON writes with six), it is still well below the agent's limit for an answer.
const FULL_BYTES: usize = 512 * 1024;
/// How long names are kept for the next page. Repeating a page does not extend it: a caller that keeps requesting the
/// same page expects to see new entries.
const KEPT: Duration = Duration::from_secs(10);
const MAX_KEPT: usize = 8;

/// The names read from a directory.
struct Reading {
    /// Device and inode of the directory.
    of: ((u32, u32), u64),
    names: SortedNames,
    /// The last names of the pages sent so far. Only a caller that continues after one of them gets this reading; all
    /// others see the directory as it is now.
    sent: Vec<Vec<u8>>,
    until: Instant,
}

/// The readings that are kept, in the order of their last page.
#[derive(Default)]
pub struct Readings {
    kept: VecDeque<Reading>,
    room: Room,
    /// For the reading that expires first.
    timer: Option<TimerId>,
}

impl Readings {
    /// The reading that a page after this name continues; the latest if there are several.
    fn take(&mut self, of: ((u32, u32), u64), after: &[u8]) -> Option<Reading> {
        let now = Instant::now();
        let continued =
            |kept: &Reading| kept.of == of && kept.until > now && kept.sent.iter().any(|name| name == after);
        let at = self.kept.iter().rposition(continued)?;
        self.kept.remove(at)
    }

    pub fn keep(&mut self, timers: &mut Timers, list: List) {
        if list.reading.sent.is_empty() {
            return;
        }
        self.kept.push_back(list.reading);
        if self.kept.len() > MAX_KEPT {
            self.kept.pop_front();
        }
        self.set_timer(timers);
    }

    /// Drops expired readings.
    pub fn expire(&mut self, timers: &mut Timers) {
        let now = Instant::now();
        self.kept.retain(|reading| reading.until > now);
        self.set_timer(timers);
    }

    fn set_timer(&mut self, timers: &mut Timers) {
        timers.cancel(&mut self.timer);
        let first = self.kept.iter().map(|reading| reading.until).min();
        self.timer = first.map(|until| timers.at(until, Timer::Listings));
    }
}

pub struct List {
    path: Vec<u8>,
    entries: Entries,
    reading: Reading,
    /// All names have been read.
    read: bool,
    /// Names up to this one have been sent, or have no entry any more.
    at: Vec<u8>,
    /// The answer so far, and how many entries it has.
    out: Writer,
    sent: usize,
    /// Its last entry.
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
            sent: Vec::new(),
            until: Instant::now(),
        });
        let mut out = Writer::object();
        out.begin_array("entries");
        Ok(List { path: path.to_vec(), entries, reading, read, at: after, out, sent: 0, last: Vec::new() })
    }

    pub fn step(&mut self) -> Result<Progress, WireError> {
        match self.read {
            true => self.fill_page(),
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

    fn fill_page(&mut self) -> Result<Progress, i32> {
        let directory = self.entries.fd.raw();
        let mut names = self.reading.names.behind(&self.at).peekable();
        let mut last = None;
        let mut looked = 0;
        while let (Some(name), true) = (names.peek(), self.sent < MAX_ENTRIES && self.out.len() <= FULL_BYTES) {
            if looked == MAX_ENTRIES {
                // Most have vanished since: the rest is left to a later turn.
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
                self.sent += 1;
                self.last = name.to_vec();
            }
            last = names.next();
        }
        let in_reading = names.peek().is_some();
        drop(names);
        match self.reading.names.cut_behind() {
            // The next page begins after an entry of this one, so it must have one.
            Some(cut) if !in_reading && self.sent == 0 => {
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
            true if self.reading.sent.contains(&self.last) => {}
            true => {
                self.reading.sent.push(std::mem::take(&mut self.last));
                self.reading.until = Instant::now() + KEPT;
            }
            false => self.reading.sent.clear(),
        }
        let mut out = std::mem::replace(&mut self.out, Writer::object());
        out.close();
        out.bool("more", more);
        out.end()
    }
}

/// One more than fits in the answer is always kept, to know whether there are more.
fn names_behind(after: &[u8], room: Room) -> SortedNames {
    SortedNames::new(after, MAX_ENTRIES + 1, room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    /// A directory of three pages, and who lists it.
    struct Lister {
        directory: PathBuf,
        readings: Readings,
        timers: Timers,
    }

    impl Lister {
        fn new(name: &str) -> Lister {
            let directory = std::env::temp_dir().join(format!("boxinit-{}-{}", name, std::process::id()));
            std::fs::create_dir(&directory).expect("a directory");
            let lister = Lister { directory, readings: Readings::default(), timers: Timers::default() };
            (0..2_500).for_each(|number| lister.make(&format!("{:04}", number)));
            lister
        }

        fn make(&self, name: &str) {
            std::fs::write(self.directory.join(name), "").expect("a file");
        }

        /// The first name of the page after this one.
        fn page(&mut self, after: &str) -> String {
            let open = crate::json::parse(format!(r#"{{"after":"{}"}}"#, after).as_bytes()).expect("json");
            let path = self.directory.as_os_str().as_bytes();
            let mut list = List::open(&open, path, &mut self.readings).expect("a listing");
            loop {
                if let Progress::Answer(answer) = list.step().expect("a turn") {
                    self.readings.keep(&mut self.timers, list);
                    let answer = crate::json::parse(&answer).expect("json");
                    let entries = answer.array("entries").expect("entries");
                    return entries[0].text("name").expect("a name").to_string();
                }
            }
        }
    }

    impl Drop for Lister {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }

    #[test]
    fn a_repeated_page_keeps_nothing_more_and_nothing_longer() {
        let mut lister = Lister::new("asked-again");
        // Far more than the test takes.
        let until = Instant::now() + 1000 * KEPT;
        for after in ["", "0999"] {
            lister.page(after);
            lister.readings.kept[0].until = until;
        }
        lister.make("0999-new");
        for _ in 0..3 {
            assert_eq!(lister.page("0999"), "1000");
        }
        let reading = &mut lister.readings.kept[0];
        assert_eq!((reading.sent.len(), reading.until), (2, until));
        reading.until = Instant::now();
        assert_eq!(lister.page("0999"), "0999-new");
    }

    #[test]
    fn one_timer_serves_the_reading_that_expires_first() {
        let mut lister = Lister::new("one-timer");
        for _ in 0..3 {
            lister.page("");
            lister.page("0999");
            lister.readings.expire(&mut lister.timers);
        }
        let first = lister.readings.kept.iter().map(|reading| reading.until).min();
        assert_eq!(lister.timers.next(), first);
        let later = Instant::now() + 2 * KEPT;
        assert_eq!(std::iter::from_fn(|| lister.timers.pop(later)).count(), 1);
    }
}
