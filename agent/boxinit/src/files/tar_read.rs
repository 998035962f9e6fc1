//! Streams a tree as a tar, generated on demand.

use super::tar_format::{self as tar, Member, BLOCK};
use super::{file_error, join, shown, split, without_trailing_slashes, CWD};
use crate::error::WireError;
use crate::sys::entries::Entries;
use crate::sys::fs::{self, Stat};
use crate::sys::io::{Fd, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY};
use crate::sys::{self, c_int};
use std::collections::HashMap;

/// Each level holds a descriptor.
const MAX_DEPTH: usize = 2048;
/// Attempts to inspect an entry that changes its type each time.
const MAX_LOOKS: usize = 8;
/// For the names of hard-linked files, so that each is written once. Beyond this they are written again: the names below
/// a deep directory may be of half a megabyte each.
const MAX_LINKED_BYTES: usize = 8 * 1024 * 1024;
/// What a remembered file takes beside its name.
const LINKED_BYTES: usize = 64;

pub struct TarRead {
    path: Vec<u8>,
    /// From the top down: the directory, and the length of `prefix` in its parent.
    levels: Vec<(Entries, usize)>,
    /// The name of the last directory in the archive with a trailing slash, or nothing.
    prefix: Vec<u8>,
    /// The file being sent, its remaining bytes, and the offset.
    file: Option<(Fd, u64, u64)>,
    /// Headers and padding that did not fit in the last buffer.
    pending: Vec<u8>,
    linked: HashMap<(u64, (u32, u32)), Vec<u8>>,
    linked_bytes: usize,
    ended: bool,
}

impl TarRead {
    /// For a directory, its members without itself; otherwise a single member.
    pub fn open(path: &[u8]) -> Result<TarRead, WireError> {
        let path = without_trailing_slashes(path);
        let found = fs::stat_at(CWD, path, true).map_err(|errno| file_error(path, errno))?;
        let mut tar = TarRead::empty(path);
        let started = match found.is_directory() {
            true => Entries::open(CWD, path, true).map(|entries| tar.levels.push((entries, 0))),
            false => tar.member(CWD, path, split(path).1.to_vec(), &found),
        };
        started.map(|_| tar).map_err(|errno| file_error(path, errno))
    }

    /// The file or directory itself under another name, with everything below it.
    pub fn open_as(path: &[u8], name: &[u8]) -> Result<TarRead, WireError> {
        let mut tar = TarRead::empty(path);
        let found = fs::stat_at(CWD, path, false);
        let started = found.and_then(|found| tar.member(CWD, path, name.to_vec(), &found));
        started.map(|_| tar).map_err(|errno| file_error(path, errno))
    }

    fn empty(path: &[u8]) -> TarRead {
        TarRead {
            path: path.to_vec(),
            levels: Vec::new(),
            prefix: Vec::new(),
            file: None,
            pending: Vec::new(),
            linked: HashMap::new(),
            linked_bytes: 0,
            ended: false,
        }
    }

    /// Fills the buffer; 0 at the end.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, WireError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            if !self.pending.is_empty() {
                let count = rest.len().min(self.pending.len());
                rest[..count].copy_from_slice(&self.pending[..count]);
                self.pending.drain(..count);
                filled += count;
            } else if self.file.is_some() {
                filled += self.content(rest).map_err(|errno| file_error(&self.path, errno))?;
            } else if self.ended {
                break;
            } else {
                self.next()?;
            }
        }
        Ok(filled)
    }

    fn content(&mut self, buffer: &mut [u8]) -> Result<usize, i32> {
        let (fd, left, at) = match &mut self.file {
            Some(file) => file,
            None => return Ok(0),
        };
        if *left == 0 {
            let size = *at;
            self.file = None;
            self.pending.resize(tar::padding(size), 0);
            return Ok(0);
        }
        let most = (buffer.len() as u64).min(*left) as usize;
        let count = match fs::read_at(fd.raw(), &mut buffer[..most], *at)? {
            // The file shrank. The header already states its size: zeros fill the gap.
            0 => {
                buffer[..most].fill(0);
                most
            }
            count => count,
        };
        *left -= count as u64;
        *at += count as u64;
        Ok(count)
    }

    fn next(&mut self) -> Result<(), WireError> {
        let (entries, outer) = match self.levels.last_mut() {
            Some(level) => level,
            None => {
                self.ended = true;
                self.pending.resize(2 * BLOCK, 0);
                return Ok(());
            }
        };
        let name = match entries.next_name().map_err(|errno| file_error(&join(&self.path, &self.prefix), errno))? {
            Some(name) => name,
            None => {
                self.prefix.truncate(*outer);
                self.levels.pop();
                return Ok(());
            }
        };
        let directory = entries.fd.raw();
        let path = [self.prefix.as_slice(), &name].concat();
        let whole = join(&self.path, &path);
        for _ in 0..MAX_LOOKS {
            let found = match fs::stat_at(directory, &name, false) {
                Ok(found) => found,
                // It vanished meanwhile.
                Err(sys::ENOENT) => return Ok(()),
                Err(errno) => return Err(file_error(&whole, errno)),
            };
            if found.is_directory() && self.levels.len() >= MAX_DEPTH {
                let message = format!("the tree below {:?} is deeper than {} levels", shown(&self.path), MAX_DEPTH);
                return Err(WireError::invalid(message));
            }
            match self.member(directory, &name, path.clone(), &found) {
                // It is something else now.
                Err(sys::ELOOP) | Err(sys::ENOTDIR) => {}
                Ok(()) | Err(sys::ENOENT) => return Ok(()),
                Err(errno) => return Err(file_error(&whole, errno)),
            }
        }
        Ok(())
    }

    fn member(&mut self, directory: c_int, name: &[u8], path: Vec<u8>, found: &Stat) -> Result<(), i32> {
        let mut member = Member {
            kind: tar::FILE,
            name: path,
            mode: found.mode,
            uid: found.uid,
            gid: found.gid,
            modified_s: found.modified_s,
            ..Member::default()
        };
        let identity = (found.inode, found.device);
        if found.links > 1 && !found.is_directory() {
            if let Some(first) = self.linked.get(&identity) {
                member.kind = tar::HARD_LINK;
                member.target = first.clone();
                tar::encode(&member, &mut self.pending);
                return Ok(());
            }
        }
        match found.kind() {
            fs::S_IFREG => {
                let flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | if directory == CWD { 0 } else { O_NOFOLLOW };
                let fd = fs::open_at(directory, name, flags, 0)?;
                let size = fs::stat_fd(fd.raw())?.size;
                member.size = size;
                self.file = Some((fd, size, 0));
            }
            fs::S_IFDIR => {
                member.kind = tar::DIRECTORY;
                member.name.push(b'/');
                let entries = Entries::open(directory, name, false)?;
                self.levels.push((entries, self.prefix.len()));
                self.prefix.clone_from(&member.name);
            }
            fs::S_IFLNK => {
                member.kind = tar::SYMLINK;
                member.target = fs::read_link(directory, name)?;
            }
            fs::S_IFIFO => member.kind = tar::FIFO,
            fs::S_IFCHR | fs::S_IFBLK => {
                member.kind = if found.kind() == fs::S_IFCHR { tar::CHARACTER } else { tar::BLOCK_DEVICE };
                member.device = found.special;
            }
            // A socket is meaningless without the process behind it.
            _ => return Ok(()),
        }
        let bytes = member.name.len() + LINKED_BYTES;
        if found.links > 1 && !found.is_directory() && self.linked_bytes + bytes <= MAX_LINKED_BYTES {
            self.linked_bytes += bytes;
            self.linked.insert(identity, member.name.clone());
        }
        tar::encode(&member, &mut self.pending);
        Ok(())
    }
}
