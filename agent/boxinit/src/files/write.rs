//! Writes a file, under a temporary name until it is complete.

use super::{change, file_error, mode_of, modified_of, owners_of, shown, size_of, split, stat, CWD};
use crate::error::WireError;
use crate::json::Value;
use crate::sys::fs::{self, Stat};
use crate::sys::io::{
    self, Fd, O_APPEND, O_CREAT, O_EXCL, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDWR, O_TRUNC, O_WRONLY,
};
use crate::sys::{self, c_int};
use std::time::{SystemTime, UNIX_EPOCH};

const FILE_MODE: u32 = 0o644;
const MAX_LINKS: usize = 40;

pub struct Write {
    /// Its destination, with symbolic links resolved.
    path: Vec<u8>,
    /// The path as given by the caller.
    asked: Vec<u8>,
    temporary: Option<Temporary>,
    file: Fd,
    size: Option<u64>,
    got: u64,
    /// Set on the file at the end.
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
    /// Seconds and nanoseconds.
    modified: Option<(i64, u32)>,
}

/// A file under a unique name. Removed unless it was moved into place.
pub struct Temporary {
    directory: Fd,
    pub name: Vec<u8>,
}

impl Temporary {
    /// Next to `path`, for reading and writing.
    pub fn create(directory: Fd) -> Result<(Temporary, Fd), i32> {
        let name = unused_name();
        let flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW;
        let file = fs::open_at(directory.raw(), &name, flags, 0o600)?;
        Ok((Temporary { directory, name }, file))
    }

    pub fn directory(&self) -> c_int {
        self.directory.raw()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::unlink(self.directory.raw(), &self.name);
    }
}

/// A name that collides with nothing.
pub fn unused_name() -> Vec<u8> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    format!(".millibox-{:x}-{:x}", nanos, NEXT.fetch_add(1, Ordering::Relaxed)).into_bytes()
}

/// Whether a name is one that boxinit gives to something incomplete or half removed.
pub fn is_temporary(name: &[u8]) -> bool {
    let rest = match name.strip_prefix(b".millibox-") {
        Some(rest) => rest,
        None => return false,
    };
    let number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    match rest.strip_prefix(b"removed-") {
        Some(digits) => number(digits),
        None => {
            let mut parts = rest.split(|byte| *byte == b'-');
            let both = [parts.next(), parts.next()].iter().all(|part| part.map_or(false, number));
            both && parts.next().is_none()
        }
    }
}

/// Follows symbolic links at the end of a path, so that their target is written and not the link replaced.
fn resolve(path: &[u8]) -> Result<Vec<u8>, i32> {
    let mut path = path.to_vec();
    for _ in 0..MAX_LINKS {
        match fs::stat_at(CWD, &path, false) {
            Ok(found) if found.is_link() => {
                let target = fs::read_link(CWD, &path)?;
                path = match target.first() {
                    Some(b'/') => target,
                    _ => [split(&path).0, b"/", &target].concat(),
                };
            }
            _ => return Ok(path),
        }
    }
    Err(sys::ELOOP)
}

impl Write {
    pub fn open(open: &Value, asked: &[u8]) -> Result<Write, WireError> {
        let failed = |errno| file_error(asked, errno);
        let (mode, owners, size) = (mode_of(open)?, owners_of(open)?, size_of(open, "size")?);
        let modified = modified_of(open)?;
        let path = resolve(asked).map_err(failed)?;
        let (parent, name) = split(&path);
        if matches!(name, b"." | b"..") || name.is_empty() {
            return Err(failed(sys::EISDIR));
        }
        if name.len() > 255 {
            return Err(failed(sys::ENAMETOOLONG));
        }
        let before = match fs::stat_at(CWD, &path, false) {
            Ok(found) if found.is_file() => Some(found),
            Ok(_) => {
                return Err(WireError::new("file_not_regular", format!("{:?} is not a regular file", shown(asked))))
            }
            Err(sys::ENOENT) => None,
            Err(errno) => return Err(failed(errno)),
        };
        change::make_parents(parent, owners.new)?;
        let mut write = Write {
            asked: asked.to_vec(),
            temporary: None,
            file: Fd::NONE,
            size,
            got: 0,
            mode: mode.or(before.map(|file| file.mode & 0o7777)).or(Some(FILE_MODE)),
            owner: owners.requested.or(before.map(|file| (file.uid, file.gid))).or(owners.new),
            modified,
            path,
        };
        let opened = match (open.flag("append"), before) {
            (true, before) => write.open_to_append(before, mode, owners.requested),
            (false, before) => write.open_temporary(before.is_some()),
        };
        opened.map_err(failed)?;
        Ok(write)
    }

    fn open_to_append(
        &mut self,
        before: Option<Stat>,
        mode: Option<u32>,
        owner: Option<(u32, u32)>,
    ) -> Result<(), i32> {
        let flags = O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW;
        self.file = fs::open_at(CWD, &self.path, flags, FILE_MODE)?;
        if before.is_some() {
            self.mode = mode;
            self.owner = owner;
        }
        Ok(())
    }

    fn open_temporary(&mut self, exists: bool) -> Result<(), i32> {
        let directory = fs::open_at(CWD, split(&self.path).0, io::O_DIRECTORY, 0)?;
        match Temporary::create(directory) {
            Ok((temporary, file)) => {
                self.temporary = Some(temporary);
                self.file = file;
                Ok(())
            }
            // The kernel's own files are written in place: nothing can be created next to them.
            Err(errno) if exists && !matches!(errno, sys::ENOSPC | sys::EDQUOT) => {
                let flags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_TRUNC;
                self.file = fs::open_at(CWD, &self.path, flags, 0)?;
                self.mode = None;
                self.owner = None;
                self.modified = None;
                Ok(())
            }
            Err(errno) => Err(errno),
        }
    }

    pub fn take(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.got += bytes.len() as u64;
        if matches!(self.size, Some(size) if self.got > size) {
            return Err(WireError::invalid("more bytes arrived than were announced"));
        }
        write_all(&self.file, bytes).map_err(|errno| file_error(&self.asked, errno))
    }

    /// The bytes are complete: the file is moved into place. Returns the EVENT that reports it.
    pub fn finish(&mut self) -> Result<Vec<u8>, WireError> {
        if let Some(size) = self.size {
            if self.got != size {
                return Err(WireError::invalid(format!("{} bytes were announced and {} came", size, self.got)));
            }
        }
        self.settle().map_err(|errno| file_error(&self.asked, errno))
    }

    fn settle(&mut self) -> Result<Vec<u8>, i32> {
        if let Some((uid, gid)) = self.owner {
            fs::set_owner(self.file.raw(), uid, gid)?;
        }
        if let Some(mode) = self.mode {
            fs::set_mode(self.file.raw(), mode)?;
        }
        if let Some(modified) = self.modified {
            fs::set_modified(self.file.raw(), modified)?;
        }
        let mut found = fs::stat_fd(self.file.raw())?;
        if let Some(temporary) = &self.temporary {
            let directory = temporary.directory();
            match fs::rename((directory, &temporary.name), (directory, split(&self.path).1), true) {
                Ok(()) => {}
                // A mount point, such as a container's /etc/hosts, cannot be replaced, only written.
                Err(sys::EBUSY) => found = copy_into(&self.file, &self.path, self.modified)?,
                Err(errno) => return Err(errno),
            }
        }
        Ok(stat::done_event(&self.asked, &found))
    }
}

fn write_all(file: &Fd, bytes: &[u8]) -> Result<(), i32> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = io::write(file.raw(), rest)?;
        rest = &rest[count..];
    }
    Ok(())
}

fn copy_into(from: &Fd, path: &[u8], modified: Option<(i64, u32)>) -> Result<Stat, i32> {
    let to = fs::open_at(CWD, path, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_NONBLOCK, 0)?;
    let mut buffer = vec![0; io::CHUNK];
    let mut at = 0;
    loop {
        match fs::read_at(from.raw(), &mut buffer, at)? {
            0 => {
                if let Some(modified) = modified {
                    fs::set_modified(to.raw(), modified)?;
                }
                return fs::stat_fd(to.raw());
            }
            count => {
                write_all(&to, &buffer[..count])?;
                at += count as u64;
            }
        }
    }
}
