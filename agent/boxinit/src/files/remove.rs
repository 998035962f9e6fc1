//! Removes a file, or a whole tree a few hundred entries at a time.

use super::{file_error, place, split, without_trailing_slashes, Progress, CWD};
use crate::error::WireError;
use crate::json::Value;
use crate::sys::entries::Entries;
use crate::sys::fs;
use crate::sys::io::Fd;
use crate::sys::{self, EISDIR, ENOENT};
use std::time::{Duration, Instant};

const TURN_ENTRIES: usize = 256;
/// Deeper directories are first moved up to the top of the tree: each level holds a descriptor.
const MAX_DEPTH: usize = 64;
/// How often a directory is rescanned, not counting once per directory moved up to it. Some file systems skip entries
/// while others are being removed, so it takes more than one scan; beyond this many, someone keeps creating entries.
const MAX_PASSES: u32 = 4096;
/// Deadline for a removal that no caller waits for and could cancel: someone may be creating entries faster than they
/// are removed.
const UNWATCHED: Duration = Duration::from_secs(10 * 60);

struct Level {
    entries: Entries,
    /// Its name in its parent.
    name: Vec<u8>,
    /// How often it was scanned, less the directories moved up to it.
    passes: u32,
}

pub struct Remove {
    path: Vec<u8>,
    /// The directory that contains the tree.
    above: Fd,
    /// From the top of the tree down to the current directory.
    levels: Vec<Level>,
    device: (u32, u32),
    /// How many names were made for directories moved up.
    moved: u64,
    /// When to give up.
    until: Option<Instant>,
}

impl Remove {
    /// None if it is already done.
    pub fn open(open: &Value, path: &[u8]) -> Result<Option<Remove>, WireError> {
        let path = without_trailing_slashes(path);
        let failed = |errno| file_error(path, errno);
        let (above, name) = place(path).map_err(failed)?;
        let found = fs::stat_at(above.raw(), name, false).map_err(failed)?;
        if !found.is_directory() {
            return fs::unlink(above.raw(), name).map(|_| None).map_err(failed);
        }
        let root = fs::stat_at(CWD, b"/", true).map_err(failed)?;
        if (root.inode, root.device) == (found.inode, found.device) || matches!(split(path).1, b"." | b"..") {
            return Err(failed(sys::EPERM));
        }
        if !open.flag("recursive") {
            return fs::remove_directory(above.raw(), name).map(|_| None).map_err(failed);
        }
        // Before anything in it is removed.
        if found.mounted {
            return Err(failed(sys::EBUSY));
        }
        Remove::tree(path).map(Some)
    }

    /// The whole tree of a path known to be a directory.
    pub fn tree(path: &[u8]) -> Result<Remove, WireError> {
        let failed = |errno| file_error(path, errno);
        let (above, name) = place(path).map_err(failed)?;
        let entries = Entries::open(above.raw(), name, false).map_err(failed)?;
        let device = fs::stat_fd(entries.fd.raw()).map_err(failed)?.device;
        let top = Level { entries, name: Vec::new(), passes: 1 };
        Ok(Remove { path: path.to_vec(), above, levels: vec![top], device, moved: 0, until: None })
    }

    /// The same, without a stream.
    pub fn unwatched(path: &[u8]) -> Result<Remove, WireError> {
        let tree = Remove::tree(path)?;
        Ok(Remove { until: Some(Instant::now() + UNWATCHED), ..tree })
    }

    pub fn step(&mut self) -> Result<Progress, WireError> {
        if matches!(self.until, Some(until) if Instant::now() >= until) {
            return Err(file_error(&self.path, sys::ENOTEMPTY));
        }
        for _ in 0..TURN_ENTRIES {
            if self.one().map_err(|errno| file_error(&self.path, errno))? {
                return Ok(Progress::Answer(b"{}".to_vec()));
            }
        }
        Ok(Progress::More)
    }

    /// Removes one entry. True when the tree is gone.
    fn one(&mut self) -> Result<bool, i32> {
        let depth = self.levels.len();
        let top = self.levels[0].entries.fd.raw();
        let entries = &mut self.levels[depth - 1].entries;
        let directory = entries.fd.raw();
        let name = match entries.next_name()? {
            Some(name) => name,
            None => return self.leave(),
        };
        match fs::unlink(directory, &name) {
            Ok(()) | Err(ENOENT) => return Ok(false),
            Err(EISDIR) | Err(sys::EPERM) => {}
            Err(errno) => return Err(errno),
        }
        let found = match fs::stat_at(directory, &name, false) {
            Err(ENOENT) => return Ok(false),
            other => other?,
        };
        if !found.is_directory() {
            return Err(sys::EPERM);
        }
        if found.device != self.device || found.mounted {
            return Err(sys::EBUSY);
        }
        match fs::remove_directory(directory, &name) {
            Ok(()) | Err(ENOENT) => return Ok(false),
            Err(sys::ENOTEMPTY) | Err(sys::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        if depth >= MAX_DEPTH {
            self.moved += 1;
            let higher = format!(".millibox-removed-{}", self.moved);
            match fs::rename((directory, &name), (top, higher.as_bytes()), false) {
                Ok(()) => {
                    let passes = &mut self.levels[0].passes;
                    *passes = passes.saturating_sub(1);
                }
                Err(ENOENT) | Err(sys::EEXIST) => {}
                Err(errno) => return Err(errno),
            }
            return Ok(false);
        }
        match Entries::open(directory, &name, false) {
            Ok(entries) => self.levels.push(Level { entries, name, passes: 1 }),
            Err(ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        Ok(false)
    }

    /// The innermost directory has been read to its end: it is removed, unless something was created in it meanwhile.
    fn leave(&mut self) -> Result<bool, i32> {
        let mut level = match self.levels.pop() {
            Some(level) => level,
            None => return Ok(true),
        };
        let removed = match self.levels.last() {
            Some(above) => fs::remove_directory(above.entries.fd.raw(), &level.name),
            None => fs::remove_directory(self.above.raw(), split(&self.path).1),
        };
        match removed {
            Ok(()) | Err(ENOENT) => Ok(self.levels.is_empty()),
            Err(sys::ENOTEMPTY) | Err(sys::EEXIST) if level.passes < MAX_PASSES => {
                level.entries.rewind()?;
                level.passes += 1;
                self.levels.push(level);
                Ok(false)
            }
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;
    use std::path::PathBuf;

    /// A directory with a file in it.
    fn tree(name: &str) -> PathBuf {
        let tree = std::env::temp_dir().join(format!("boxinit-{}-{}", name, std::process::id()));
        std::fs::create_dir(&tree).expect("a directory");
        std::fs::write(tree.join("file"), "").expect("a file");
        tree
    }

    #[test]
    fn a_directory_that_gains_entries_after_every_scan_is_abandoned() {
        let tree = tree("added-to");
        let mut remove = Remove::tree(tree.as_os_str().as_bytes()).expect("a tree");
        let outcomes: Vec<_> = (0..MAX_PASSES).map(|_| remove.leave()).collect();
        std::fs::remove_dir_all(&tree).expect("gone");
        assert!(outcomes.iter().rev().skip(1).all(|outcome| *outcome == Ok(false)));
        assert_eq!(outcomes.last(), Some(&Err(sys::ENOTEMPTY)));
    }

    #[test]
    fn directories_moved_up_may_take_any_number_of_passes() {
        let tree = tree("deep");
        std::fs::create_dir_all(tree.join("deeper/".repeat(8 * MAX_DEPTH))).expect("directories");
        let mut remove = Remove::tree(tree.as_os_str().as_bytes()).expect("a tree");
        remove.levels[0].passes = MAX_PASSES - 1;
        let outcome = loop {
            match remove.step() {
                Ok(Progress::More) => {}
                outcome => break outcome,
            }
        };
        let gone = !tree.exists();
        let _ = std::fs::remove_dir_all(&tree);
        assert!(matches!(outcome, Ok(Progress::Answer(_))) && gone, "{:?}", outcome.err().map(|error| error.code));
    }

    #[test]
    fn an_unwatched_removal_is_abandoned_after_a_while() {
        let tree = tree("unwatched");
        let mut remove = Remove::unwatched(tree.as_os_str().as_bytes()).expect("a tree");
        remove.until = Some(Instant::now());
        assert!(matches!(remove.step(), Err(error) if error.code == "file_exists"));
        remove.until = Some(Instant::now() + UNWATCHED);
        assert!(matches!(remove.step(), Ok(Progress::Answer(_))));
        assert!(!tree.exists());
    }
}
