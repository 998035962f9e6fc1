//! Capabilities, seccomp filters, and borrowed identities.

use super::secrecy::set_undumpable;
use super::{c_int, c_long, c_ulong, check};

const PR_CAPBSET_DROP: c_int = 24;
const PR_SET_NO_NEW_PRIVS: c_int = 38;
const PR_SET_SECCOMP: c_int = 22;
const PR_CAP_AMBIENT: c_int = 47;
const PR_CAP_AMBIENT_CLEAR_ALL: c_ulong = 4;
const SECCOMP_MODE_FILTER: c_ulong = 2;
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// More than any kernel has.
const CAPABILITIES: c_ulong = 64;

#[cfg(target_arch = "x86_64")]
const SYS_CAPSET: c_long = 126;
#[cfg(target_arch = "aarch64")]
const SYS_CAPSET: c_long = 91;

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// One instruction of the kernel's classic packet filter.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub value: u32,
}

#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

extern "C" {
    fn prctl(option: c_int, ...) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn setfsuid(uid: u32) -> c_int;
    fn setfsgid(gid: u32) -> c_int;
}

/// Drops all capabilities except those whose bits are set in `kept`, for this process and whatever it starts.
pub fn keep_capabilities(kept: u64) -> Result<(), i32> {
    let zero: c_ulong = 0;
    for capability in 0..CAPABILITIES {
        if kept >> capability & 1 == 0 {
            // SAFETY: no memory is passed, only integers.
            match check(unsafe { prctl(PR_CAPBSET_DROP, capability, zero, zero, zero) }) {
                Ok(_) => {}
                // The kernel has no more of them.
                Err(super::EINVAL) => break,
                Err(errno) => return Err(errno),
            }
        }
    }
    // SAFETY: no memory is passed, only integers.
    unsafe { prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, zero, zero, zero) };
    let header = CapHeader { version: CAPABILITY_VERSION_3, pid: 0 };
    let half = |shift: u32| {
        let bits = (kept >> shift) as u32;
        CapData { effective: bits, permitted: bits, inheritable: 0 }
    };
    let data = [half(0), half(32)];
    // SAFETY: `header` and `data` have the layout of version 3 of the kernel's structs.
    check(unsafe { syscall(SYS_CAPSET, &header as *const CapHeader, data.as_ptr()) } as c_int).map(|_| ())
}

/// No program executed from now on gains privileges by it.
pub fn set_no_new_privileges() -> Result<(), i32> {
    let (one, zero): (c_ulong, c_ulong) = (1, 0);
    // SAFETY: no memory is passed, only integers.
    check(unsafe { prctl(PR_SET_NO_NEW_PRIVS, one, zero, zero, zero) }).map(|_| ())
}

/// Adds a filter to the existing ones; the strictest answer counts. Requires no_new_privs.
pub fn add_filter(instructions: &[Instruction]) -> Result<(), i32> {
    let program = Program { length: instructions.len() as u16, instructions: instructions.as_ptr() };
    let zero: c_ulong = 0;
    // SAFETY: `program` and the filter that it points to are live until the call returns; the kernel copies both.
    let result = unsafe { prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program as *const Program, zero, zero) };
    check(result).map(|_| ())
}

/// Reads files with another user's rights until dropped: without CAP_SYS_PTRACE, /proc shows a process only to its
/// owner.
pub struct BorrowedIdentity(());

impl BorrowedIdentity {
    pub fn of(uid: u32, gid: u32) -> BorrowedIdentity {
        // SAFETY: no memory is passed, only integers.
        unsafe {
            setfsgid(gid);
            setfsuid(uid);
        }
        set_undumpable();
        BorrowedIdentity(())
    }
}

impl Drop for BorrowedIdentity {
    fn drop(&mut self) {
        // SAFETY: no memory is passed, only integers.
        unsafe {
            setfsuid(0);
            setfsgid(0);
        }
        set_undumpable();
    }
}

#[cfg(test)]
mod tests {
    use super::super::secrecy::is_dumpable;
    use super::*;

    /// Only meaningful where fs.suid_dumpable is 1, and to root.
    #[test]
    fn borrowing_an_identity_leaves_us_undumpable() {
        set_undumpable();
        let identity = BorrowedIdentity::of(65_534, 65_534);
        assert!(!is_dumpable());
        drop(identity);
        assert!(!is_dumpable());
    }
}
