//! Signals: by number, by name, and through a descriptor.

use super::{c_int, c_long, c_void, check, retry};
use crate::sys::io::Fd;

pub const SIGHUP: c_int = 1;
pub const SIGINT: c_int = 2;
pub const SIGQUIT: c_int = 3;
pub const SIGKILL: c_int = 9;
pub const SIGPIPE: c_int = 13;
pub const SIGTERM: c_int = 15;
pub const SIGCHLD: c_int = 17;
pub const SIGCONT: c_int = 18;
pub const SIGTSTP: c_int = 20;

/// The kernel's highest signal number.
const LAST: c_int = 64;
#[cfg(target_arch = "x86_64")]
const SYS_RT_SIGACTION: c_long = 13;
#[cfg(target_arch = "aarch64")]
const SYS_RT_SIGACTION: c_long = 134;
/// The kernel's `struct sigaction`: handler, flags, and whatever else the architecture has.
const DEFAULT_ACTION: [u64; 4] = [0; 4];
/// Size of the kernel's own signal set.
const MASK_BYTES: usize = 8;
const SIG_SETMASK: c_int = 2;
const SFD_CLOEXEC: c_int = 0o2000000;
const SFD_NONBLOCK: c_int = 0o4000;
/// The code of a signal sent by `kill`.
const SI_USER: i32 = 0;
const SIGINFO_BYTES: usize = 128;
/// How many are read at a time.
const SIGINFOS: usize = 8;

/// glibc's `sigset_t`: 1024 bits.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SigSet([u64; 16]);

impl SigSet {
    pub const EMPTY: SigSet = SigSet([0; 16]);

    pub fn of(signals: &[c_int]) -> SigSet {
        let mut set = SigSet::EMPTY;
        for signal in signals {
            set.0[0] |= 1 << (signal - 1);
        }
        set
    }
}

extern "C" {
    fn sigprocmask(how: c_int, set: *const SigSet, old: *mut SigSet) -> c_int;
    fn signalfd(fd: c_int, set: *const SigSet, flags: c_int) -> c_int;
    fn signal(signal: c_int, handler: usize) -> usize;
    fn syscall(number: c_long, ...) -> c_long;
    #[link_name = "kill"]
    fn c_kill(pid: c_int, signal: c_int) -> c_int;
    #[link_name = "read"]
    fn c_read(fd: c_int, buf: *mut c_void, len: usize) -> isize;
}

/// Replaces the mask of blocked signals. Usable in a forked child.
pub fn set_mask(set: &SigSet) {
    // SAFETY: `set` is a live signal set; no old one is asked for.
    unsafe { sigprocmask(SIG_SETMASK, set, std::ptr::null_mut()) };
}

/// Resets all actions to the default, whatever our parent ignored, since programs inherit them. The C library would not
/// touch the two signals it reserves for itself, and has them ignored in what it starts.
pub fn reset_all() {
    for number in 1..=LAST {
        // SAFETY: the kernel reads an action of at most this size. All zero is the default, so no code of ours runs in
        // signal context.
        unsafe { syscall(SYS_RT_SIGACTION, number as c_long, &DEFAULT_ACTION, std::ptr::null::<c_void>(), MASK_BYTES) };
    }
}

/// The kernel reaps children by itself.
pub fn ignore_children() {
    const IGNORE: usize = 1;
    // SAFETY: no handler is installed, so no code runs in signal context.
    unsafe { signal(SIGCHLD, IGNORE) };
}

/// A descriptor that reports the signals in `set`, which must be blocked.
pub fn descriptor(set: &SigSet) -> Result<Fd, i32> {
    // SAFETY: `set` is a live signal set.
    check(unsafe { signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK) }).map(Fd::new)
}

pub struct Received {
    pub number: c_int,
    /// Sent from outside this PID namespace.
    pub from_outside: bool,
}

/// Reads the pending signals, and calls `handle` with each.
pub fn read_all(fd: c_int, mut handle: impl FnMut(Received)) {
    let mut infos = [0u8; SIGINFO_BYTES * SIGINFOS];
    loop {
        // SAFETY: the kernel writes at most as many bytes as the buffer has.
        let read = retry(|| super::check_len(unsafe { c_read(fd, infos.as_mut_ptr().cast(), infos.len()) }));
        let count = read.unwrap_or(0);
        for info in infos[..count].chunks_exact(SIGINFO_BYTES) {
            let word = |at: usize| i32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
            // A sender without a pid here shows as 0. The kernel guarantees that only for what `kill` sends: with other
            // codes the sender has chosen both, or someone inside has had the kernel signal us about a file or terminal.
            let (code, sender) = (word(8), word(12));
            handle(Received { number: word(0), from_outside: code == SI_USER && sender == 0 });
        }
        if count < infos.len() {
            return;
        }
    }
}

/// Sends a signal. Refuses the pids that mean several processes.
pub fn kill(pid: c_int, number: c_int) -> bool {
    if pid == 0 || pid == -1 || pid == 1 {
        return false;
    }
    // SAFETY: no memory is passed, only integers.
    unsafe { c_kill(pid, number) == 0 }
}

const NAMES: [(&str, c_int); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// The number of `TERM` or `SIGTERM`.
pub fn number(name: &str) -> Option<c_int> {
    let name = name.strip_prefix("SIG").unwrap_or(name);
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// The first signal that C libraries leave to programs.
const SIGRTMIN: c_int = 34;

/// `TERM` for 15; real-time signals as `RTMIN+n`. Two below those have no name: libraries reserve them, but anybody may
/// send them.
pub fn name(number: c_int) -> String {
    match NAMES.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => (*name).to_string(),
        None if number >= SIGRTMIN => format!("RTMIN+{}", number - SIGRTMIN),
        None => number.to_string(),
    }
}
