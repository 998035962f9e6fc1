//! Starts a program the way posix_spawn does, in shared memory without a copy, and reports the exact reason if it did
//! not start.

use super::hold_up::{self, HoldUp};
use crate::sys::limits::{self, Limit};
use crate::sys::{self, c_char, c_int, c_void, fs, process, secrecy, signal, tty};
use std::ffi::CString;
use std::sync::atomic::{AtomicU32, Ordering};

const STACK_BYTES: usize = 64 * 1024;

/// The step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Fork,
    Identity,
    Directory,
    Descriptors,
    Execute,
    /// It was killed because something kept it from executing its program.
    HeldUp(HoldUp),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    pub stage: Stage,
    pub errno: i32,
}

pub struct Program<'a> {
    /// Paths to try in turn, from a search along PATH.
    pub candidates: &'a [CString],
    pub argv: &'a [CString],
    pub env: &'a [CString],
    /// None: the current directory.
    pub cwd: Option<&'a CString>,
    /// uid, gid, groups.
    pub identity: Option<(u32, u32, &'a [u32])>,
    pub stdio: [c_int; 3],
    /// An extra descriptor for the program: (ours, its number there).
    pub extra: Option<(c_int, c_int)>,
    /// Descriptor 0 becomes the controlling terminal.
    pub terminal: bool,
    /// The tag that identifies it and its descendants.
    pub tag: u64,
    pub descriptor_limit: Option<Limit>,
}

/// What the child reads, and where it reports its failure. Shared memory: the parent only waits meanwhile.
struct Plan {
    candidates: *const *const c_char,
    argv: *const *const c_char,
    env: *const *const c_char,
    cwd: *const c_char,
    identity: Option<(u32, u32, *const u32, usize)>,
    stdio: [c_int; 3],
    extra: Option<(c_int, c_int)>,
    terminal: bool,
    tag: u64,
    descriptor_limit: Option<Limit>,
    failure: Option<Failure>,
}

/// The stack on which the child runs until it executes its program.
struct Place {
    stack: Vec<u128>,
    /// Cleared by the kernel once the child no longer needs this memory.
    taken: AtomicU32,
}

impl Place {
    fn new() -> Box<Place> {
        Box::new(Place { stack: vec![0; STACK_BYTES / 16], taken: AtomicU32::new(0) })
    }
}

pub struct Spawner {
    place: Box<Place>,
    watch: Option<hold_up::Watch>,
}

impl Spawner {
    /// Blocks until the child has executed its program, however long that takes.
    pub fn patient() -> Spawner {
        Spawner { place: Place::new(), watch: None }
    }

    /// Kills a child that is kept from executing its program. Needs a kernel that signals the execve.
    pub fn watchful() -> Spawner {
        Spawner { place: Place::new(), watch: Some(hold_up::Watch::default()) }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}

impl Spawner {
    /// Returns the new process's pid.
    pub fn spawn(&mut self, program: &Program) -> Result<c_int, Failure> {
        let candidates = pointers(program.candidates);
        let argv = pointers(program.argv);
        let env = pointers(program.env);
        let mut plan = Plan {
            candidates: candidates.as_ptr(),
            argv: argv.as_ptr(),
            env: env.as_ptr(),
            cwd: program.cwd.map_or(std::ptr::null(), |cwd| cwd.as_ptr()),
            identity: program.identity.map(|(uid, gid, groups)| (uid, gid, groups.as_ptr(), groups.len())),
            stdio: program.stdio,
            extra: program.extra,
            terminal: program.terminal,
            tag: program.tag,
            descriptor_limit: program.descriptor_limit,
            failure: None,
        };
        let forked = self.fork(&mut plan);
        // SAFETY: `plan` is live, and the child, which shares the memory, no longer writes to it: it has executed its
        // program or is gone. Volatile, because the compiler does not see the child's write.
        let failure = unsafe { std::ptr::read_volatile(&plan.failure) };
        match (forked, failure) {
            (Err(failure), _) => Err(failure),
            (Ok(pid), Some(failure)) => {
                process::wait_for(pid);
                Err(failure)
            }
            (Ok(pid), None) => Ok(pid),
        }
    }

    /// Returns once the child has executed its program or is gone.
    fn fork(&mut self, plan: &mut Plan) -> Result<c_int, Failure> {
        let failed = |errno| Failure { stage: Stage::Fork, errno };
        let plan = (plan as *mut Plan).cast();
        // SAFETY: one past the end of the stack, from where the child's stack grows down.
        let top: *mut c_void = unsafe { self.place.stack.as_mut_ptr().add(self.place.stack.len()) }.cast();
        let watch = match &mut self.watch {
            Some(watch) => watch,
            // SAFETY: `top` and `plan` are live until the child has executed its program or is gone, for which this waits.
            None => return unsafe { process::vfork_on(top, child, plan) }.map_err(failed),
        };
        self.place.taken.store(1, Ordering::Release);
        // SAFETY: the child uses the stack and the words of `place` until `taken` is cleared; if it does not get that
        // far, `place` is leaked below.
        let pid = unsafe { process::clone_on(top, child, plan, &self.place.taken) }.map_err(failed)?;
        match watch.over(pid, &self.place.taken) {
            hold_up::Outcome::Free => Ok(pid),
            hold_up::Outcome::Killed(why) => {
                process::wait_for(pid);
                Err(Failure { stage: Stage::HeldUp(why), errno: 0 })
            }
            hold_up::Outcome::Stuck => {
                // It dies without executing another instruction of ours, whenever the kernel lets it. Until then it
                // owns the place.
                std::mem::forget(std::mem::replace(&mut self.place, Place::new()));
                Err(Failure { stage: Stage::HeldUp(HoldUp::Slow), errno: 0 })
            }
        }
    }
}

/// Between clone and execve: system calls only, no allocation, no panic.
extern "C" fn child(arg: *mut c_void) -> c_int {
    // SAFETY: `arg` is the plan that `fork` passed, and the parent does not touch it until this process no longer uses
    // it.
    unsafe {
        let plan = &mut *(arg as *mut Plan);
        let failure = prepare(plan).err().unwrap_or_else(|| Failure { stage: Stage::Execute, errno: execute(plan) });
        std::ptr::write_volatile(&mut plan.failure, Some(failure));
        process::_exit(127)
    }
}

unsafe fn prepare(plan: &Plan) -> Result<(), Failure> {
    let fail = |stage| Failure { stage, errno: sys::errno() };
    process::setsid();
    for (number, fd) in plan.stdio.iter().enumerate() {
        if process::dup2(*fd, number as c_int) < 0 {
            return Err(fail(Stage::Descriptors));
        }
    }
    if let Some((from, to)) = plan.extra {
        if process::dup2(from, to) < 0 {
            return Err(fail(Stage::Descriptors));
        }
    }
    if plan.terminal {
        tty::take_control();
    }
    limits::set_tag(plan.tag);
    if let Some(limit) = &plan.descriptor_limit {
        limits::set_descriptor_limit(limit);
    }
    // As root: some images start programs of another user in a directory that only root may enter.
    if !plan.cwd.is_null() {
        fs::change_directory(plan.cwd).map_err(|errno| Failure { stage: Stage::Directory, errno })?;
    }
    if let Some((uid, gid, groups, count)) = plan.identity {
        let became = process::setgroups(count, groups) == 0 && process::setgid(gid) == 0 && process::setuid(uid) == 0;
        let failure = fail(Stage::Identity);
        // The memory is boxinit's.
        secrecy::set_undumpable();
        if !became {
            return Err(failure);
        }
    }
    // Signals blocked by the event loop are not blocked in a program.
    signal::set_mask(&signal::SigSet::EMPTY);
    Ok(())
}

/// Tries the candidates as execvp does. Returns only on failure, with the most specific errno.
unsafe fn execute(plan: &Plan) -> i32 {
    let mut denied = false;
    let mut last = sys::ENOENT;
    let mut candidate = plan.candidates;
    while !(*candidate).is_null() {
        process::execve(*candidate, plan.argv, plan.env);
        last = sys::errno();
        match last {
            sys::EACCES => denied = true,
            sys::ENOENT | sys::ENOTDIR => {}
            _ => return last,
        }
        candidate = candidate.add(1);
    }
    if denied {
        sys::EACCES
    } else {
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only meaningful where fs.suid_dumpable is 1, and to root.
    #[test]
    fn starting_a_program_of_another_user_leaves_us_undumpable() {
        let strings = |texts: &[&str]| -> Vec<CString> {
            texts.iter().map(|text| CString::new(*text).expect("no zero byte")).collect()
        };
        let (path, none) = (strings(&["/bin/true"]), strings(&[]));
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").expect("/dev/null");
        let null = std::os::unix::io::AsRawFd::as_raw_fd(&null);
        secrecy::set_undumpable();
        for mut spawner in [Spawner::patient(), Spawner::watchful()] {
            let pid = spawner.spawn(&Program {
                candidates: &path,
                argv: &path,
                env: &none,
                cwd: None,
                identity: Some((65_534, 65_534, &[])),
                stdio: [null; 3],
                extra: None,
                terminal: false,
                tag: 0,
                descriptor_limit: None,
            });
            assert!(!secrecy::is_dumpable());
            if let Ok(pid) = pid {
                assert_eq!(process::wait_for(pid).and_then(|reaped| reaped.code()), Some(0));
            }
        }
    }
}
