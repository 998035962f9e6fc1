//! Puts each member of a tar in its place below a directory. None escapes the directory, whatever its name and whatever
//! symbolic links are in its way: paths are resolved as if the directory were the root.

use super::paths::MAX_PATH_BYTES;
use super::tar_format::{self as tar, Member};
use super::write::Temporary;
use super::{change, file_error, shown, split, stat, CWD};
use crate::error::WireError;
use crate::sys::fs;
use crate::sys::io::{Fd, O_DIRECTORY, O_NOFOLLOW, O_PATH};
use crate::sys::{self, c_int};

pub struct Members {
    path: Vec<u8>,
    base: Fd,
    /// The directory was created for this archive, whose entry for it then sets its attributes.
    made: bool,
    owner: Option<(u32, u32)>,
    /// The file being written, which has a temporary name until it is complete: that name, its own, and its header.
    current: Option<(Temporary, Vec<u8>, Member)>,
    /// Newly created directories that contain the current member, from the top down, with their modification times,
    /// which are set once their content is complete. As many as the member is deep, however many members there are.
    inside: Vec<(Vec<u8>, i64)>,
}

impl Members {
    /// Below a directory that is created if missing.
    pub fn open(path: &[u8], owner: Option<(u32, u32)>) -> Result<Members, WireError> {
        let made = fs::stat_at(CWD, path, true).is_err();
        change::make_parents(path, owner)?;
        Ok(Members { made, ..Members::below(path, owner)? })
    }

    /// Below a directory that exists.
    pub fn below(path: &[u8], owner: Option<(u32, u32)>) -> Result<Members, WireError> {
        let base = fs::open_at(CWD, path, O_PATH | O_DIRECTORY, 0).map_err(|errno| file_error(path, errno))?;
        Ok(Members { path: path.to_vec(), base, made: false, owner, current: None, inside: Vec::new() })
    }

    /// The directory that they are put in.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// All members are complete. Returns the EVENT that reports it.
    pub fn finish(&mut self) -> Result<Vec<u8>, WireError> {
        self.leave(None);
        let found = fs::stat_fd(self.base.raw()).map_err(|errno| file_error(&self.path, errno))?;
        Ok(stat::done_event(&self.path, &found))
    }

    /// Opens the directory that contains a member, and creates missing ones.
    fn parent(&self, path: &[u8]) -> Result<Fd, i32> {
        let (directory, _) = split(path);
        let flags = O_PATH | O_DIRECTORY;
        match fs::open_beneath(self.base.raw(), directory, flags) {
            Err(sys::ENOENT) => {}
            other => return other,
        }
        let above = self.parent(directory)?;
        let (_, name) = split(directory);
        match self.make_directory(&above, name, 0o755, self.owner) {
            Ok(()) | Err(sys::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        fs::open_beneath(self.base.raw(), directory, flags)
    }

    fn make_directory(&self, above: &Fd, name: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Result<(), i32> {
        match fs::make_directory(above.raw(), name, mode) {
            Ok(()) => {
                let fd = fs::open_at(above.raw(), name, O_DIRECTORY | O_NOFOLLOW, 0)?;
                if let Some((uid, gid)) = owner {
                    fs::set_owner(fd.raw(), uid, gid)?;
                }
                fs::set_mode(fd.raw(), mode)
            }
            Err(errno) => Err(errno),
        }
    }

    /// Creates a member. Returns a file's descriptor if bytes are to follow.
    pub fn create(&mut self, member: &Member) -> Result<Option<Fd>, WireError> {
        let path = match clean(&member.name)? {
            Some(path) => path,
            None => return self.set_base(member).map(|_| None).map_err(|errno| file_error(&self.path, errno)),
        };
        self.leave(Some(&path));
        let failed = |errno| file_error(&member.name, errno);
        let above = self.parent(&path).map_err(failed)?;
        let name = split(&path).1.to_vec();
        let owner = self.owner.unwrap_or((member.uid, member.gid));
        let at = above.raw();
        let made = match member.kind {
            tar::DIRECTORY => {
                let exists = || fs::open_beneath(self.base.raw(), &path, O_PATH | O_DIRECTORY).is_ok();
                if exists() {
                    return Ok(None);
                }
                match replacing(at, &name, || self.make_directory(&above, &name, member.mode, Some(owner))) {
                    Err(sys::EEXIST) if exists() => {}
                    made => {
                        made.map_err(failed)?;
                        self.inside.push((path, member.modified_s));
                    }
                }
                return Ok(None);
            }
            tar::FILE => {
                let (temporary, file) = Temporary::create(above).map_err(failed)?;
                self.current = Some((temporary, name, Member { uid: owner.0, gid: owner.1, ..member.clone() }));
                return Ok(Some(file));
            }
            tar::HARD_LINK => {
                let target = clean(&member.target)?.ok_or_else(|| failed(sys::EPERM))?;
                // A file that was packed twice.
                if target == path {
                    return Ok(None);
                }
                let failed = |errno| file_error(&member.target, errno);
                let from = self.parent(&target).map_err(failed)?;
                let result = replacing(at, &name, || fs::hard_link((from.raw(), split(&target).1), (at, &name)));
                return result.map(|_| None).map_err(failed);
            }
            tar::SYMLINK => replacing(at, &name, || fs::make_link(&member.target, at, &name)),
            tar::FIFO => replacing(at, &name, || fs::make_node(at, &name, fs::S_IFIFO | member.mode, (0, 0))),
            tar::CHARACTER | tar::BLOCK_DEVICE => {
                let kind = if member.kind == tar::CHARACTER { fs::S_IFCHR } else { fs::S_IFBLK };
                replacing(at, &name, || fs::make_node(at, &name, kind | member.mode, member.device))
            }
            _ => {
                let message = format!("{:?} is of a kind that cannot be unpacked", shown(&member.name));
                return Err(WireError::invalid(message));
            }
        };
        made.map_err(failed)?;
        fs::set_owner_at(at, &name, owner, false).map_err(failed)?;
        fs::set_modified_at(at, &name, member.modified_s);
        Ok(None)
    }

    /// An entry for the base directory itself. If it existed before, it is left unchanged, as /tmp should be.
    fn set_base(&mut self, member: &Member) -> Result<(), i32> {
        if !self.made || member.kind != tar::DIRECTORY {
            return Ok(());
        }
        self.made = false;
        let (uid, gid) = self.owner.unwrap_or((member.uid, member.gid));
        let directory = fs::open_at(self.base.raw(), b".", O_DIRECTORY, 0)?;
        fs::set_owner(directory.raw(), uid, gid)?;
        fs::set_mode(directory.raw(), member.mode)?;
        self.inside.insert(0, (Vec::new(), member.modified_s));
        Ok(())
    }

    /// Moves on to a member, or to the end: directories that do not contain it are complete, and their times are set.
    /// An archive in an unusual order may later add to one of them, which changes its time again.
    fn leave(&mut self, next: Option<&[u8]>) {
        while let Some((path, modified_s)) = self.inside.last() {
            let holds = |next: &[u8]| next.strip_prefix(path.as_slice()).map_or(false, |rest| rest.starts_with(b"/"));
            if next.map_or(false, holds) {
                return;
            }
            let flags = O_PATH | O_DIRECTORY | O_NOFOLLOW;
            if let Ok(directory) = fs::open_beneath(self.base.raw(), &[b".", path.as_slice()].concat(), flags) {
                fs::set_modified_at(directory.raw(), b".", *modified_s);
            }
            self.inside.pop();
        }
    }

    /// The file's bytes are complete: it is moved into place.
    pub fn close_file(&mut self, file: Fd) -> Result<(), WireError> {
        let (temporary, name, member) = match self.current.take() {
            Some(current) => current,
            None => return Ok(()),
        };
        let settle = || -> Result<(), i32> {
            let (at, temporary) = (temporary.directory(), temporary.name.as_slice());
            fs::set_owner(file.raw(), member.uid, member.gid)?;
            fs::set_mode(file.raw(), member.mode)?;
            fs::set_modified_at(at, temporary, member.modified_s);
            fs::rename((at, temporary), (at, &name), true)
        };
        let settled = settle().map_err(|errno| if errno == sys::EISDIR { sys::EEXIST } else { errno });
        settled.map_err(|errno| file_error(&member.name, errno))
    }
}

/// Creates something where something else may exist. A directory is not replaced.
fn replacing<T>(directory: c_int, name: &[u8], make: impl Fn() -> Result<T, i32>) -> Result<T, i32> {
    match make() {
        Err(sys::EEXIST) => {
            fs::unlink(directory, name).map_err(|errno| if errno == sys::EISDIR { sys::EEXIST } else { errno })?;
            make()
        }
        other => other,
    }
}

/// A member's path with a slash before each component, or None for the base directory itself.
fn clean(name: &[u8]) -> Result<Option<Vec<u8>>, WireError> {
    if name.len() > MAX_PATH_BYTES {
        return Err(WireError::invalid(format!("a member's name is longer than {} bytes", MAX_PATH_BYTES)));
    }
    let mut path = Vec::with_capacity(name.len() + 1);
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                let message = format!("the member {:?} would leave the directory", shown(name));
                return Err(WireError::invalid(message));
            }
            part if part.contains(&0) => return Err(WireError::invalid("a member's name contains a zero byte")),
            part => {
                path.push(b'/');
                path.extend_from_slice(part);
            }
        }
    }
    Ok((!path.is_empty()).then_some(path))
}
