//! File change notification.

use super::io::Fd;
use super::{c_char, c_int, check};
use std::ffi::CString;

pub const MODIFY: u32 = 0x002;
pub const ATTRIB: u32 = 0x004;
pub const MOVED_FROM: u32 = 0x040;
pub const MOVED_TO: u32 = 0x080;
pub const CREATE: u32 = 0x100;
pub const DELETE: u32 = 0x200;
pub const DELETE_SELF: u32 = 0x400;
pub const MOVE_SELF: u32 = 0x800;
pub const OVERFLOW: u32 = 0x4000;
/// The kernel has dropped the watch.
pub const IGNORED: u32 = 0x8000;
pub const ONLY_DIRECTORY: u32 = 0x0100_0000;
pub const DONT_FOLLOW: u32 = 0x0200_0000;
/// The event is about a directory.
pub const IS_DIRECTORY: u32 = 0x4000_0000;

const NONBLOCK: c_int = 0o4000;
const CLOEXEC: c_int = 0o2000000;
const HEADER_BYTES: usize = 16;

extern "C" {
    fn inotify_init1(flags: c_int) -> c_int;
    fn inotify_add_watch(fd: c_int, path: *const c_char, mask: u32) -> c_int;
    fn inotify_rm_watch(fd: c_int, number: c_int) -> c_int;
}

pub fn open() -> Result<Fd, i32> {
    // SAFETY: no memory is passed, only integers.
    check(unsafe { inotify_init1(NONBLOCK | CLOEXEC) }).map(Fd::new)
}

/// Returns the watch descriptor, by which events refer to it.
pub fn watch(notifier: c_int, path: &[u8], mask: u32) -> Result<c_int, i32> {
    let path = CString::new(path).map_err(|_| super::EINVAL)?;
    // SAFETY: the paths are zero-terminated and live until the call returns.
    check(unsafe { inotify_add_watch(notifier, path.as_ptr(), mask) })
}

pub fn unwatch(notifier: c_int, number: c_int) {
    // SAFETY: no memory is passed, only integers.
    unsafe { inotify_rm_watch(notifier, number) };
}

pub struct Change<'a> {
    /// The watch descriptor.
    pub number: c_int,
    pub mask: u32,
    /// The entry in the watched directory, or nothing.
    pub name: &'a [u8],
}

/// Iterates over the changes returned by a read: number i32, mask u32, cookie u32, length u32, name.
pub struct Changes<'a>(pub &'a [u8]);

impl<'a> Iterator for Changes<'a> {
    type Item = Change<'a>;

    fn next(&mut self) -> Option<Change<'a>> {
        let bytes = self.0;
        if bytes.len() < HEADER_BYTES {
            return None;
        }
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let end = (HEADER_BYTES + word(12) as usize).min(bytes.len());
        let name = &bytes[HEADER_BYTES..end];
        let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        self.0 = &bytes[end..];
        Some(Change { number: word(0) as c_int, mask: word(4), name: &name[..length] })
    }
}
