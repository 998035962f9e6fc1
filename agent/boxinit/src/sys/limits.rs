//! Resource limits, and the tag that is kept in one of them.

use super::{c_int, check};
use std::fs::OpenOptions;
use std::io::Write;

const RLIMIT_NPROC: c_int = 6;
const RLIMIT_NOFILE: c_int = 7;
/// The limit on file locks: the kernel has ignored it since Linux 2.4, yet every process inherits it.
const RLIMIT_LOCKS: c_int = 10;

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Limit {
    pub soft: u64,
    pub hard: u64,
}

extern "C" {
    fn getrlimit(resource: c_int, limit: *mut Limit) -> c_int;
    fn setrlimit(resource: c_int, limit: *const Limit) -> c_int;
    fn prlimit(pid: c_int, resource: c_int, new: *const Limit, old: *mut Limit) -> c_int;
}

/// Raises the descriptor limit as far as possible. Returns the previous limit if it was raised.
pub fn raise_descriptor_limit() -> Option<Limit> {
    let mut limit = Limit::default();
    // SAFETY: the pointers are to live values of the type that the kernel reads or fills in.
    unsafe {
        if getrlimit(RLIMIT_NOFILE, &mut limit) < 0 || limit.soft >= limit.hard {
            return None;
        }
        let raised = Limit { soft: limit.hard, hard: limit.hard };
        (setrlimit(RLIMIT_NOFILE, &raised) == 0).then_some(limit)
    }
}

/// Limits each user's processes, including this one's own; irrevocable without CAP_SYS_RESOURCE.
pub fn limit_processes(most: u64) -> Result<(), i32> {
    let limit = Limit { soft: most, hard: most };
    // SAFETY: the pointer is to a live value of the type that the kernel reads.
    check(unsafe { setrlimit(RLIMIT_NPROC, &limit) }).map(|_| ())
}

/// Usable in a forked child.
pub fn set_descriptor_limit(limit: &Limit) {
    // SAFETY: the pointer is to a live value of the type that the kernel reads.
    unsafe { setrlimit(RLIMIT_NOFILE, limit) };
}

/// Marks this process and all its descendants, whatever they execute, with a limit that has no effect. Not every kernel
/// accepts it. Usable in a forked child.
pub fn set_tag(tag: u64) {
    let limit = Limit { soft: tag, hard: tag };
    // SAFETY: the pointer is to a live value of the type that the kernel reads.
    unsafe { setrlimit(RLIMIT_LOCKS, &limit) };
}

/// Makes the kernel kill this process, and what it starts from now on, first when memory runs out. Only a process that
/// executes its own program: one that still shares our memory shares the score too. Not every kernel has it.
pub fn prefer_as_victim(pid: c_int) {
    let score = OpenOptions::new().write(true).open(format!("/proc/{}/oom_score_adj", pid));
    // It may have ended already.
    let _ = score.and_then(|mut file| file.write_all(b"1000"));
}

/// The tag of a process that runs as our user.
pub fn tag_of(pid: c_int) -> Result<u64, i32> {
    let mut limit = Limit::default();
    // SAFETY: the pointer is to a live value of the type that the kernel fills in.
    check(unsafe { prlimit(pid, RLIMIT_LOCKS, std::ptr::null(), &mut limit) }).map(|_| limit.hard)
}
