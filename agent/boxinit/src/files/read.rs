//! Reading a file, or a range of it.

use super::{file_error, shown, size_of, stat, CWD};
use crate::error::WireError;
use crate::json::Value;
use crate::sys::fs;
use crate::sys::io::{Fd, O_NOCTTY, O_NONBLOCK, O_RDONLY};
use crate::sys::EAGAIN;

/// The kernel's own files report a size of 0 or one page, whatever they contain. A file no larger than this is read at
/// once to find out.
const DOUBTFUL_BYTES: u64 = 4096;
const AT_ONCE_BYTES: usize = 64 * 1024;
/// A file of unknown size is read no further than this.
const MAX_UNKNOWN_BYTES: u64 = 64 * 1024 * 1024;

pub struct Read {
    fd: Fd,
    path: Vec<u8>,
    at: u64,
    end: u64,
    /// The content, if it was read at once.
    content: Option<Vec<u8>>,
    /// The size that the file reports is meaningless.
    unknown: bool,
}

impl Read {
    /// The call, and its OPENED.
    pub fn open(open: &Value, path: &[u8]) -> Result<(Read, Vec<u8>), WireError> {
        let failed = |errno| file_error(path, errno);
        let offset = size_of(open, "offset")?.unwrap_or(0);
        let length = size_of(open, "length")?;
        // Checked first: opening a device may have side effects, and opening a FIFO is visible to its other end.
        let irregular = || WireError::new("file_not_regular", format!("{:?} is not a regular file", shown(path)));
        if !fs::stat_at(CWD, path, true).map_err(failed)?.is_file() {
            return Err(irregular());
        }
        let fd = fs::open_at(CWD, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0).map_err(failed)?;
        let mut file = fs::stat_fd(fd.raw()).map_err(failed)?;
        if !file.is_file() {
            return Err(irregular());
        }
        let mut content = None;
        let mut unknown = false;
        if file.size <= DOUBTFUL_BYTES {
            let mut bytes = vec![0; AT_ONCE_BYTES];
            let (count, ended) = read_full(&fd, &mut bytes).map_err(failed)?;
            if ended {
                bytes.truncate(count);
                file.size = count as u64;
                content = Some(bytes);
            } else {
                unknown = true;
            }
        }
        let size = if unknown { MAX_UNKNOWN_BYTES } else { file.size };
        if offset > size {
            let message = format!("the file has {} bytes; the range begins at {}", file.size, offset);
            return Err(WireError::new("range_not_satisfiable", message));
        }
        let end = length.map_or(size, |length| size.min(offset.saturating_add(length)));
        let answer = stat::to_json(path, &file, None);
        Ok((Read { fd, path: path.to_vec(), at: offset, end, content, unknown }, answer))
    }

    /// Fills the buffer; 0 at the end.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, WireError> {
        let most = (buffer.len() as u64).min(self.end - self.at) as usize;
        if most == 0 {
            return Ok(0);
        }
        if let Some(content) = &self.content {
            let at = self.at as usize;
            buffer[..most].copy_from_slice(&content[at..at + most]);
            self.at += most as u64;
            return Ok(most);
        }
        match fs::read_at(self.fd.raw(), &mut buffer[..most], self.at) {
            Ok(0) if self.unknown => Ok(0),
            Err(EAGAIN) if self.unknown => Ok(0),
            Ok(0) => {
                let message = format!("{:?} became shorter while it was read", shown(&self.path));
                Err(WireError::new("file_failed", message))
            }
            Ok(count) => {
                self.at += count as u64;
                Ok(count)
            }
            Err(errno) => Err(file_error(&self.path, errno)),
        }
    }
}

/// Reads until the buffer is full or the file ends; returns whether it ended.
fn read_full(fd: &Fd, buffer: &mut [u8]) -> Result<(usize, bool), i32> {
    let mut count = 0;
    while count < buffer.len() {
        match fs::read_at(fd.raw(), &mut buffer[count..], count as u64) {
            Ok(0) | Err(EAGAIN) => return Ok((count, true)),
            Ok(more) => count += more,
            Err(errno) => return Err(errno),
        }
    }
    Ok((count, false))
}
