//! Terminals.

use super::io::{Fd, O_CLOEXEC, O_NOCTTY, O_NONBLOCK, O_RDWR};
use super::{c_char, c_int, c_uint, c_ulong, check, retry};

const TIOCSCTTY: c_ulong = 0x540e;
const TIOCGPGRP: c_ulong = 0x540f;
const TIOCSWINSZ: c_ulong = 0x5414;
const TIOCSPTLCK: c_ulong = 0x4004_5431;
const TIOCGPTPEER: c_ulong = 0x5441;
const TIOCGPTN: c_ulong = 0x8004_5430;

#[repr(C)]
struct WindowSize {
    rows: u16,
    cols: u16,
    pixels: [u16; 2],
}

extern "C" {
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
}

/// (master, slave) of a new terminal. The master is non-blocking.
pub fn open_pair() -> Result<(Fd, Fd), i32> {
    let flags = O_RDWR | O_NOCTTY | O_CLOEXEC;
    let path = b"/dev/ptmx\0";
    // SAFETY: the path is zero-terminated.
    let master = Fd::new(retry(|| check(unsafe { open(path.as_ptr().cast(), flags | O_NONBLOCK) }))?);
    let unlocked: c_int = 0;
    // SAFETY: the pointer is to a live value of the type that the kernel reads.
    check(unsafe { ioctl(master.raw(), TIOCSPTLCK, &unlocked as *const c_int) })?;
    // SAFETY: no memory is passed, only integers.
    let peer = unsafe { ioctl(master.raw(), TIOCGPTPEER, flags) };
    if peer >= 0 {
        return Ok((master, Fd::new(peer)));
    }
    let mut number: c_uint = 0;
    // SAFETY: the pointer is to a live value of the type that the kernel fills in.
    check(unsafe { ioctl(master.raw(), TIOCGPTN, &mut number as *mut c_uint) })?;
    let path = format!("/dev/pts/{}\0", number);
    // SAFETY: the path is zero-terminated.
    let slave = Fd::new(retry(|| check(unsafe { open(path.as_ptr().cast(), flags) }))?);
    Ok((master, slave))
}

/// The limit of concurrent terminals, if there is one for us alone.
pub fn most() -> Option<u32> {
    bound(&std::fs::read_to_string("/proc/self/mounts").ok()?)
}

fn bound(mounts: &str) -> Option<u32> {
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("devpts"))?;
    line.split(' ').nth(3)?.split(',').find_map(|option| option.strip_prefix("max=")?.parse().ok())
}

pub fn set_size(fd: c_int, cols: u16, rows: u16) {
    let size = WindowSize { rows, cols, pixels: [0; 2] };
    // SAFETY: the pointer is to a live value of the type that the kernel reads.
    unsafe { ioctl(fd, TIOCSWINSZ, &size as *const WindowSize) };
}

/// The foreground process group, which receives the terminal's key signals.
pub fn foreground_group(master: c_int) -> Option<c_int> {
    let mut group: c_int = 0;
    // SAFETY: the pointer is to a live value of the type that the kernel fills in.
    let result = unsafe { ioctl(master, TIOCGPGRP, &mut group as *mut c_int) };
    (result == 0 && group > 1).then_some(group)
}

/// Makes descriptor 0 the controlling terminal. Usable in a forked child.
pub fn take_control() {
    // SAFETY: no memory is passed, only integers.
    unsafe { ioctl(0, TIOCSCTTY, 0 as c_ulong) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_a_mount_option() {
        let mounts = "proc /proc proc rw 0 0\ndevpts /dev/pts devpts rw,nosuid,mode=620,ptmxmode=666,max=256 0 0\n";
        assert_eq!(bound(mounts), Some(256));
        assert_eq!(bound("devpts /dev/pts devpts rw,nosuid,mode=620 0 0\n"), None);
        assert_eq!(bound(""), None);
    }
}
