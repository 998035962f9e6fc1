//! Mounts, and hostnames.

use super::{c_char, c_int, c_long, c_ulong, c_void, check};
use std::ffi::CString;

pub const RDONLY: c_ulong = 1;
pub const NOSUID: c_ulong = 2;
pub const NODEV: c_ulong = 4;
pub const NOEXEC: c_ulong = 8;
pub const REMOUNT: c_ulong = 32;
pub const BIND: c_ulong = 4096;
pub const MOVE: c_ulong = 8192;
pub const REC: c_ulong = 16384;
pub const PRIVATE: c_ulong = 1 << 18;
pub const RELATIME: c_ulong = 1 << 21;
pub const STRICTATIME: c_ulong = 1 << 24;
const MNT_DETACH: c_int = 2;

#[cfg(target_arch = "x86_64")]
const SYS_PIVOT_ROOT: c_long = 155;
#[cfg(target_arch = "aarch64")]
const SYS_PIVOT_ROOT: c_long = 41;

extern "C" {
    #[link_name = "mount"]
    fn c_mount(
        source: *const c_char,
        target: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn umount2(target: *const c_char, flags: c_int) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn sethostname(name: *const c_char, len: usize) -> c_int;
    #[link_name = "chdir"]
    fn c_chdir(path: *const c_char) -> c_int;
}

fn text(bytes: &[u8]) -> Result<CString, i32> {
    CString::new(bytes).map_err(|_| super::EINVAL)
}

/// An empty `kind` or `data` is none.
pub fn mount(source: &[u8], target: &[u8], kind: &[u8], flags: c_ulong, data: &[u8]) -> Result<(), i32> {
    let (source, target) = (text(source)?, text(target)?);
    let (kind_text, data_text) = (text(kind)?, text(data)?);
    let or_null = |given: &[u8], text: &CString| if given.is_empty() { std::ptr::null() } else { text.as_ptr() };
    let (kind, data) = (or_null(kind, &kind_text), or_null(data, &data_text));
    // SAFETY: the strings, and `kind` and `data` where they are not null, are zero-terminated and live until the call returns.
    check(unsafe { c_mount(source.as_ptr(), target.as_ptr(), kind, flags, data.cast()) }).map(|_| ())
}

/// Takes the mount and everything below it out of the tree at once; open files stay usable.
pub fn detach(target: &[u8]) -> Result<(), i32> {
    let target = text(target)?;
    // SAFETY: the paths are zero-terminated and live until the call returns.
    check(unsafe { umount2(target.as_ptr(), MNT_DETACH) }).map(|_| ())
}

pub fn change_directory(path: &[u8]) -> Result<(), i32> {
    let path = text(path)?;
    // SAFETY: the paths are zero-terminated and live until the call returns.
    check(unsafe { c_chdir(path.as_ptr()) }).map(|_| ())
}

/// Makes `root`, a mount point, the root of this mount namespace (pivot_root), and drops the old root with everything
/// in it.
pub fn replace_root(root: &[u8]) -> Result<(), i32> {
    change_directory(root)?;
    let here = b".\0".as_ptr();
    // With both the same, the old root is mounted on top of the new one, which is where `.` leads now.
    // SAFETY: the paths are zero-terminated and live until the call returns.
    check(unsafe { syscall(SYS_PIVOT_ROOT, here, here) } as c_int)?;
    detach(b".")?;
    change_directory(b"/")
}

pub fn set_hostname(name: &[u8]) -> Result<(), i32> {
    // SAFETY: the kernel reads only the bytes of the slice.
    check(unsafe { sethostname(name.as_ptr().cast(), name.len()) }).map(|_| ())
}
