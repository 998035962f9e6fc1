//! Creating and reaping processes.

use super::{c_char, c_int, c_long, c_uint, c_ulong, c_void, check, trace};
use std::arch::asm;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const CLONE_VM: c_int = 0x100;
const CLONE_VFORK: c_int = 0x4000;
const CLONE_CHILD_CLEARTID: c_int = 0x20_0000;
pub const NEW_MOUNTS: u64 = 0x0002_0000;
pub const NEW_CONTROL_GROUP: u64 = 0x0200_0000;
pub const NEW_HOSTNAME: u64 = 0x0400_0000;
pub const NEW_IPC: u64 = 0x0800_0000;
pub const NEW_PROCESS_IDS: u64 = 0x2000_0000;
pub const NEW_NETWORK: u64 = 0x4000_0000;
const SIGCHLD: c_int = 17;
#[cfg(target_arch = "x86_64")]
const SYS_CLONE: c_long = 56;
#[cfg(target_arch = "aarch64")]
const SYS_CLONE: c_long = 220;
const FUTEX_WAIT: usize = 0;
/// The low byte of a wait status of a process that is stopped rather than dead.
const STOPPED: c_int = 0x7f;
const WNOHANG: c_int = 1;
const WSTOPPED: c_int = 2;
const WNOWAIT: c_int = 0x0100_0000;
const P_PID: c_int = 1;
const PR_SET_CHILD_SUBREAPER: c_int = 36;

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Timeval {
    pub seconds: c_long,
    pub micros: c_long,
}

impl Timeval {
    pub fn as_ms(&self) -> f64 {
        self.seconds as f64 * 1e3 + self.micros as f64 / 1e3
    }
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Usage {
    pub user: Timeval,
    pub system: Timeval,
    pub max_rss_kb: c_long,
    rest: [c_long; 13],
}

/// The kernel's `siginfo_t`, of which only the signal number is used.
#[repr(C, align(8))]
struct SignalInfo([c_int; 32]);

#[repr(C)]
struct Timespec {
    seconds: i64,
    nanos: i64,
}

extern "C" {
    fn clone(
        child: extern "C" fn(*mut c_void) -> c_int,
        stack: *mut c_void,
        flags: c_int,
        arg: *mut c_void,
        ...
    ) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    #[link_name = "unshare"]
    fn c_unshare(flags: c_int) -> c_int;
    fn wait4(pid: c_int, status: *mut c_int, options: c_int, usage: *mut Usage) -> c_int;
    fn waitid(kind: c_int, id: c_uint, info: *mut SignalInfo, options: c_int) -> c_int;
    #[link_name = "getpid"]
    fn c_getpid() -> c_int;
    fn prctl(option: c_int, ...) -> c_int;

    // For the child between clone and execve: none of these allocates.
    pub fn setsid() -> c_int;
    pub fn dup2(from: c_int, to: c_int) -> c_int;
    pub fn setgroups(count: usize, groups: *const u32) -> c_int;
    pub fn setgid(gid: u32) -> c_int;
    pub fn setuid(uid: u32) -> c_int;
    pub fn execve(path: *const c_char, argv: *const *const c_char, envp: *const *const c_char) -> c_int;
    pub fn _exit(code: c_int) -> !;
}

pub fn getpid() -> c_int {
    // SAFETY: no memory is passed, only integers.
    unsafe { c_getpid() }
}

/// Runs `child(arg)` on `stack_top` in our memory while we stand still, until it executes a program or exits.
///
/// # Safety
/// `child` may only do what is allowed between vfork and execve, and `arg` must be what it expects.
pub unsafe fn vfork_on(
    stack_top: *mut c_void,
    child: extern "C" fn(*mut c_void) -> c_int,
    arg: *mut c_void,
) -> Result<c_int, i32> {
    check(clone(child, stack_top, CLONE_VM | CLONE_VFORK | SIGCHLD, arg))
}

/// Runs `child(arg)` on `stack_top` in our memory, beside us. The kernel clears `runs` when it executes a program or ends.
/// Not every kernel does: gVisor clears it at the end alone.
///
/// # Safety
/// As for `vfork_on`; and until `runs` is cleared neither it nor the stack may go, and no call of ours may fail, since
/// errno is one for both.
pub unsafe fn clone_on(
    stack_top: *mut c_void,
    child: extern "C" fn(*mut c_void) -> c_int,
    arg: *mut c_void,
    runs: &AtomicU32,
) -> Result<c_int, i32> {
    let none = std::ptr::null_mut::<c_void>();
    let cleared = runs as *const AtomicU32;
    check(clone(child, stack_top, CLONE_VM | CLONE_CHILD_CLEARTID | SIGCHLD, arg, none, none, cleared))
}

/// Sleeps until the kernel has cleared `word`, but no longer than `limit`. True if it was cleared. Leaves errno alone.
pub fn wait_cleared(word: &AtomicU32, limit: Duration) -> bool {
    let limit = Timespec { seconds: limit.as_secs() as i64, nanos: limit.subsec_nanos().into() };
    let value = word.load(Ordering::Acquire);
    if value != 0 {
        // SAFETY: `word` and `limit` are live until the call returns.
        unsafe { futex_wait(word, value, &limit) };
    }
    word.load(Ordering::Acquire) == 0
}

#[cfg(target_arch = "x86_64")]
unsafe fn futex_wait(word: *const AtomicU32, value: u32, limit: *const Timespec) {
    const FUTEX: usize = 202;
    asm!("syscall", inlateout("rax") FUTEX => _, in("rdi") word, in("rsi") FUTEX_WAIT, in("rdx") value as usize,
        in("r10") limit, lateout("rcx") _, lateout("r11") _, options(nostack));
}

#[cfg(target_arch = "aarch64")]
unsafe fn futex_wait(word: *const AtomicU32, value: u32, limit: *const Timespec) {
    const FUTEX: usize = 98;
    asm!("svc 0", in("x8") FUTEX, inlateout("x0") word => _, in("x1") FUTEX_WAIT, in("x2") value as usize,
        in("x3") limit, options(nostack));
}

/// Whether a child is stopped. It remains waitable.
pub fn is_stopped(pid: c_int) -> bool {
    let mut info = SignalInfo([0; 32]);
    // SAFETY: the pointer is to a live value of the type that the kernel fills in.
    let result = unsafe { waitid(P_PID, pid as c_uint, &mut info, WSTOPPED | WNOHANG | WNOWAIT) };
    result == 0 && info.0[0] != 0
}

/// As `fork`, into new namespaces. Only for a single-threaded process: nothing but the calling thread is cloned.
pub fn clone_with(namespaces: u64) -> Result<c_int, i32> {
    let flags = (namespaces | SIGCHLD as u64) as c_long;
    // SAFETY: as fork: the child gets a copy of the memory, and the process has one thread.
    check(unsafe { syscall(SYS_CLONE, flags, 0 as c_long, 0 as c_long, 0 as c_long, 0 as c_long) } as c_int)
}

/// Moves this process into new namespaces.
pub fn unshare(namespaces: u64) -> Result<(), i32> {
    // SAFETY: no memory is passed, only integers.
    check(unsafe { c_unshare(namespaces as c_int) }).map(|_| ())
}

pub struct Reaped {
    pub pid: c_int,
    pub status: c_int,
    pub usage: Usage,
}

impl Reaped {
    /// 0-255, if it exited by itself.
    pub fn code(&self) -> Option<i32> {
        (self.status & 0x7f == 0).then_some((self.status >> 8) & 0xff)
    }

    pub fn signal(&self) -> Option<i32> {
        let signal = self.status & 0x7f;
        (signal != 0 && signal != STOPPED).then_some(signal)
    }
}

/// The next child, ours or adopted, that is dead, or that was stopped because we traced it.
pub fn reap() -> Option<Reaped> {
    reap_if_dead(-1)
}

/// The same of one child.
pub fn reap_if_dead(pid: c_int) -> Option<Reaped> {
    let mut status = 0;
    let mut usage = Usage::default();
    // SAFETY: the pointers are to live values of the types that the kernel fills in.
    let pid = unsafe { wait4(pid, &mut status, WNOHANG, &mut usage) };
    if pid > 0 && status & 0xff == STOPPED {
        trace::let_go(pid, (status >> 8) & 0xff);
    }
    (pid > 0).then_some(Reaped { pid, status, usage })
}

/// Waits for one child.
pub fn wait_for(pid: c_int) -> Option<Reaped> {
    let mut status = 0;
    let mut usage = Usage::default();
    loop {
        // SAFETY: the pointer is to a live value of the type that the kernel fills in.
        let got = unsafe { wait4(pid, &mut status, 0, &mut usage) };
        if got == pid {
            return Some(Reaped { pid, status, usage });
        }
        if got < 0 && super::errno() != super::EINTR {
            return None;
        }
    }
}

/// Adopt orphaned descendants even if we are not PID 1.
pub fn set_subreaper() {
    // SAFETY: no memory is passed, only integers.
    unsafe { prctl(PR_SET_CHILD_SUBREAPER, 1 as c_ulong, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) };
}
