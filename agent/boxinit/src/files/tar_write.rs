//! Unpacks a tar below a directory as its bytes arrive.

use super::tar_format::{self as tar, BLOCK};
use super::tar_members::Members;
use super::{file_error, owners_of, shown, without_trailing_slashes};
use crate::error::WireError;
use crate::json::Value;
use crate::sys::io::{self, Fd};

/// The extended headers of one member contain at most two paths and some numbers.
const MAX_EXTENDED_BYTES: u64 = 1024 * 1024;
const NO_TAR: &str = "this is not a tar archive (a compressed one is none), or it is damaged";

enum State {
    /// Collecting a header.
    Header,
    /// Collecting an extended header of this kind.
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
    /// Past the end: anything that follows is padding.
    End,
}

pub struct TarWrite {
    members: Members,
    state: State,
    gathered: Vec<u8>,
    /// Values of extended headers for the next member, and for all that follow.
    next: Vec<(Vec<u8>, Vec<u8>)>,
    next_bytes: u64,
    global: Vec<(Vec<u8>, Vec<u8>)>,
    /// A header was read: the bytes are a tar.
    begun: bool,
}

impl TarWrite {
    pub fn open(open: &Value, path: &[u8]) -> Result<TarWrite, WireError> {
        let owner = owners_of(open)?.new;
        Ok(TarWrite::to(Members::open(without_trailing_slashes(path), owner)?))
    }

    /// Below a directory that exists.
    pub fn below(path: &[u8], owner: Option<(u32, u32)>) -> Result<TarWrite, WireError> {
        Ok(TarWrite::to(Members::below(path, owner)?))
    }

    fn to(members: Members) -> TarWrite {
        TarWrite {
            members,
            state: State::Header,
            gathered: Vec::new(),
            next: Vec::new(),
            next_bytes: 0,
            global: Vec::new(),
            begun: false,
        }
    }

    pub fn take(&mut self, mut bytes: &[u8]) -> Result<(), WireError> {
        while !bytes.is_empty() {
            let used = self.step(bytes)?;
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// All bytes have arrived. Returns the EVENT that reports it.
    pub fn finish(&mut self) -> Result<Vec<u8>, WireError> {
        let between = matches!(self.state, State::Header) && self.gathered.is_empty();
        if !between && !matches!(self.state, State::End) {
            let message = if self.begun { "the archive ends in the middle of a member" } else { NO_TAR };
            return Err(WireError::invalid(message));
        }
        self.members.finish()
    }

    /// Consumes some bytes and returns how many.
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
                    let count = io::write(fd.raw(), rest).map_err(|errno| file_error(self.members.path(), errno))?;
                    rest = &rest[count..];
                }
                *left -= used as u64;
                if *left == 0 {
                    let (fd, padding) = (std::mem::replace(fd, Fd::NONE), *padding);
                    self.skip(padding);
                    self.members.close_file(fd)?;
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
        match self.members.create(&member)? {
            Some(fd) if size > 0 => self.state = State::File { fd, left: size, padding },
            Some(fd) => self.members.close_file(fd)?,
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
}
