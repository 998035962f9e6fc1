//! Children that asked to be traced (PTRACE_TRACEME), as some programs do to find out whether a debugger traces them.

use super::{c_int, c_long, c_void};

const PTRACE_DETACH: c_long = 17;
const PTRACE_GETSIGINFO: c_long = 0x4202;
const SIGTRAP: c_int = 5;
/// Instead of a signal: none.
const NOTHING: c_int = 0;

/// The kernel's `siginfo_t`: the number, an errno, the code, and what depends on these.
#[repr(C, align(8))]
struct SignalInfo([c_int; 32]);

extern "C" {
    fn ptrace(request: c_long, pid: c_int, address: *mut c_void, data: *mut c_void) -> c_long;
}

/// Ends the tracing of a child that a signal has stopped, and delivers the signal: to its parent nothing has happened.
pub fn let_go(pid: c_int, signal: c_int) {
    let delivered = if signal == SIGTRAP && tells_of_execve(pid) { NOTHING } else { signal };
    // SAFETY: no memory is passed, only integers.
    unsafe { ptrace(PTRACE_DETACH, pid, std::ptr::null_mut(), delivered as *mut c_void) };
}

/// A traced process gets a SIGTRAP from itself whenever it has executed a program. Nobody else would.
fn tells_of_execve(pid: c_int) -> bool {
    const SI_USER: c_int = 0;
    let mut info = SignalInfo([0; 32]);
    let room: *mut SignalInfo = &mut info;
    // SAFETY: the pointer is to a live value of the type that the kernel fills in.
    let known = unsafe { ptrace(PTRACE_GETSIGINFO, pid, std::ptr::null_mut(), room.cast()) };
    known == 0 && info.0[2] == SI_USER
}
