//! Removing a file, or a whole tree a few hundred entries at a time.

use super::{file_error, place, split, without_trailing_slashes, Progress, CWD};
use crate::error::WireError;
use crate::json::Value;
use crate::sys::entries::Entries;
use crate::sys::fs;
use crate::sys::io::Fd;
use crate::sys::{self, EISDIR, ENOENT};

const TURN_ENTRIES: usize = 256;
/// Deeper directories are moved up to the top of the tree first: a descriptor is held for each level.
const MAX_DEPTH: usize = 64;

pub struct Remove {
    path: Vec<u8>,
    /// The directory that holds the tree.
    above: Fd,
    /// From the top of the tree down to where we are: the directory, and its name in the one above.
    levels: Vec<(Entries, Vec<u8>)>,
    device: (u32, u32),
    /// Something was removed from the innermost directory since it was last read from its beginning.
    moved: u64,
}

impl Remove {
    /// None when it is done already.
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

    /// All of a directory that is known to be one.
    pub fn tree(path: &[u8]) -> Result<Remove, WireError> {
        let failed = |errno| file_error(path, errno);
        let (above, name) = place(path).map_err(failed)?;
        let entries = Entries::open(above.raw(), name, false).map_err(failed)?;
        let device = fs::stat_fd(entries.fd.raw()).map_err(failed)?.device;
        Ok(Remove { path: path.to_vec(), above, levels: vec![(entries, Vec::new())], device, moved: 0 })
    }

    pub fn step(&mut self) -> Result<Progress, WireError> {
        for _ in 0..TURN_ENTRIES {
            if self.one().map_err(|errno| file_error(&self.path, errno))? {
                return Ok(Progress::Answer(b"{}".to_vec()));
            }
        }
        Ok(Progress::More)
    }

    /// One entry. True when the tree is gone.
    fn one(&mut self) -> Result<bool, i32> {
        let depth = self.levels.len();
        let top = self.levels[0].0.fd.raw();
        let (entries, _) = &mut self.levels[depth - 1];
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
                Ok(()) | Err(ENOENT) | Err(sys::EEXIST) => return Ok(false),
                Err(errno) => return Err(errno),
            }
        }
        match Entries::open(directory, &name, false) {
            Ok(inner) => self.levels.push((inner, name)),
            Err(ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        Ok(false)
    }

    /// The innermost directory has been read to its end: it goes, unless something came meanwhile.
    fn leave(&mut self) -> Result<bool, i32> {
        let (mut entries, name) = match self.levels.pop() {
            Some(level) => level,
            None => return Ok(true),
        };
        let removed = match self.levels.last() {
            Some((above, _)) => fs::remove_directory(above.fd.raw(), &name),
            None => fs::remove_directory(self.above.raw(), split(&self.path).1),
        };
        match removed {
            Ok(()) | Err(ENOENT) => Ok(self.levels.is_empty()),
            Err(sys::ENOTEMPTY) | Err(sys::EEXIST) => {
                entries.rewind()?;
                self.levels.push((entries, name));
                Ok(false)
            }
            Err(errno) => Err(errno),
        }
    }
}
