//! Moves a file or tree: a rename, or across file systems a copy that is moved into place once complete, then the
//! removal of the original.

use super::remove::Remove;
use super::tar_read::TarRead;
use super::tar_write::TarWrite;
use super::{file_error, path_of, place, split, without_trailing_slashes, write, Progress, CWD};
use crate::error::WireError;
use crate::json::Value;
use crate::sys::io::CHUNK;
use crate::sys::{self, c_int, fs};

/// Chunks copied per turn.
const TURN_CHUNKS: usize = 4;

enum Phase {
    Copy { from: Box<TarRead>, to: Box<TarWrite> },
    Remove(Remove),
}

pub struct Transfer {
    from: Vec<u8>,
    to: Vec<u8>,
    /// The copy, until it has its final name.
    copy: Option<Vec<u8>>,
    replace: bool,
    phase: Phase,
    buffer: Vec<u8>,
}

impl Transfer {
    /// None if it is already done.
    pub fn open(open: &Value, path: &[u8]) -> Result<Option<Transfer>, WireError> {
        let from = without_trailing_slashes(path);
        let to = path_of(open, "to")?;
        let to = without_trailing_slashes(&to);
        let replace = open.flag("overwrite");
        let (below, name) = place(from).map_err(|errno| file_error(from, errno))?;
        let (above, new) = place(to).map_err(|errno| file_error(to, errno))?;
        match rename((below.raw(), name), (above.raw(), new), replace) {
            Ok(()) => return Ok(None),
            Err(sys::EXDEV) => {}
            Err(errno) => {
                let at_fault = if fs::stat_at(below.raw(), name, false).is_err() { from } else { to };
                return Err(file_error(at_fault, errno));
            }
        }
        // It would be copied, and then could not be removed.
        if fs::stat_at(below.raw(), name, false).map_or(false, |found| found.mounted) {
            return Err(file_error(from, sys::EBUSY));
        }
        if !replace && fs::stat_at(CWD, to, false).is_ok() {
            return Err(file_error(to, sys::EEXIST));
        }
        let directory = split(to).0;
        let copy = write::unused_name();
        let phase = Phase::Copy {
            from: Box::new(TarRead::open_as(from, &copy)?),
            to: Box::new(TarWrite::below(directory, None)?),
        };
        Ok(Some(Transfer {
            from: from.to_vec(),
            to: to.to_vec(),
            copy: Some([directory, b"/", &copy].concat()),
            replace,
            phase,
            buffer: vec![0; CHUNK],
        }))
    }

    pub fn step(&mut self) -> Result<Progress, WireError> {
        for _ in 0..TURN_CHUNKS {
            let (from, to) = match &mut self.phase {
                Phase::Remove(remove) => return remove.step(),
                Phase::Copy { from, to } => (from, to),
            };
            match from.fill(&mut self.buffer)? {
                0 => {
                    to.finish()?;
                    return self.settle();
                }
                count => to.take(&self.buffer[..count])?,
            }
        }
        Ok(Progress::More)
    }

    fn settle(&mut self) -> Result<Progress, WireError> {
        if let Some(copy) = &self.copy {
            fs::rename((CWD, copy), (CWD, &self.to), self.replace).map_err(|errno| file_error(&self.to, errno))?;
        }
        self.copy = None;
        let original = fs::stat_at(CWD, &self.from, false).map_err(|errno| file_error(&self.from, errno))?;
        if original.is_directory() {
            self.phase = Phase::Remove(Remove::tree(&self.from)?);
            return Ok(Progress::More);
        }
        fs::unlink(CWD, &self.from).map_err(|errno| file_error(&self.from, errno))?;
        Ok(Progress::Answer(b"{}".to_vec()))
    }

    /// What remains of an unfinished copy: a file is removed at once, a tree is returned for removal.
    pub fn half_done(&mut self) -> Option<Remove> {
        let copy = self.copy.take()?;
        match fs::unlink(CWD, &copy) {
            Err(sys::EISDIR) | Err(sys::EPERM) => Remove::unwatched(&copy).ok(),
            _ => None,
        }
    }
}

/// As `rename`, which does nothing if both names are of the same file: here the old name is removed.
fn rename(from: (c_int, &[u8]), to: (c_int, &[u8]), replace: bool) -> Result<(), i32> {
    fs::rename(from, to, replace)?;
    let (old, new) = match (fs::stat_at(from.0, from.1, false), fs::stat_at(to.0, to.1, false)) {
        (Ok(old), Ok(new)) if old.links > 1 && (old.inode, old.device) == (new.inode, new.device) => {
            (fs::stat_fd(from.0)?, fs::stat_fd(to.0)?)
        }
        _ => return Ok(()),
    };
    let same_place = from.1 == to.1 && (old.inode, old.device) == (new.inode, new.device);
    if same_place {
        return Ok(());
    }
    fs::unlink(from.0, from.1)
}
