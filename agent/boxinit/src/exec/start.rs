//! Starting a program.

use super::hold_up::HoldUp;
use super::input::Input;
use super::output::Output;
use super::prepare::Prepared;
use super::request::Request;
use super::spawn::{Failure, Program, Stage};
use super::{Exec, Execs};
use crate::core::{Core, Source};
use crate::error::WireError;
use crate::frame;
use crate::json::Writer;
use crate::kill;
use crate::mux::Owner;
use crate::slab::Key;
use crate::sys::io::{self, Fd};
use crate::sys::{self, poll, tty};
use crate::timers::Timer;
use std::hash::{BuildHasher, Hasher};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The ends of a program's stdin, stdout and stderr: ours, and its.
struct Ends {
    input: Fd,
    outputs: [Fd; 2],
    theirs: [Fd; 3],
    /// Descriptor numbers used where `theirs` is none.
    numbers: [i32; 3],
}

fn no_room(errno: i32) -> WireError {
    WireError::resource_limit(format!("the program's pipes cannot be made: {}", sys::message(errno)))
}

fn no_terminal(errno: i32) -> WireError {
    let reason = match (errno, tty::most()) {
        (sys::ENOSPC, Some(most)) => format!("this sandbox already has {} terminals, the maximum", most),
        (sys::ENOSPC, None) => "the node has no more of them".to_string(),
        _ => sys::message(errno),
    };
    WireError::resource_limit(format!("no terminal can be made: {}", reason))
}

fn no_watch(errno: i32) -> WireError {
    WireError::resource_limit(format!("the program's output cannot be watched: {}", sys::message(errno)))
}

fn pipes(core: &Core, stdin: bool, uid: u32) -> Result<Ends, i32> {
    let (input, their_input) = match stdin {
        true => {
            let (read, write) = io::pipe()?;
            io::set_nonblocking(write.raw(), io::O_WRONLY);
            (write, read)
        }
        false => (Fd::NONE, Fd::NONE),
    };
    let (out, their_out) = io::pipe()?;
    let (err, their_err) = io::pipe()?;
    io::set_nonblocking(out.raw(), io::O_RDONLY);
    io::set_nonblocking(err.raw(), io::O_RDONLY);
    if uid != 0 {
        for fd in [&their_input, &their_out, &their_err] {
            io::give_to(fd.raw(), uid);
        }
    }
    let first = if stdin { their_input.raw() } else { core.null.raw() };
    let numbers = [first, their_out.raw(), their_err.raw()];
    Ok(Ends { input, outputs: [out, err], theirs: [their_input, their_out, their_err], numbers })
}

fn terminal((cols, rows): (u16, u16), uid: u32) -> Result<Ends, i32> {
    let (master, slave) = tty::open_pair()?;
    tty::set_size(master.raw(), cols, rows);
    io::give_to(slave.raw(), uid);
    let input = io::duplicate(master.raw())?;
    let numbers = [slave.raw(); 3];
    Ok(Ends { input, outputs: [master, Fd::NONE], theirs: [slave, Fd::NONE, Fd::NONE], numbers })
}

/// Why a program never ran, worded by the one table of errors.
fn explain(failure: Failure, request: &Request) -> WireError {
    let reason = sys::message(failure.errno);
    let limit = matches!(failure.errno, sys::EAGAIN | sys::ENOMEM | sys::ENFILE | sys::EMFILE);
    let program = request.program_name();
    match failure.stage {
        Stage::HeldUp(why) => held_up(why),
        _ if limit => WireError::resource_limit(format!("the program cannot be started: {}", reason)),
        Stage::Fork | Stage::Descriptors => WireError::resource_limit(format!("no new process: {}", reason)),
        Stage::Identity => WireError::new("exec_bad_user", format!("cannot become this user: {}", reason)),
        Stage::Directory => {
            let message = format!("the working directory {:?} cannot be used: {}", request.cwd_name(), reason);
            WireError::new("exec_bad_cwd", message)
        }
        Stage::Execute => match failure.errno {
            sys::ENOENT | sys::ENOTDIR => {
                let found = program.starts_with('/') && std::path::Path::new(&program).exists();
                let what = if found { "the interpreter of" } else { "the program" };
                WireError::new("exec_program_not_found", format!("{} {:?} does not exist", what, program))
            }
            sys::E2BIG => WireError::new("exec_bad_args", "the arguments and environment are too long together"),
            sys::ENAMETOOLONG | sys::EINVAL => {
                WireError::new("exec_bad_args", format!("{:?} cannot be executed: {}", program, reason))
            }
            _ => WireError::new("exec_permission_denied", format!("{:?} cannot be executed: {}", program, reason)),
        },
    }
}

fn held_up(why: HoldUp) -> WireError {
    let denied =
        |how| WireError::new("exec_permission_denied", format!("the sandbox keeps the program from starting: {}", how));
    match why {
        HoldUp::Stopped => denied("its process was stopped"),
        HoldUp::Leased => denied("another process holds a lease on a file that is to be executed"),
        HoldUp::Slow => WireError::resource_limit("the program did not start in time"),
    }
}

impl Execs {
    pub(super) fn start(
        &mut self,
        core: &mut Core,
        stream: u32,
        request: Request,
        late: Option<(&Fd, u64)>,
    ) -> Result<Key, WireError> {
        let fingerprint = request.fingerprint(late.map(|(_, text)| text));
        let late = late.map(|(file, _)| file);
        let tag = self.tag_of(&request.id);
        let mut prepared = request.prepare(&mut core.accounts, false, late)?;
        let uid = prepared.identity.as_ref().map_or(0, |identity| identity.uid);
        let mut ends = match request.pty {
            Some(size) => terminal(size, uid).map_err(no_terminal)?,
            None => pipes(core, request.stdin, uid).map_err(no_room)?,
        };
        // Before the program starts: one whose output nobody sees must not run.
        let key = self.table.next_key();
        let key = key.ok_or_else(|| WireError::resource_limit("too many commands are remembered"))?;
        watch(core, key, &ends).map_err(no_watch)?;
        let oom_before = self.oom.read();
        let started = Instant::now();
        let mut spawned = launch(core, &prepared, &ends, tag, request.pty.is_some());
        let missing = matches!(spawned, Err(Failure { stage: Stage::Execute, errno: sys::ENOENT | sys::ENOTDIR }));
        if missing && request.wants_bash() {
            prepared = request.prepare(&mut core.accounts, true, late)?;
            spawned = launch(core, &prepared, &ends, tag, request.pty.is_some());
        }
        let pid = spawned.map_err(|failure| explain(failure, &request))?;
        self.victims.add(pid, &self.by_pid);
        for fd in ends.theirs.iter_mut() {
            fd.close();
        }
        let [out, err] = ends.outputs;
        let channel = if request.pty.is_some() { frame::PTY } else { frame::STDOUT };
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1e3);
        let exec = Exec {
            id: request.id.clone(),
            fingerprint,
            tag,
            pid,
            stream: Some(stream),
            outputs: [
                Output::new(out, channel, request.ring_bytes, core.budget.clone()),
                Output::new(err, frame::STDERR, request.ring_bytes, core.budget.clone()),
            ],
            turn: 0,
            input: Input::new(ends.input, request.pty.is_some()),
            terminal: request.pty.is_some(),
            background: request.background,
            kill_grace_ms: request.kill_grace_ms,
            detached_ms: request.detached_ms,
            hold_ms: request.hold_ms,
            started,
            started_at_ms: now_ms,
            exit: None,
            timed_out: false,
            killing: None,
            killed: false,
            oom_before,
            complete: false,
            exit_sent: false,
            unwanted: false,
            forget: false,
            timeout: None,
            detached: None,
            hold: None,
            settle: None,
            settled: false,
        };
        let inserted = self.table.insert(exec);
        debug_assert_eq!(inserted, Some(key));
        self.by_id.insert(request.id.clone(), key);
        self.by_pid.insert(pid, key);
        if let (Some(exec), Some(limit)) = (self.table.get_mut(key), request.timeout_ms) {
            exec.timeout = Some(core.timers.after(limit, Timer::Timeout(key)));
        }
        core.link.set_owner(stream, Owner::Exec(key));
        let mut answer = Writer::object();
        answer.int("pid", pid.into());
        core.link.opened_lazily(stream, &answer.end());
        Ok(key)
    }

    /// A command's tag, even once the command is forgotten. Unlike any other tag, including those of another boxinit
    /// whose processes are visible here.
    pub(super) fn tag_of(&self, id: &[u8]) -> u64 {
        let mut hasher = self.by_id.hasher().build_hasher();
        hasher.write(id);
        kill::TAGS | hasher.finish() >> 2
    }
}

/// The kernel stops watching them when they are closed.
fn watch(core: &Core, key: Key, ends: &Ends) -> Result<(), i32> {
    for (which, output) in ends.outputs.iter().enumerate() {
        if output.is_open() {
            core.poll.add(output.raw(), poll::IN | poll::EDGE, Source::Output(key, which).token())?;
        }
    }
    if ends.input.is_open() {
        core.poll.add(ends.input.raw(), poll::OUT | poll::EDGE, Source::Input(key).token())?;
    }
    Ok(())
}

fn launch(core: &mut Core, prepared: &Prepared, ends: &Ends, tag: u64, terminal: bool) -> Result<i32, Failure> {
    if prepared.candidates.is_empty() {
        return Err(Failure { stage: Stage::Execute, errno: sys::ENOENT });
    }
    // boxinit is root: becoming root again needs no right that the sandbox may lack.
    let identity = prepared.identity.as_ref().filter(|identity| (identity.uid, identity.gid) != (0, 0));
    // boxinit's working directory is `/`, which root may always enter.
    let cwd = Some(&prepared.cwd).filter(|cwd| identity.is_some() || cwd.as_bytes() != b"/");
    core.spawner.spawn(&Program {
        candidates: &prepared.candidates,
        argv: &prepared.argv,
        env: &prepared.env,
        cwd,
        identity: identity.map(|identity| (identity.uid, identity.gid, identity.groups.as_slice())),
        stdio: ends.numbers,
        extra: prepared.script.as_ref().map(|(file, number)| (file.raw(), *number)),
        terminal,
        tag,
        descriptor_limit: core.descriptor_limit,
    })
}
