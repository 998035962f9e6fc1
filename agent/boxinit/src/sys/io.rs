//! Reading, writing and owning descriptors.

use super::{c_int, c_uint, c_ulong, c_void, check, check_len, retry};

pub const O_RDONLY: c_int = 0;
pub const O_WRONLY: c_int = 1;
pub const O_RDWR: c_int = 2;
pub const O_CREAT: c_int = 0o100;
pub const O_EXCL: c_int = 0o200;
pub const O_NOCTTY: c_int = 0o400;
pub const O_TRUNC: c_int = 0o1000;
pub const O_APPEND: c_int = 0o2000;
pub const O_NONBLOCK: c_int = 0o4000;
pub const O_CLOEXEC: c_int = 0o2000000;
pub const O_PATH: c_int = 0o10000000;
#[cfg(target_arch = "x86_64")]
pub const O_DIRECTORY: c_int = 0o200000;
#[cfg(target_arch = "x86_64")]
pub const O_NOFOLLOW: c_int = 0o400000;
#[cfg(target_arch = "aarch64")]
pub const O_DIRECTORY: c_int = 0o40000;
#[cfg(target_arch = "aarch64")]
pub const O_NOFOLLOW: c_int = 0o100000;

const F_GETFL: c_int = 3;
const F_SETFL: c_int = 4;
const F_SETPIPE_SZ: c_int = 1031;
const F_ADD_SEALS: c_int = 1033;
/// SEAL, SHRINK, GROW and WRITE.
const ALL_SEALS: c_int = 0xf;
const MFD_CLOEXEC: c_uint = 1;
const MFD_ALLOW_SEALING: c_uint = 2;
const FIONREAD: c_ulong = 0x541b;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct IoSlice {
    base: *const c_void,
    len: usize,
}

impl IoSlice {
    pub fn new(bytes: &[u8]) -> IoSlice {
        IoSlice { base: bytes.as_ptr().cast(), len: bytes.len() }
    }
}

extern "C" {
    #[link_name = "read"]
    fn c_read(fd: c_int, buf: *mut c_void, len: usize) -> isize;
    #[link_name = "write"]
    fn c_write(fd: c_int, buf: *const c_void, len: usize) -> isize;
    fn writev(fd: c_int, iov: *const IoSlice, count: c_int) -> isize;
    #[link_name = "close"]
    fn c_close(fd: c_int) -> c_int;
    fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn fchown(fd: c_int, uid: c_uint, gid: c_uint) -> c_int;
    fn fcntl(fd: c_int, cmd: c_int, ...) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn memfd_create(name: *const super::c_char, flags: c_uint) -> c_int;
}

/// A descriptor that is closed when dropped. -1 is "none".
#[derive(Debug)]
pub struct Fd(c_int);

impl Fd {
    pub const NONE: Fd = Fd(-1);

    /// Takes ownership of `raw`.
    pub fn new(raw: c_int) -> Fd {
        Fd(raw)
    }

    pub fn raw(&self) -> c_int {
        self.0
    }

    pub fn is_open(&self) -> bool {
        self.0 >= 0
    }

    pub fn close(&mut self) {
        if self.0 >= 0 {
            // SAFETY: the descriptor is owned by this value, which is being dropped.
            unsafe { c_close(self.0) };
            self.0 = -1;
        }
    }

    /// Moves the descriptor out and leaves none.
    pub fn take(&mut self) -> Fd {
        std::mem::replace(self, Fd(-1))
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        self.close();
    }
}

pub fn read(fd: c_int, buf: &mut [u8]) -> Result<usize, i32> {
    // SAFETY: the kernel writes at most as many bytes as the buffer has.
    retry(|| check_len(unsafe { c_read(fd, buf.as_mut_ptr().cast(), buf.len()) }))
}

pub fn write(fd: c_int, buf: &[u8]) -> Result<usize, i32> {
    // SAFETY: the kernel reads only the bytes of the slice.
    retry(|| check_len(unsafe { c_write(fd, buf.as_ptr().cast(), buf.len()) }))
}

pub fn write_vectored(fd: c_int, slices: &[IoSlice]) -> Result<usize, i32> {
    // SAFETY: the slices have the layout of iovec and live until the call returns.
    retry(|| check_len(unsafe { writev(fd, slices.as_ptr(), slices.len() as c_int) }))
}

/// (read end, write end), both close-on-exec and blocking.
pub fn pipe() -> Result<(Fd, Fd), i32> {
    let mut fds = [-1, -1];
    // SAFETY: the kernel writes two descriptors, and `fds` has room for two.
    check(unsafe { pipe2(fds.as_mut_ptr(), O_CLOEXEC) })?;
    Ok((Fd::new(fds[0]), Fd::new(fds[1])))
}

/// Makes one end non-blocking. `mode` is its access mode, so that the flags need not be queried.
pub fn set_nonblocking(fd: c_int, mode: c_int) {
    // SAFETY: no memory is passed, only integers.
    unsafe { fcntl(fd, F_SETFL, mode | O_NONBLOCK) };
}

pub fn set_blocking(fd: c_int) {
    // SAFETY: no memory is passed, only integers.
    unsafe {
        let flags = fcntl(fd, F_GETFL);
        fcntl(fd, F_SETFL, flags & !O_NONBLOCK);
    }
}

/// Lets a user reopen a pipe or a terminal by name (`/dev/stdout`).
pub fn give_to(fd: c_int, uid: u32) {
    // SAFETY: no memory is passed, only integers.
    unsafe { fchown(fd, uid, u32::MAX) };
}

/// Enlarges a pipe if the system allows it. Only speed depends on it.
pub fn enlarge_pipe(fd: c_int) {
    // SAFETY: no memory is passed, only integers.
    unsafe {
        if fcntl(fd, F_SETPIPE_SZ, 1024 * 1024 as c_int) < 0 {
            fcntl(fd, F_SETPIPE_SZ, 256 * 1024 as c_int);
        }
    }
}

/// Bytes that a read would return now.
pub fn readable_bytes(fd: c_int) -> usize {
    let mut count: c_int = 0;
    // SAFETY: the pointer is to a live value of the type that the kernel fills in.
    if unsafe { ioctl(fd, FIONREAD, &mut count as *mut c_int) } < 0 {
        return 0;
    }
    count.max(0) as usize
}

/// An anonymous file in memory.
pub fn memory_file() -> Result<Fd, i32> {
    let name = b"script\0";
    // SAFETY: the name is zero-terminated.
    let fd = check(unsafe { memfd_create(name.as_ptr().cast(), MFD_CLOEXEC | MFD_ALLOW_SEALING) })?;
    Ok(Fd::new(fd))
}

/// From here on nobody can change the file.
pub fn seal(fd: c_int) {
    // SAFETY: no memory is passed, only integers.
    unsafe { fcntl(fd, F_ADD_SEALS, ALL_SEALS) };
}

const F_DUPFD_CLOEXEC: c_int = 1030;

/// Another descriptor of the same open file description.
pub fn duplicate(fd: c_int) -> Result<Fd, i32> {
    // SAFETY: no memory is passed, only integers.
    check(unsafe { fcntl(fd, F_DUPFD_CLOEXEC, 3 as c_int) }).map(Fd::new)
}

/// The same open file description under this number, which is replaced if in use; programs inherit it.
pub fn duplicate_to(fd: c_int, number: c_int) -> Result<(), i32> {
    // SAFETY: no memory is passed, only integers.
    check(unsafe { dup2(fd, number) }).map(|_| ())
}

/// Bytes handled at a time.
pub const CHUNK: usize = 64 * 1024;
