//! Execs: from the request to the acknowledged exit.

mod attach;
mod discard;
mod end;
mod hold_up;
mod input;
mod kills;
mod output;
mod prepare;
pub mod request;
mod script;
pub mod spawn;
mod start;
mod victims;

use crate::core::Core;
use crate::error::WireError;
use crate::json::{Value, Writer};
use crate::slab::{Key, Slab};
use crate::sys::process::Usage;
use crate::sys::{c_int, signal, tty};
use crate::timers::TimerId;
use discard::Discard;
use input::Input;
use kills::{Killing, Kills};
use output::Output;
use request::Request;
use script::Script;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;
use victims::Victims;

const MAX_RUNNING: usize = 512;
const MAX_KEPT: usize = 4096;
/// Space for one exec in a list.
const LISTED_BYTES: usize = 4096;

/// How the leader ended.
struct Exit {
    code: i32,
    signal: Option<i32>,
    /// Whether it was OOM-killed; None if there was no reason to check, or no count to consult.
    oom_killed: Option<bool>,
    duration_ms: f64,
    usage: Option<Usage>,
    when: Instant,
}

pub struct Exec {
    id: Vec<u8>,
    /// Fingerprint of the request: reusing the id for a different one is the caller's mistake.
    fingerprint: u64,
    /// The tag that its processes carry.
    tag: u64,
    pid: c_int,
    /// The attached reader, if any.
    stream: Option<u32>,
    outputs: [Output; 2],
    /// Which output is sent first next time.
    turn: usize,
    input: Input,
    terminal: bool,
    background: bool,
    kill_grace_ms: u64,
    detached_ms: u64,
    hold_ms: u64,
    started: Instant,
    started_at_ms: f64,
    exit: Option<Exit>,
    timed_out: bool,
    killing: Option<Killing>,
    /// SIGKILL was sent to it, or will be after the grace period, so that dying of it has no other cause.
    killed: bool,
    oom_before: Option<u64>,
    /// All its output has been read; only sending may remain.
    complete: bool,
    exit_sent: bool,
    /// The reader asked for a kill. The exit may cross its RESET on the way.
    unwanted: bool,
    forget: bool,
    timeout: Option<TimerId>,
    detached: Option<TimerId>,
    hold: Option<TimerId>,
    settle: Option<TimerId>,
    /// The settle time is over, though the terminal may hold unread output.
    settled: bool,
}

#[derive(Default)]
pub struct Execs {
    table: Slab<Exec>,
    by_id: HashMap<Vec<u8>, Key>,
    by_pid: HashMap<c_int, Key>,
    scripts: Slab<Script>,
    discards: Slab<Discard>,
    /// Ended but unacknowledged, oldest first. May contain stale keys.
    kept: VecDeque<Key>,
    kills: Kills,
    /// Reaping is queued in the loop's work.
    reaps_on: bool,
    oom: end::OomCounter,
    victims: Victims,
}

impl Execs {
    fn running(&self) -> usize {
        self.by_pid.len() + self.scripts.len()
    }

    fn find(&self, id: &[u8]) -> Result<Key, WireError> {
        let found = self.by_id.get(id).copied();
        found.ok_or_else(|| WireError::new("exec_not_found", "there is no exec with this id"))
    }

    /// Frees an exec and everything it holds.
    fn forget(&mut self, core: &mut Core, key: Key) {
        if let Some(mut exec) = self.table.remove(key) {
            for timer in [&mut exec.timeout, &mut exec.detached, &mut exec.hold, &mut exec.settle] {
                core.timers.cancel(timer);
            }
            if self.by_id.get(&exec.id) == Some(&key) {
                self.by_id.remove(&exec.id);
            }
            if self.by_pid.get(&exec.pid) == Some(&key) {
                self.by_pid.remove(&exec.pid);
            }
        }
    }

    /// Lists execs by the given ids, or all: first the running ones, then ended ones, as far as one frame holds them.
    pub fn list(&self, open: &Value) -> Vec<u8> {
        let mut listed: Vec<&Exec> = match open.array("ids") {
            Some(ids) => ids.iter().filter_map(|id| self.named(id)).collect(),
            None => self.table.values().collect(),
        };
        listed.sort_by_key(|exec| exec.is_over());
        let mut out = Writer::object();
        out.begin_array("execs");
        let mut more = false;
        for exec in listed {
            more = out.len() > crate::frame::MAX_CONTROL_BYTES - LISTED_BYTES;
            if more {
                break;
            }
            out.begin_object("");
            out.str("id", &exec.id);
            out.bool("running", !exec.is_over());
            out.bool("background", exec.background);
            out.bool("attached", exec.stream.is_some());
            out.float("startedAtMs", exec.started_at_ms);
            out.uint("stdoutBytes", exec.outputs[0].total());
            out.uint("stderrBytes", exec.outputs[1].total());
            if exec.is_over() {
                out.begin_object("exit");
                exec.write_exit(&mut out);
                out.close();
            }
            out.close();
        }
        out.close();
        out.bool("more", more);
        out.end()
    }

    fn named(&self, id: &Value) -> Option<&Exec> {
        match id {
            Value::String(id) => self.table.get(*self.by_id.get(id)?),
            _ => None,
        }
    }

    /// EVENT from the stream that opened or attached.
    pub fn on_event(&mut self, core: &mut Core, key: Key, message: &Value) {
        match message.text("type") {
            Some("signal") => {
                if let Some(number) = message.text("signal").and_then(signal::number) {
                    self.send_signal(core, key, number, message.flag("all"));
                }
            }
            Some("kill") => {
                if let Some(exec) = self.table.get_mut(key) {
                    exec.unwanted = true;
                }
                self.start_kill(core, key);
            }
            Some("resize") => {
                if let (Some(exec), Some((cols, rows))) = (self.table.get(key), request::size_of(message)) {
                    if exec.terminal && exec.outputs[0].fd.is_open() {
                        tty::set_size(exec.outputs[0].fd.raw(), cols, rows);
                    }
                }
            }
            _ => {}
        }
    }

    /// Op `signal`. Returns an answer that ends the stream, or None if the answer follows later.
    pub fn signal(&mut self, core: &mut Core, stream: u32, open: &Value) -> Result<Option<Vec<u8>>, WireError> {
        let id = request::id_of(open)?;
        let number = open.text("signal").and_then(signal::number);
        let number = number.ok_or_else(|| WireError::invalid("there is no such signal"))?;
        let all = open.flag("all");
        if all && (self.by_id.contains_key(&id) || open.flag("ended")) {
            self.signal_all(core, &id, number, Some(stream));
            return Ok(None);
        }
        self.send_signal(core, self.find(&id)?, number, all);
        Ok(Some(b"{}".to_vec()))
    }

    fn send_signal(&mut self, core: &mut Core, key: Key, number: c_int, all: bool) {
        let exec = match self.table.get_mut(key) {
            Some(exec) => exec,
            None => return,
        };
        if all {
            let id = exec.id.clone();
            return self.signal_all(core, &id, number, None);
        }
        if exec.exit.is_some() {
            return;
        }
        exec.killed |= number == signal::SIGKILL;
        let from_keyboard = matches!(number, signal::SIGINT | signal::SIGQUIT | signal::SIGTSTP);
        let group = match exec.terminal && from_keyboard {
            true => tty::foreground_group(exec.outputs[0].fd.raw()).unwrap_or(exec.pid),
            false => exec.pid,
        };
        signal::kill(-group, number);
    }

    /// The request's script has arrived, or was included from the start.
    pub fn open(&mut self, core: &mut Core, stream: u32, open: &Value) -> Result<(), WireError> {
        let request = Request::parse(open)?;
        let known = self.by_id.get(&request.id).copied();
        if let (Some(key), false) = (known, matches!(request.command, request::Command::ScriptLater(..))) {
            return self.adopt(core, key, stream, request.fingerprint(None));
        }
        if known.is_none() && self.running() >= MAX_RUNNING {
            return Err(WireError::resource_limit(format!("{} commands run in this sandbox already", MAX_RUNNING)));
        }
        match request.command {
            request::Command::ScriptLater(_, bytes) => self.await_script(core, stream, request, bytes),
            _ => self.start(core, stream, request, None).map(|_| ()),
        }
    }
}
