//! Opens paths without following links that lead out of where the path may lead.

use super::io::{Fd, O_CLOEXEC, O_CREAT, O_DIRECTORY, O_NOFOLLOW, O_PATH};
use super::{c_char, c_int, c_long, c_uint, check, retry};
use std::ffi::CString;
use std::sync::atomic::{AtomicU8, Ordering};

pub const AT_FDCWD: c_int = -100;
const RESOLVE_NO_MAGICLINKS: u64 = 0x02;
const RESOLVE_IN_ROOT: u64 = 0x10;
const SYS_OPENAT2: c_long = 437;
pub(super) const ENOSYS: i32 = 38;

#[repr(C)]
struct OpenHow {
    flags: u64,
    mode: u64,
    resolve: u64,
}

extern "C" {
    fn openat(dir: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn fchdir(fd: c_int) -> c_int;
    fn chdir(path: *const c_char) -> c_int;
}

pub(super) fn c_path(path: &[u8]) -> Result<CString, i32> {
    CString::new(path).map_err(|_| super::EINVAL)
}

/// Always close-on-exec. An absolute path follows none of /proc's magic links to what a process has open: they lead to
/// places that have no path, and this process holds some that are nobody else's business.
pub fn open_at(dir: c_int, path: &[u8], flags: c_int, mode: u32) -> Result<Fd, i32> {
    let path = c_path(path)?;
    if dir == AT_FDCWD && has_openat2() {
        // SAFETY: the paths are zero-terminated and live until the call returns.
        return retry(|| check(unsafe { open_without_magic(path.as_ptr(), flags | O_CLOEXEC, mode) })).map(Fd::new);
    }
    // SAFETY: the paths are zero-terminated and live until the call returns.
    retry(|| check(unsafe { openat(dir, path.as_ptr(), flags | O_CLOEXEC, mode as c_uint) })).map(Fd::new)
}

/// Whether the kernel has the call, and filters allow it. Determined once: retrying a single refused path by other
/// means would follow whatever was put there meanwhile. Does not allocate.
fn has_openat2() -> bool {
    const UNKNOWN: u8 = 0;
    const YES: u8 = 1;
    const NO: u8 = 2;
    static FOUND: AtomicU8 = AtomicU8::new(UNKNOWN);
    if FOUND.load(Ordering::Relaxed) == UNKNOWN {
        // SAFETY: the path is zero-terminated.
        let root = check(unsafe { open_without_magic(b"/\0".as_ptr().cast(), O_PATH | O_CLOEXEC, 0) }).map(Fd::new);
        match root {
            Ok(_) => FOUND.store(YES, Ordering::Relaxed),
            Err(ENOSYS) | Err(super::EPERM) => FOUND.store(NO, Ordering::Relaxed),
            // Perhaps no descriptors are left.
            Err(_) => return true,
        }
    }
    FOUND.load(Ordering::Relaxed) == YES
}

/// Does not allocate. -1 with `errno`.
unsafe fn open_without_magic(path: *const c_char, flags: c_int, mode: u32) -> c_int {
    // Without O_CREAT the mode must be 0.
    let mode = if flags & O_CREAT != 0 { u64::from(mode) } else { 0 };
    let how = OpenHow { flags: flags as u64, mode, resolve: RESOLVE_NO_MAGICLINKS };
    syscall(SYS_OPENAT2, AT_FDCWD as c_long, path, &how as *const OpenHow, std::mem::size_of::<OpenHow>()) as c_int
}

/// As `chdir`, through no link of /proc to what a process has open. For the child between clone and execve too.
///
/// # Safety
/// `path` must be a C string.
pub unsafe fn change_directory(path: *const c_char) -> Result<(), i32> {
    let result = match has_openat2() {
        true => match open_without_magic(path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0) {
            fd if fd >= 0 => fchdir(fd),
            failed => failed,
        },
        false => chdir(path),
    };
    check(result).map(|_| ())
}

/// Opens a path below a directory as if that were the root: neither `..` nor a symbolic link leads out of it.
pub fn open_beneath(dir: c_int, path: &[u8], flags: c_int) -> Result<Fd, i32> {
    if !has_openat2() {
        // Follows no symbolic link at all.
        return open_stepwise(dir, path, flags);
    }
    let text = c_path(path)?;
    let how = OpenHow { flags: (flags | O_CLOEXEC) as u64, mode: 0, resolve: RESOLVE_IN_ROOT };
    let size = std::mem::size_of::<OpenHow>();
    // SAFETY: the path is zero-terminated, and `how` is as large as `size` says.
    let opened = unsafe { syscall(SYS_OPENAT2, dir as c_long, text.as_ptr(), &how as *const OpenHow, size) };
    check(opened as c_int).map(Fd::new)
}

fn open_stepwise(dir: c_int, path: &[u8], flags: c_int) -> Result<Fd, i32> {
    let mut at = open_at(dir, b".", O_PATH | O_DIRECTORY, 0)?;
    let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").peekable();
    if parts.peek().is_none() {
        return open_at(at.raw(), b".", flags, 0);
    }
    while let Some(part) = parts.next() {
        if part == b".." {
            return Err(super::EXDEV);
        }
        let last = parts.peek().is_none();
        let wanted = if last { flags } else { O_PATH | O_DIRECTORY };
        at = open_at(at.raw(), part, wanted | O_NOFOLLOW, 0)?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::privilege::{self, Instruction};

    /// Makes the call fail with EPERM in this thread, as it may for a path that nobody may open this way.
    fn refuse_openat2() {
        let instruction = |code, jump_false, value| Instruction { code, jump_true: 0, jump_false, value };
        let (load, is, answer) = (0x20, 0x15, 0x06);
        let (refused, allowed) = (0x0005_0000 | crate::sys::EPERM as u32, 0x7fff_0000);
        privilege::set_no_new_privileges().expect("no new privileges");
        privilege::add_filter(&[
            instruction(load, 0, 0),
            instruction(is, 1, SYS_OPENAT2 as u32),
            instruction(answer, 0, refused),
            instruction(answer, 0, allowed),
        ])
        .expect("a filter");
    }

    #[test]
    fn a_path_refused_once_is_opened_in_no_other_way() {
        if !has_openat2() {
            return;
        }
        let refused = std::thread::spawn(|| {
            let file = std::fs::File::open("/dev/null").expect("a file");
            let magic = format!("/proc/self/fd/{}", std::os::unix::io::AsRawFd::as_raw_fd(&file));
            refuse_openat2();
            let opened = open_at(AT_FDCWD, magic.as_bytes(), O_PATH, 0).map(|_| ());
            let beneath = open_beneath(AT_FDCWD, b"/dev/null", O_PATH).map(|_| ());
            let path = c_path(b"/proc/self/cwd").expect("a path");
            // SAFETY: the path is zero-terminated.
            let changed = unsafe { change_directory(path.as_ptr()) };
            [opened, beneath, changed]
        });
        assert_eq!(refused.join().expect("a thread"), [Err(crate::sys::EPERM); 3]);
    }
}
