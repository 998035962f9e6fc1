//! Which directories are watched, and the current path of each.

use super::{file_error, join, CWD};
use crate::error::WireError;
use crate::sys::entries::Entries;
use crate::sys::fs;
use crate::sys::inotify::{self, DONT_FOLLOW, ONLY_DIRECTORY};
use crate::sys::io::Fd;
use crate::sys::{self, c_int};
use std::collections::{HashMap, VecDeque};

/// Directories per call. The kernel has a limited number for the whole node.
const MAX_DIRECTORIES: usize = 4096;
/// Entries examined per turn.
const TURN_ENTRIES: usize = 512;

pub struct Watched {
    pub notifier: Fd,
    root: c_int,
    device: (u32, u32),
    mask: u32,
    /// By the kernel's watch descriptor.
    paths: HashMap<c_int, Vec<u8>>,
    /// Watched but not scanned yet; whether its content is to be reported.
    unread: VecDeque<(Vec<u8>, bool)>,
    reading: Option<(Entries, Vec<u8>, bool)>,
}

impl Watched {
    pub fn open(path: &[u8], mask: u32, recursive: bool) -> Result<Watched, WireError> {
        let failed = |errno| watch_error(path, errno);
        let found = fs::stat_at(CWD, path, true).map_err(failed)?;
        let notifier = inotify::open().map_err(failed)?;
        let root = inotify::watch(notifier.raw(), path, mask).map_err(failed)?;
        let mut paths = HashMap::new();
        paths.insert(root, path.to_vec());
        let mut unread = VecDeque::new();
        if recursive && found.is_directory() {
            unread.push_back((path.to_vec(), false));
        }
        Ok(Watched { notifier, root, device: found.device, mask, paths, unread, reading: None })
    }

    pub fn path_of(&self, number: c_int) -> Option<&Vec<u8>> {
        self.paths.get(&number)
    }

    pub fn is_root(&self, number: c_int) -> bool {
        self.root == number
    }

    /// Whether there are directories to scan.
    pub fn unread(&self) -> bool {
        self.reading.is_some() || !self.unread.is_empty()
    }

    /// The kernel has dropped the watch.
    pub fn ended(&mut self, number: c_int) {
        self.paths.remove(&number);
    }

    /// The root is gone or renamed: no more changes will come under this name.
    pub fn over(&self) -> bool {
        !self.paths.contains_key(&self.root)
    }

    /// Adds a directory below the root. Existing content is reported if the directory is new.
    pub fn add(&mut self, path: Vec<u8>, news: bool) -> Result<(), WireError> {
        // By now it may be gone, or be something else, or a mount point outside this tree.
        match fs::stat_at(CWD, &path, false) {
            Ok(found) if found.is_directory() && found.device == self.device => {}
            _ => return Ok(()),
        }
        if self.paths.len() >= MAX_DIRECTORIES {
            let message = format!("there are more than {} directories to watch: watch a smaller tree", MAX_DIRECTORIES);
            return Err(WireError::resource_limit(message));
        }
        match inotify::watch(self.notifier.raw(), &path, self.mask | ONLY_DIRECTORY | DONT_FOLLOW) {
            Ok(number) => {
                self.paths.insert(number, path.clone());
                self.unread.push_back((path, news));
                Ok(())
            }
            Err(sys::ENOENT) | Err(sys::ENOTDIR) | Err(sys::ELOOP) => Ok(()),
            Err(errno) => Err(watch_error(&path, errno)),
        }
    }

    /// The directory was renamed, or moved out of the tree.
    pub fn forget(&mut self, path: &[u8]) {
        let below = [path, b"/"].concat();
        let gone: Vec<c_int> = self
            .paths
            .iter()
            .filter(|(_, known)| known.as_slice() == path || known.starts_with(&below))
            .map(|(number, _)| *number)
            .collect();
        for number in gone {
            self.paths.remove(&number);
            inotify::unwatch(self.notifier.raw(), number);
        }
    }

    /// Scans some of the content, and calls `tell` with the path of each entry to report.
    pub fn look(&mut self, mut tell: impl FnMut(&[u8])) -> Result<(), WireError> {
        for _ in 0..TURN_ENTRIES {
            if self.reading.is_none() {
                let (path, news) = match self.unread.pop_front() {
                    Some(next) => next,
                    None => return Ok(()),
                };
                self.reading = Entries::open(CWD, &path, true).ok().map(|entries| (entries, path, news));
                continue;
            }
            let (entry, news) = match &mut self.reading {
                // A directory that can no longer be read is gone.
                Some((entries, path, news)) => match entries.next_name().unwrap_or(None) {
                    Some(name) => (join(path, &name), *news),
                    None => {
                        self.reading = None;
                        continue;
                    }
                },
                None => continue,
            };
            if news {
                tell(&entry);
            }
            self.add(entry, news)?;
        }
        Ok(())
    }
}

pub fn watch_error(path: &[u8], errno: i32) -> WireError {
    match errno {
        // The kernel's own text would be "no space left on device".
        sys::ENOSPC => WireError::resource_limit("the kernel of this node cannot watch more directories"),
        sys::EMFILE | sys::ENOMEM => WireError::resource_limit("the kernel of this node cannot hold more watches"),
        _ => file_error(path, errno),
    }
}
