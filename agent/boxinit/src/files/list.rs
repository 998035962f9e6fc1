//! The entries of a directory, in the order of their bytes, a thousand at a time.

use super::stat::write_stat;
use super::{file_error, Progress};
use crate::error::WireError;
use crate::json::{Value, Writer};
use crate::sys::fs::{self, Entries};
use crate::sys::ENOTDIR;

const MAX_ENTRIES: usize = 1000;
/// One more than are told, to know whether there are more.
const WANTED: usize = MAX_ENTRIES + 1;
/// Names looked at in one turn.
const TURN_NAMES: usize = 4096;
/// An answer that has so many bytes gets no further entry. With the longest one behind it (40 KiB: names and targets of
/// bytes that JSON writes with six), it is still well below what the agent takes for an answer.
const FULL_BYTES: usize = 512 * 1024;

pub struct List {
    path: Vec<u8>,
    entries: Entries,
    after: Vec<u8>,
    /// Names behind `after`, with the first so far among them: sorted out when there are twice as many as are wanted.
    first: Vec<Vec<u8>>,
    /// The last name that is wanted, once there are enough before it.
    last: Option<Vec<u8>>,
}

impl List {
    pub fn open(open: &Value, path: &[u8]) -> Result<List, WireError> {
        let failed = |errno| file_error(path, errno);
        if !fs::stat_at(super::CWD, path, true).map_err(failed)?.is_directory() {
            return Err(failed(ENOTDIR));
        }
        let entries = Entries::open(super::CWD, path, true).map_err(failed)?;
        let after = open.bytes("after").unwrap_or(b"").to_vec();
        Ok(List { path: path.to_vec(), entries, after, first: Vec::new(), last: None })
    }

    pub fn step(&mut self) -> Result<Progress, WireError> {
        for _ in 0..TURN_NAMES {
            let name = self.entries.next_borrowed().map_err(|errno| file_error(&self.path, errno))?;
            let name = match name {
                Some(name) => name,
                None => {
                    self.sort_out();
                    return Ok(Progress::Answer(self.answer()));
                }
            };
            if name > self.after.as_slice() && self.last.as_ref().map_or(true, |last| name < last.as_slice()) {
                self.first.push(name.to_vec());
                if self.first.len() >= 2 * WANTED {
                    self.sort_out();
                }
            }
        }
        Ok(Progress::More)
    }

    fn sort_out(&mut self) {
        self.first.sort_unstable();
        // A directory that changes may tell a name twice.
        self.first.dedup();
        self.first.truncate(WANTED);
        self.last = self.first.get(WANTED - 1).cloned();
    }

    fn answer(&self) -> Vec<u8> {
        let mut out = Writer::object();
        out.begin_array("entries");
        let directory = self.entries.fd.raw();
        let mut told = 0;
        for name in &self.first {
            if told >= MAX_ENTRIES || out.len() > FULL_BYTES {
                break;
            }
            told += 1;
            // What vanished since has no entry any more.
            if let Ok(found) = fs::stat_at(directory, name, false) {
                let target = if found.is_link() { fs::read_link(directory, name).ok() } else { None };
                out.begin_object("");
                out.str("name", name);
                write_stat(&mut out, &found, target.as_deref());
                out.close();
            }
        }
        out.close();
        out.bool("more", told < self.first.len());
        out.end()
    }
}
