//! A tar unpacked below a directory, as its bytes come. No member leaves the directory, whatever it is called and whatever
//! symbolic links lie in its way: paths are resolved as if the directory were the root.

use super::tar_format::{self as tar, Member, BLOCK};
use super::write::Temporary;
use super::{change, file_error, owners_of, shown, split, stat, without_trailing_slashes, CWD};
use crate::error::WireError;
use crate::json::Value;
use crate::sys::fs;
use crate::sys::io::{self, Fd, O_DIRECTORY, O_NOFOLLOW, O_PATH};
use crate::sys::{self, c_int};

/// The extended headers of one member hold at most two paths and some numbers.
const MAX_EXTENDED_BYTES: u64 = 1024 * 1024;
const NO_TAR: &str = "this is not a tar archive (a compressed one is none), or it is damaged";

enum State {
    /// Gathering a header.
    Header,
    /// Gathering an extended header of this kind.
    Extended {
        kind: u8,
        left: u64,
        padding: u64,
    },
    /// Bytes of a file.
    File {
        fd: Fd,
        left: u64,
        padding: u64,
    },
    Skip(u64),
    /// Behind the end: whatever comes is padding.
    End,
}

pub struct TarWrite {
    path: Vec<u8>,
    base: Fd,
    /// The directory was made for this archive, whose entry for it then says what it is like.
    made: bool,
    owner: Option<(u32, u32)>,
    state: State,
    gathered: Vec<u8>,
    /// What an extended header said of the next member, and of all that follow.
    next: Vec<(Vec<u8>, Vec<u8>)>,
    next_bytes: u64,
    global: Vec<(Vec<u8>, Vec<u8>)>,
    /// The file being written, which has another name until it is whole: its own, and its header.
    current: Option<(Temporary, Vec<u8>, Member)>,
    /// The directories made that hold what comes now, from the top down, and when they were changed: to be set when all
    /// that is in them is there. So many as the members are deep, however many there are.
    inside: Vec<(Vec<u8>, i64)>,
    /// A header was read: the bytes are a tar.
    begun: bool,
}

impl TarWrite {
    pub fn open(open: &Value, path: &[u8]) -> Result<TarWrite, WireError> {
        let owner = owners_of(open)?.new;
        let path = without_trailing_slashes(path);
        let made = fs::stat_at(CWD, path, true).is_err();
        change::make_parents(path, owner)?;
        Ok(TarWrite { made, ..TarWrite::below(path, owner)? })
    }

    /// Below a directory that exists.
    pub fn below(path: &[u8], owner: Option<(u32, u32)>) -> Result<TarWrite, WireError> {
        let base = fs::open_at(CWD, path, O_PATH | O_DIRECTORY, 0).map_err(|errno| file_error(path, errno))?;
        Ok(TarWrite {
            path: path.to_vec(),
            base,
            made: false,
            owner,
            state: State::Header,
            gathered: Vec::new(),
            next: Vec::new(),
            next_bytes: 0,
            global: Vec::new(),
            current: None,
            inside: Vec::new(),
            begun: false,
        })
    }

    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), WireError> {
        while !bytes.is_empty() {
            let used = self.step(bytes)?;
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// All bytes are here. Returns the EVENT that says so.
    pub fn finish(&mut self) -> Result<Vec<u8>, WireError> {
        let between = matches!(self.state, State::Header) && self.gathered.is_empty();
        if !between && !matches!(self.state, State::End) {
            let message = if self.begun { "the archive ends in the middle of a member" } else { NO_TAR };
            return Err(WireError::invalid(message));
        }
        self.leave(None);
        let found = fs::stat_fd(self.base.raw()).map_err(|errno| file_error(&self.path, errno))?;
        Ok(stat::done_event(&self.path, &found))
    }

    /// Takes some bytes and returns how many.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, WireError> {
        let available = bytes.len() as u64;
        match &mut self.state {
            State::End => Ok(bytes.len()),
            State::Skip(left) => {
                let used = available.min(*left);
                *left -= used;
                if *left == 0 {
                    self.state = State::Header;
                }
                Ok(used as usize)
            }
            State::Header => {
                let used = bytes.len().min(BLOCK - self.gathered.len());
                self.gathered.extend_from_slice(&bytes[..used]);
                if self.gathered.len() == BLOCK {
                    self.on_header()?;
                }
                Ok(used)
            }
            State::Extended { kind, left, padding } => {
                let used = available.min(*left);
                self.gathered.extend_from_slice(&bytes[..used as usize]);
                *left -= used;
                if *left == 0 {
                    let (kind, padding) = (*kind, *padding);
                    self.on_extended(kind)?;
                    self.skip(padding);
                }
                Ok(used as usize)
            }
            State::File { fd, left, padding } => {
                let used = available.min(*left) as usize;
                let mut rest = &bytes[..used];
                while !rest.is_empty() {
                    let count = io::write(fd.raw(), rest).map_err(|errno| file_error(&self.path, errno))?;
                    rest = &rest[count..];
                }
                *left -= used as u64;
                if *left == 0 {
                    let (fd, padding) = (std::mem::replace(fd, Fd::NONE), *padding);
                    self.close_file(fd)?;
                    self.skip(padding);
                }
                Ok(used)
            }
        }
    }

    fn skip(&mut self, bytes: u64) {
        self.state = if bytes == 0 { State::Header } else { State::Skip(bytes) };
    }

    fn on_header(&mut self) -> Result<(), WireError> {
        let mut block = [0; BLOCK];
        block.copy_from_slice(&self.gathered);
        self.gathered.clear();
        if block.iter().all(|byte| *byte == 0) {
            self.state = State::End;
            return Ok(());
        }
        let damaged = || WireError::invalid(NO_TAR);
        let mut member = tar::decode(&block).ok_or_else(damaged)?;
        self.begun = true;
        if matches!(member.kind, tar::PAX | tar::PAX_GLOBAL | tar::GNU_NAME | tar::GNU_TARGET) {
            self.next_bytes = self.next_bytes.saturating_add(member.size);
            if self.next_bytes > MAX_EXTENDED_BYTES {
                return Err(WireError::invalid("an extended header of the archive is too long"));
            }
            let padding = tar::padding(member.size) as u64;
            if member.size > 0 {
                self.state = State::Extended { kind: member.kind, left: member.size, padding };
            }
            return Ok(());
        }
        self.next_bytes = 0;
        let records = std::mem::take(&mut self.next);
        if tar::is_sparse(&self.global) || tar::is_sparse(&records) {
            let message = format!("{:?} is packed as a sparse file, which cannot be unpacked", shown(&member.name));
            return Err(WireError::invalid(message));
        }
        tar::apply(&mut member, &self.global).ok_or_else(damaged)?;
        tar::apply(&mut member, &records).ok_or_else(damaged)?;
        let size = if member.kind == tar::FILE || member.kind > b'6' { member.size } else { 0 };
        let padding = tar::padding(size) as u64;
        match self.create(&member)? {
            Some(fd) if size > 0 => self.state = State::File { fd, left: size, padding },
            Some(fd) => self.close_file(fd)?,
            None => self.skip(size.saturating_add(padding)),
        }
        Ok(())
    }

    fn on_extended(&mut self, kind: u8) -> Result<(), WireError> {
        let data = std::mem::take(&mut self.gathered);
        let text = || data.iter().take_while(|byte| **byte != 0).copied().collect::<Vec<u8>>();
        match kind {
            tar::GNU_NAME => self.next.push((b"path".to_vec(), text())),
            tar::GNU_TARGET => self.next.push((b"linkpath".to_vec(), text())),
            _ => {
                let damaged = || WireError::invalid("an extended header of the archive is damaged");
                let found = tar::records(&data).ok_or_else(damaged)?;
                if kind == tar::PAX {
                    self.next.extend(found);
                } else {
                    self.global = found;
                }
            }
        }
        Ok(())
    }

    /// Opens the directory that holds a member, making it and those above where they are missing.
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

    /// Makes a member. A file's descriptor, where bytes are to follow.
    fn create(&mut self, member: &Member) -> Result<Option<Fd>, WireError> {
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

    /// An entry for the directory itself. One that was there before stays as it was, as /tmp should.
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

    /// Goes on to a member, or to the end: the directories that do not hold it are complete and get their time. What is
    /// put into one of them later, by an archive in an order of its own, changes it again.
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

    /// The file's bytes are all here: it takes its place.
    fn close_file(&mut self, file: Fd) -> Result<(), WireError> {
        self.state = State::Header;
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

/// Makes something where something else may be. A directory is not replaced.
fn replacing<T>(directory: c_int, name: &[u8], make: impl Fn() -> Result<T, i32>) -> Result<T, i32> {
    match make() {
        Err(sys::EEXIST) => {
            fs::unlink(directory, name).map_err(|errno| if errno == sys::EISDIR { sys::EEXIST } else { errno })?;
            make()
        }
        other => other,
    }
}

/// A member's path with a slash before each part, or None for the directory itself.
fn clean(name: &[u8]) -> Result<Option<Vec<u8>>, WireError> {
    let mut path = Vec::with_capacity(name.len() + 1);
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                let message = format!("the member {:?} would leave the directory", shown(name));
                return Err(WireError::invalid(message));
            }
            part if part.contains(&0) => return Err(WireError::invalid("a member's name has a zero byte")),
            part => {
                path.push(b'/');
                path.extend_from_slice(part);
            }
        }
    }
    Ok((!path.is_empty()).then_some(path))
}
