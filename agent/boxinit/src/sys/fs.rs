//! Files and directories, by descriptor and name.

use super::io::{O_NOFOLLOW, O_PATH};
use super::open::{c_path, ENOSYS};
use super::{c_char, c_int, c_long, c_uint, c_void, check, check_len, retry};

pub use super::open::{change_directory, open_at, open_beneath, AT_FDCWD};

const AT_SYMLINK_NOFOLLOW: c_int = 0x100;
const AT_EMPTY_PATH: c_int = 0x1000;
const AT_REMOVEDIR: c_int = 0x200;
const STATX_BASIC: c_uint = 0x7ff;
const STATX_MOUNT_ROOT: u64 = 0x2000;
const RENAME_NOREPLACE: c_uint = 1;

pub const S_IFMT: u32 = 0o170000;
pub const S_IFIFO: u32 = 0o010000;
pub const S_IFCHR: u32 = 0o020000;
pub const S_IFDIR: u32 = 0o040000;
pub const S_IFBLK: u32 = 0o060000;
pub const S_IFREG: u32 = 0o100000;
pub const S_IFLNK: u32 = 0o120000;
pub const S_IFSOCK: u32 = 0o140000;

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct StatxTime {
    seconds: i64,
    nanos: u32,
    pad: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Statx {
    mask: u32,
    block_size: u32,
    attributes: u64,
    links: u32,
    uid: u32,
    gid: u32,
    mode: u16,
    pad: u16,
    inode: u64,
    size: u64,
    blocks: u64,
    attributes_mask: u64,
    accessed: StatxTime,
    born: StatxTime,
    changed: StatxTime,
    modified: StatxTime,
    rdev_major: u32,
    rdev_minor: u32,
    dev_major: u32,
    dev_minor: u32,
    spare: [u64; 14],
}

#[repr(C)]
struct Timespec {
    seconds: c_long,
    nanos: c_long,
}

extern "C" {
    fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: c_uint, out: *mut Statx) -> c_int;
    fn mkdirat(dir: c_int, path: *const c_char, mode: c_uint) -> c_int;
    fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int;
    fn renameat2(from: c_int, old: *const c_char, to: c_int, new: *const c_char, flags: c_uint) -> c_int;
    fn symlinkat(target: *const c_char, dir: c_int, path: *const c_char) -> c_int;
    fn linkat(from: c_int, old: *const c_char, to: c_int, new: *const c_char, flags: c_int) -> c_int;
    fn readlinkat(dir: c_int, path: *const c_char, out: *mut c_char, len: usize) -> isize;
    fn mknodat(dir: c_int, path: *const c_char, mode: c_uint, dev: u64) -> c_int;
    fn fchmodat(dir: c_int, path: *const c_char, mode: c_uint, flags: c_int) -> c_int;
    #[link_name = "fchmod"]
    fn c_fchmod(fd: c_int, mode: c_uint) -> c_int;
    fn fchownat(dir: c_int, path: *const c_char, uid: c_uint, gid: c_uint, flags: c_int) -> c_int;
    #[link_name = "fchown"]
    fn c_fchown(fd: c_int, uid: c_uint, gid: c_uint) -> c_int;
    fn futimens(fd: c_int, times: *const Timespec) -> c_int;
    fn utimensat(dir: c_int, path: *const c_char, times: *const Timespec, flags: c_int) -> c_int;
    #[link_name = "pread"]
    fn c_pread(fd: c_int, buf: *mut c_void, len: usize, offset: i64) -> isize;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub mode: u32,
    pub size: u64,
    pub uid: u32,
    pub gid: u32,
    pub links: u32,
    pub inode: u64,
    /// The device that contains it.
    pub device: (u32, u32),
    /// The device that it represents.
    pub special: (u32, u32),
    pub modified_s: i64,
    pub modified_ns: u32,
    /// Something is mounted here. Kernels before 5.8 do not report it.
    pub mounted: bool,
}

impl Stat {
    pub fn kind(&self) -> u32 {
        self.mode & S_IFMT
    }

    pub fn is_directory(&self) -> bool {
        self.kind() == S_IFDIR
    }

    pub fn is_file(&self) -> bool {
        self.kind() == S_IFREG
    }

    pub fn is_link(&self) -> bool {
        self.kind() == S_IFLNK
    }
}

fn stat_with(dir: c_int, path: &[u8], flags: c_int) -> Result<Stat, i32> {
    let path = c_path(path)?;
    let mut raw = Statx::default();
    // SAFETY: the path is zero-terminated, and `raw` has the layout of the kernel's struct.
    check(unsafe { statx(dir, path.as_ptr(), flags, STATX_BASIC, &mut raw) })?;
    Ok(Stat {
        mode: raw.mode.into(),
        size: raw.size,
        uid: raw.uid,
        gid: raw.gid,
        links: raw.links,
        inode: raw.inode,
        device: (raw.dev_major, raw.dev_minor),
        special: (raw.rdev_major, raw.rdev_minor),
        modified_s: raw.modified.seconds,
        modified_ns: raw.modified.nanos,
        mounted: raw.attributes & raw.attributes_mask & STATX_MOUNT_ROOT != 0,
    })
}

pub fn stat_at(dir: c_int, path: &[u8], follow: bool) -> Result<Stat, i32> {
    if dir == AT_FDCWD {
        let fd = open_at(dir, path, O_PATH | if follow { 0 } else { O_NOFOLLOW }, 0)?;
        return stat_fd(fd.raw());
    }
    stat_with(dir, path, if follow { 0 } else { AT_SYMLINK_NOFOLLOW })
}

pub fn stat_fd(fd: c_int) -> Result<Stat, i32> {
    stat_with(fd, b"", AT_EMPTY_PATH)
}

pub fn make_directory(dir: c_int, path: &[u8], mode: u32) -> Result<(), i32> {
    let path = c_path(path)?;
    // SAFETY: the paths are zero-terminated and live until the call returns.
    check(unsafe { mkdirat(dir, path.as_ptr(), mode) }).map(|_| ())
}

pub fn unlink(dir: c_int, path: &[u8]) -> Result<(), i32> {
    let path = c_path(path)?;
    // SAFETY: the paths are zero-terminated and live until the call returns.
    check(unsafe { unlinkat(dir, path.as_ptr(), 0) }).map(|_| ())
}

pub fn remove_directory(dir: c_int, path: &[u8]) -> Result<(), i32> {
    let path = c_path(path)?;
    // SAFETY: the paths are zero-terminated and live until the call returns.
    check(unsafe { unlinkat(dir, path.as_ptr(), AT_REMOVEDIR) }).map(|_| ())
}

/// Without `replace`, an existing target is EEXIST.
pub fn rename(from: (c_int, &[u8]), to: (c_int, &[u8]), replace: bool) -> Result<(), i32> {
    let (old, new) = (c_path(from.1)?, c_path(to.1)?);
    let flags = if replace { 0 } else { RENAME_NOREPLACE };
    // SAFETY: the paths are zero-terminated and live until the call returns.
    let result = check(unsafe { renameat2(from.0, old.as_ptr(), to.0, new.as_ptr(), flags) });
    match result {
        Ok(_) => Ok(()),
        // A file system that does not support the flag.
        Err(super::EINVAL) | Err(ENOSYS) if !replace => {
            if stat_at(to.0, to.1, false).is_ok() {
                return Err(super::EEXIST);
            }
            // SAFETY: the paths are zero-terminated and live until the call returns.
            check(unsafe { renameat2(from.0, old.as_ptr(), to.0, new.as_ptr(), 0) }).map(|_| ())
        }
        Err(errno) => Err(errno),
    }
}

pub fn make_link(target: &[u8], dir: c_int, path: &[u8]) -> Result<(), i32> {
    let (target, path) = (c_path(target)?, c_path(path)?);
    // SAFETY: the paths are zero-terminated and live until the call returns.
    check(unsafe { symlinkat(target.as_ptr(), dir, path.as_ptr()) }).map(|_| ())
}

pub fn hard_link(from: (c_int, &[u8]), to: (c_int, &[u8])) -> Result<(), i32> {
    let (old, new) = (c_path(from.1)?, c_path(to.1)?);
    // SAFETY: the paths are zero-terminated and live until the call returns.
    check(unsafe { linkat(from.0, old.as_ptr(), to.0, new.as_ptr(), 0) }).map(|_| ())
}

pub fn make_node(dir: c_int, path: &[u8], mode: u32, device: (u32, u32)) -> Result<(), i32> {
    let path = c_path(path)?;
    let (major, minor) = (u64::from(device.0), u64::from(device.1));
    let device = (major & 0xfff) << 8 | (major & !0xfff) << 32 | (minor & 0xff) | (minor & !0xff) << 12;
    // SAFETY: the paths are zero-terminated and live until the call returns.
    check(unsafe { mknodat(dir, path.as_ptr(), mode, device) }).map(|_| ())
}

pub fn read_link(dir: c_int, path: &[u8]) -> Result<Vec<u8>, i32> {
    let path = c_path(path)?;
    let mut out = vec![0u8; 4096];
    // SAFETY: the path is zero-terminated, and the kernel writes at most as many bytes as `out` has.
    let len = check_len(unsafe { readlinkat(dir, path.as_ptr(), out.as_mut_ptr().cast(), out.len()) })?;
    out.truncate(len);
    Ok(out)
}

pub fn set_mode(fd: c_int, mode: u32) -> Result<(), i32> {
    // SAFETY: no memory is passed, only integers.
    check(unsafe { c_fchmod(fd, mode) }).map(|_| ())
}

/// Follows symbolic links, as `open_at` does.
pub fn set_mode_at(dir: c_int, path: &[u8], mode: u32) -> Result<(), i32> {
    // SAFETY: the paths are zero-terminated and live until the call returns.
    through(dir, path, |at, path| unsafe { fchmodat(at, path, mode, 0) })
}

/// Changes what `open_at` finds, through its /proc path: the kernel changes nothing through a descriptor opened with
/// O_PATH.
fn through(dir: c_int, path: &[u8], change: impl Fn(c_int, *const c_char) -> c_int) -> Result<(), i32> {
    let found = open_at(dir, path, O_PATH, 0)?;
    let by_number = c_path(format!("/proc/self/fd/{}", found.raw()).as_bytes())?;
    match check(change(AT_FDCWD, by_number.as_ptr())) {
        Err(super::ENOENT) => {}
        result => return result.map(|_| ()),
    }
    // Without /proc there are no such links either.
    let path = c_path(path)?;
    check(change(dir, path.as_ptr())).map(|_| ())
}

pub fn set_owner(fd: c_int, uid: u32, gid: u32) -> Result<(), i32> {
    // SAFETY: no memory is passed, only integers.
    check(unsafe { c_fchown(fd, uid, gid) }).map(|_| ())
}

pub fn set_owner_at(dir: c_int, path: &[u8], (uid, gid): (u32, u32), follow: bool) -> Result<(), i32> {
    if follow {
        // SAFETY: the paths are zero-terminated and live until the call returns.
        return through(dir, path, |at, path| unsafe { fchownat(at, path, uid, gid, 0) });
    }
    let path = c_path(path)?;
    // SAFETY: the paths are zero-terminated and live until the call returns.
    check(unsafe { fchownat(dir, path.as_ptr(), uid, gid, AT_SYMLINK_NOFOLLOW) }).map(|_| ())
}

/// For `utimensat` and `futimens`: the access time is unchanged.
fn only_modified(seconds: i64, nanos: u32) -> [Timespec; 2] {
    const OMIT: c_long = 0x3fff_fffe;
    [Timespec { seconds: 0, nanos: OMIT }, Timespec { seconds: seconds as c_long, nanos: nanos.into() }]
}

/// Never through a symbolic link.
pub fn set_modified_at(dir: c_int, path: &[u8], seconds: i64) {
    if let Ok(path) = c_path(path) {
        let times = only_modified(seconds, 0);
        // SAFETY: the path is zero-terminated, and `times` has the two entries that the call reads.
        unsafe { utimensat(dir, path.as_ptr(), times.as_ptr(), AT_SYMLINK_NOFOLLOW) };
    }
}

pub fn set_modified(fd: c_int, (seconds, nanos): (i64, u32)) -> Result<(), i32> {
    let times = only_modified(seconds, nanos);
    // SAFETY: `times` has the two entries that the call reads.
    check(unsafe { futimens(fd, times.as_ptr()) }).map(|_| ())
}

pub fn read_at(fd: c_int, buf: &mut [u8], offset: u64) -> Result<usize, i32> {
    // SAFETY: the kernel writes at most as many bytes as the buffer has.
    retry(|| check_len(unsafe { c_pread(fd, buf.as_mut_ptr().cast(), buf.len(), offset as i64) }))
}
