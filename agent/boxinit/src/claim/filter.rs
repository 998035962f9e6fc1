//! The second seccomp filter. The runtime loads the well-known default profile at start, which allows calls that need a
//! privilege to have any effect, because a claim needs some of them. This filter closes them at the end of the claim,
//! down to what Docker's own profile gives a container without CAP_SYS_ADMIN. Like profiles newer than the
//! distribution's, it also blocks two socket families: one bypasses the network namespace to reach the machine's
//! hypervisor, the other reaches the kernel's ciphers, through which shared pages of an image have been written to.

use crate::sys::privilege::Instruction;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const EQUAL: u16 = 0x15;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const FAIL: u32 = 0x0005_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const EAFNOSUPPORT: u32 = 97;

/// Offsets in the kernel's `seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// PID 1, this process.
const SUPERVISOR: u32 = 1;

const AF_ALG: u32 = 38;
const AF_VSOCK: u32 = 40;
/// The `socketcall` operation that creates a socket. Its family is in memory, which a filter cannot see.
const SOCKETCALL_SOCKET: u32 = 1;

/// The `clone` flags for new namespaces.
const NAMESPACES: u32 = 0x7e02_0000;

struct Calls {
    architecture: u32,
    /// The bits of the call number that identify the call.
    mask: u32,
    clone: u32,
    /// With a CPU time limit, the sandbox's root could make the kernel kill PID 1.
    prlimit: u32,
    socket: u32,
    /// The single call through which 32-bit programs do all socket operations.
    socketcall: Option<u32>,
    /// In this order: bpf, fanotify_init, fsconfig, fsmount, fsopen, fspick, get_mempolicy, keyctl, lookup_dcookie, mbind,
    /// mount, mount_setattr, move_mount, open_tree, perf_event_open, pivot_root, quotactl, reboot, set_mempolicy,
    /// setdomainname, sethostname, setns, syslog, umount2, unshare, and umount where there is one.
    denied: &'static [u32],
}

/// The same on every architecture: 32-bit programs on newer ones cannot tell what `clone3` is asked to do.
const CLONE3: u32 = 435;

#[cfg(target_arch = "x86_64")]
const TABLES: [Calls; 2] = [
    // The x32 calls are these with one more bit set.
    Calls {
        architecture: 0xc000_003e,
        mask: 0x3fff_ffff,
        clone: 56,
        prlimit: 302,
        socket: 41,
        socketcall: None,
        denied: &[
            321, 300, 431, 432, 430, 433, 239, 250, 212, 237, 165, 442, 429, 428, 298, 155, 179, 169, 238, 171, 170,
            308, 103, 166, 272,
        ],
    },
    Calls {
        architecture: 0x4000_0003,
        mask: 0xffff_ffff,
        clone: 120,
        prlimit: 340,
        socket: 359,
        socketcall: Some(102),
        denied: &[
            357, 338, 431, 432, 430, 433, 275, 288, 253, 274, 21, 442, 429, 428, 336, 217, 131, 88, 276, 121, 74, 346,
            103, 52, 310, 22,
        ],
    },
];

#[cfg(target_arch = "aarch64")]
const TABLES: [Calls; 2] = [
    Calls {
        architecture: 0xc000_00b7,
        mask: 0xffff_ffff,
        clone: 220,
        prlimit: 261,
        socket: 198,
        socketcall: None,
        denied: &[
            280, 262, 431, 432, 430, 433, 236, 219, 18, 235, 40, 442, 429, 428, 241, 41, 60, 142, 237, 162, 161, 268,
            116, 39, 97,
        ],
    },
    Calls {
        architecture: 0x4000_0028,
        mask: 0xffff_ffff,
        clone: 120,
        prlimit: 369,
        socket: 281,
        socketcall: None,
        denied: &[
            386, 367, 431, 432, 430, 433, 320, 311, 249, 319, 21, 442, 429, 428, 364, 218, 131, 88, 321, 121, 74, 375,
            103, 52, 337,
        ],
    },
];

fn instruction(code: u16, value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, value }
}

/// Architectures missing from the tables are left to the first filter.
pub fn program() -> Vec<Instruction> {
    let mut program = Vec::with_capacity(128);
    for calls in &TABLES {
        let body = body(calls);
        program.push(instruction(LOAD, ARCHITECTURE, 0, 0));
        program.push(instruction(EQUAL, calls.architecture, 0, body.len() as u8));
        program.extend(body);
    }
    program.push(instruction(RETURN, ALLOW, 0, 0));
    program
}

/// Always returns.
fn body(calls: &Calls) -> Vec<Instruction> {
    let mut body = vec![instruction(LOAD, NUMBER, 0, 0), instruction(AND, calls.mask, 0, 0)];
    for number in calls.denied {
        body.push(instruction(EQUAL, *number, 0, 1));
        body.push(instruction(RETURN, FAIL | EPERM, 0, 0));
    }
    body.push(instruction(EQUAL, CLONE3, 0, 1));
    body.push(instruction(RETURN, FAIL | ENOSYS, 0, 0));
    body.push(instruction(EQUAL, calls.prlimit, 0, 4));
    body.push(instruction(LOAD, FIRST_ARGUMENT, 0, 0));
    body.push(instruction(EQUAL, SUPERVISOR, 0, 1));
    body.push(instruction(RETURN, FAIL | EPERM, 0, 0));
    body.push(instruction(RETURN, ALLOW, 0, 0));
    body.push(instruction(EQUAL, calls.socket, 0, 5));
    body.push(instruction(LOAD, FIRST_ARGUMENT, 0, 0));
    body.push(instruction(EQUAL, AF_ALG, 1, 0));
    body.push(instruction(EQUAL, AF_VSOCK, 0, 1));
    body.push(instruction(RETURN, FAIL | EAFNOSUPPORT, 0, 0));
    body.push(instruction(RETURN, ALLOW, 0, 0));
    if let Some(socketcall) = calls.socketcall {
        body.push(instruction(EQUAL, socketcall, 0, 4));
        body.push(instruction(LOAD, FIRST_ARGUMENT, 0, 0));
        body.push(instruction(EQUAL, SOCKETCALL_SOCKET, 0, 1));
        body.push(instruction(RETURN, FAIL | ENOSYS, 0, 0));
        body.push(instruction(RETURN, ALLOW, 0, 0));
    }
    body.push(instruction(EQUAL, calls.clone, 0, 3));
    body.push(instruction(LOAD, FIRST_ARGUMENT, 0, 0));
    body.push(instruction(ANY_BIT, NAMESPACES, 0, 1));
    body.push(instruction(RETURN, FAIL | EPERM, 0, 0));
    body.push(instruction(RETURN, ALLOW, 0, 0));
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer.
    fn answer(architecture: u32, number: u32, argument: u32) -> u32 {
        let program = program();
        let (mut at, mut register) = (0, 0);
        loop {
            let Instruction { code, jump_true, jump_false, value } = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { jump_true } else { jump_false });
            match code {
                LOAD if value == NUMBER => register = number,
                LOAD if value == ARCHITECTURE => register = architecture,
                LOAD => register = argument,
                AND => register &= value,
                EQUAL => at += jump(register == value),
                ANY_BIT => at += jump(register & value != 0),
                _ => return value,
            }
        }
    }

    #[test]
    fn denies_claim_calls_and_namespaces_and_allows_the_rest() {
        for calls in &TABLES {
            for number in calls.denied {
                assert_eq!(answer(calls.architecture, *number, 0), FAIL | EPERM, "call {}", number);
            }
            assert_eq!(answer(calls.architecture, CLONE3, 0), FAIL | ENOSYS);
            // CLONE_VM, CLONE_VFORK, SIGCHLD: how programs are started.
            assert_eq!(answer(calls.architecture, calls.clone, 0x4111), ALLOW);
            for namespace in [0x0002_0000, 0x0200_0000, 0x1000_0000, 0x4000_0000] {
                assert_eq!(answer(calls.architecture, calls.clone, namespace | 17), FAIL | EPERM);
            }
            assert_eq!(answer(calls.architecture, calls.prlimit, 1), FAIL | EPERM);
            assert_eq!(answer(calls.architecture, calls.prlimit, 0), ALLOW);
            for (family, expected) in
                [(1, ALLOW), (AF_ALG, FAIL | EAFNOSUPPORT), (39, ALLOW), (AF_VSOCK, FAIL | EAFNOSUPPORT)]
            {
                assert_eq!(answer(calls.architecture, calls.socket, family), expected, "family {}", family);
            }
            if let Some(socketcall) = calls.socketcall {
                assert_eq!(answer(calls.architecture, socketcall, SOCKETCALL_SOCKET), FAIL | ENOSYS);
                assert_eq!(answer(calls.architecture, socketcall, 3), ALLOW);
            }
            for number in 0..20 {
                if !calls.denied.contains(&number) {
                    assert_eq!(answer(calls.architecture, number, 0), ALLOW, "call {}", number);
                }
            }
        }
        assert_eq!(answer(0x1234, 0, 0), ALLOW);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_x32_calls_are_denied_too() {
        assert_eq!(answer(0xc000_003e, 0x4000_0000 | 165, 0), FAIL | EPERM);
    }
}
