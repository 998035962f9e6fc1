//! The C library: declarations by subject, with safe wrappers next to them. Every `unsafe` block says why it is sound.

#![allow(non_camel_case_types)]

pub mod entries;
pub mod fs;
pub mod inotify;
pub mod io;
pub mod limits;
pub mod mount;
pub mod net;
mod open;
pub mod poll;
pub mod privilege;
pub mod process;
pub mod secrecy;
pub mod signal;
mod trace;
pub mod tty;

pub use std::os::raw::{c_char, c_int, c_long, c_short, c_uint, c_ulong, c_void};

pub const EPERM: i32 = 1;
pub const ENOENT: i32 = 2;
pub const EIO: i32 = 5;
pub const E2BIG: i32 = 7;
pub const EAGAIN: i32 = 11;
pub const ENOMEM: i32 = 12;
pub const EACCES: i32 = 13;
pub const EBUSY: i32 = 16;
pub const EEXIST: i32 = 17;
pub const EXDEV: i32 = 18;
pub const ENOTDIR: i32 = 20;
pub const EISDIR: i32 = 21;
pub const EINVAL: i32 = 22;
pub const ENFILE: i32 = 23;
pub const EMFILE: i32 = 24;
pub const ETXTBSY: i32 = 26;
pub const EFBIG: i32 = 27;
pub const ENOSPC: i32 = 28;
pub const EROFS: i32 = 30;
pub const ENAMETOOLONG: i32 = 36;
pub const ENOTEMPTY: i32 = 39;
pub const ELOOP: i32 = 40;
pub const EINTR: i32 = 4;
pub const ENXIO: i32 = 6;
pub const EAFNOSUPPORT: i32 = 97;
pub const ECONNREFUSED: i32 = 111;
pub const EINPROGRESS: i32 = 115;
pub const EDQUOT: i32 = 122;

extern "C" {
    fn __errno_location() -> *mut c_int;
}

/// The calling thread's errno. Does not allocate, so a forked child may use it.
pub fn errno() -> i32 {
    // SAFETY: the C library returns a valid pointer to the thread's own errno.
    unsafe { *__errno_location() }
}

/// A C result as a Rust one: -1 becomes the errno.
pub fn check(result: c_int) -> Result<c_int, i32> {
    if result < 0 {
        Err(errno())
    } else {
        Ok(result)
    }
}

/// As `check`, for calls that return a length.
pub fn check_len(result: isize) -> Result<usize, i32> {
    if result < 0 {
        Err(errno())
    } else {
        Ok(result as usize)
    }
}

/// Repeats a call that was interrupted by a signal.
pub fn retry<T>(mut call: impl FnMut() -> Result<T, i32>) -> Result<T, i32> {
    loop {
        match call() {
            Err(EINTR) => continue,
            other => return other,
        }
    }
}

/// The system's text for an errno, for messages.
pub fn message(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text.to_lowercase(),
    }
}
