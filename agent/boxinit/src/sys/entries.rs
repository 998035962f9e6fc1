//! Reads directories entry by entry.

use super::fs::open_at;
use super::io::{Fd, O_DIRECTORY, O_NOFOLLOW};
use super::{c_int, c_long, check_len};

#[cfg(target_arch = "x86_64")]
const SYS_GETDENTS64: c_long = 217;
#[cfg(target_arch = "aarch64")]
const SYS_GETDENTS64: c_long = 61;

extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// The next entries of a directory, in the kernel's format; 0 at the end.
pub fn read_entries(fd: c_int, buf: &mut [u8]) -> Result<usize, i32> {
    // SAFETY: the kernel writes at most as many bytes as the buffer has.
    let got = unsafe { syscall(SYS_GETDENTS64, fd as c_long, buf.as_mut_ptr(), buf.len()) };
    check_len(got as isize)
}

/// Reads a directory entry by entry. Leaves out `.` and `..`.
pub struct Entries {
    pub fd: Fd,
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
}

const ENTRIES_BYTES: usize = 16 * 1024;

impl Entries {
    pub fn open(dir: c_int, path: &[u8], follow: bool) -> Result<Entries, i32> {
        let flags = O_DIRECTORY | if follow { 0 } else { O_NOFOLLOW };
        Ok(Entries { fd: open_at(dir, path, flags, 0)?, buffer: vec![0; ENTRIES_BYTES], at: 0, filled: 0 })
    }

    /// The next name, or None at the end.
    pub fn next_name(&mut self) -> Result<Option<Vec<u8>>, i32> {
        Ok(self.next_borrowed()?.map(<[u8]>::to_vec))
    }

    /// As `next_name`, borrowed from the buffer.
    pub fn next_borrowed(&mut self) -> Result<Option<&[u8]>, i32> {
        let name = loop {
            if self.at >= self.filled {
                self.filled = read_entries(self.fd.raw(), &mut self.buffer)?;
                self.at = 0;
                if self.filled == 0 {
                    return Ok(None);
                }
            }
            // ino u64, off i64, reclen u16, type u8, name.
            let entry = &self.buffer[self.at..self.filled];
            let length = u16::from_ne_bytes([entry[16], entry[17]]) as usize;
            let name = &entry[19..length];
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            let own = &name[..end] == b"." || &name[..end] == b"..";
            let start = self.at + 19;
            self.at += length;
            if !own {
                break start..start + end;
            }
        };
        Ok(Some(&self.buffer[name]))
    }

    /// Starts over: entries removed meanwhile are not seen again.
    pub fn rewind(&mut self) -> Result<(), i32> {
        self.fd = open_at(self.fd.raw(), b".", O_DIRECTORY, 0)?;
        self.at = 0;
        self.filled = 0;
        Ok(())
    }
}
