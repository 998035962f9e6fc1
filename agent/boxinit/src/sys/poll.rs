//! epoll.

use super::{c_int, check, retry};
use crate::sys::io::Fd;

pub const IN: u32 = 0x001;
pub const OUT: u32 = 0x004;
pub const ERR: u32 = 0x008;
pub const HUP: u32 = 0x010;
pub const RDHUP: u32 = 0x2000;
/// Edge-triggered.
pub const EDGE: u32 = 1 << 31;

const EPOLL_CLOEXEC: c_int = 0o2000000;
const ADD: c_int = 1;
const DEL: c_int = 2;
const MOD: c_int = 3;

#[repr(C)]
#[cfg_attr(target_arch = "x86_64", repr(packed))]
#[derive(Clone, Copy)]
pub struct Event {
    pub events: u32,
    pub token: u64,
}

extern "C" {
    fn epoll_create1(flags: c_int) -> c_int;
    fn epoll_ctl(epfd: c_int, op: c_int, fd: c_int, event: *mut Event) -> c_int;
    fn epoll_wait(epfd: c_int, events: *mut Event, max: c_int, timeout: c_int) -> c_int;
}

pub struct Poll {
    fd: Fd,
}

impl Poll {
    pub fn new() -> Result<Poll, i32> {
        // SAFETY: no memory is passed, only integers.
        let fd = check(unsafe { epoll_create1(EPOLL_CLOEXEC) })?;
        Ok(Poll { fd: Fd::new(fd) })
    }

    fn control(&self, op: c_int, fd: c_int, events: u32, token: u64) -> Result<(), i32> {
        let mut event = Event { events, token };
        // SAFETY: the pointer is to a live value of the type that the kernel reads.
        check(unsafe { epoll_ctl(self.fd.raw(), op, fd, &mut event) }).map(|_| ())
    }

    pub fn add(&self, fd: c_int, events: u32, token: u64) -> Result<(), i32> {
        self.control(ADD, fd, events, token)
    }

    pub fn modify(&self, fd: c_int, events: u32, token: u64) -> Result<(), i32> {
        self.control(MOD, fd, events, token)
    }

    pub fn remove(&self, fd: c_int) {
        let _ = self.control(DEL, fd, 0, 0);
    }

    /// Fills `events`; a negative timeout waits for ever.
    pub fn wait(&self, events: &mut [Event], timeout_ms: c_int) -> Result<usize, i32> {
        retry(|| {
            // SAFETY: the kernel writes at most `events.len()` entries.
            check(unsafe { epoll_wait(self.fd.raw(), events.as_mut_ptr(), events.len() as c_int, timeout_ms) })
                .map(|count| count as usize)
        })
    }
}
