//! What others may not see of this process: its memory, its descriptors, the secrets it was given.

use super::{c_char, c_int, c_ulong};

#[cfg(test)]
const PR_GET_DUMPABLE: c_int = 3;
const PR_SET_DUMPABLE: c_int = 4;

extern "C" {
    fn prctl(option: c_int, ...) -> c_int;
    static environ: *const *mut c_char;
}

/// Only root with CAP_SYS_PTRACE may inspect this process. Where fs.suid_dumpable is 1, a change of identity reverts
/// this, even one by a child in our memory. Usable in a forked child, and leaves errno alone.
pub fn set_undumpable() {
    // SAFETY: no memory is passed, only integers.
    unsafe { prctl(PR_SET_DUMPABLE, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) };
}

#[cfg(test)]
pub fn is_dumpable() -> bool {
    // SAFETY: no memory is passed, only integers.
    unsafe { prctl(PR_GET_DUMPABLE, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) == 1 }
}

/// Overwrites a secret, even if the memory is not read again.
pub fn wipe(bytes: &mut [u8]) {
    for byte in bytes {
        // SAFETY: a reference may be written to.
        unsafe { std::ptr::write_volatile(byte, 0) };
    }
}

/// Overwrites the value of an environment variable where the kernel put it, so that /proc does not show it.
pub fn wipe_environment(name: &str) {
    // SAFETY: `environ` ends with a null pointer, its entries with a zero byte, and nothing reads past either. The process
    // has one thread, so nobody else uses them meanwhile.
    unsafe {
        let mut entry = environ;
        while !entry.is_null() && !(*entry).is_null() {
            let text = *entry;
            let mut at = 0;
            while at < name.len() && *text.add(at) as u8 == name.as_bytes()[at] {
                at += 1;
            }
            if at == name.len() && *text.add(at) as u8 == b'=' {
                at += 1;
                while *text.add(at) != 0 {
                    std::ptr::write_volatile(text.add(at), b'x' as c_char);
                    at += 1;
                }
            }
            entry = entry.add(1);
        }
    }
}
