//! How an exec ends: the leader's exit, timeouts and kills, the exit event, and removal from the table.

use super::{Exec, Execs, Exit, MAX_KEPT};
use crate::core::{Core, Work};
use crate::frame;
use crate::json::Writer;
use crate::slab::Key;
use crate::sys::process::{self, Reaped};
use crate::sys::{c_int, signal};
use crate::timers::Timer;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// How long an unacknowledged exit is kept.
const KEPT: Duration = Duration::from_millis(3_600_000);
/// Only this many of the kept exits still have their output.
const MAX_KEPT_OUTPUT: usize = 512;
/// After its leader's exit, a terminal counts as ended once it has been silent for this long.
const SETTLE_MS: u64 = 200;

/// How long the dead are reaped per turn of the loop.
const REAPING: Duration = Duration::from_millis(5);

/// How many processes of this sandbox the kernel has OOM-killed.
#[derive(Default)]
pub struct OomCounter {
    file: Option<std::fs::File>,
    looked: bool,
}

impl OomCounter {
    /// None if the kernel does not show the sandbox its own count.
    pub fn read(&mut self) -> Option<u64> {
        if !self.looked {
            self.looked = true;
            let paths = ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"];
            self.file = paths.iter().find_map(|path| std::fs::File::open(path).ok());
        }
        let mut text = [0; 512];
        let count = self.file.as_ref().and_then(|file| file.read_at(&mut text, 0).ok()).unwrap_or(0);
        let text = std::str::from_utf8(&text[..count]).unwrap_or("");
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|number| number.trim().parse().ok())
    }
}

impl Execs {
    /// Reaps for a while. Orphans may die faster than they are reaped: among thousands of children, the kernel takes
    /// long to find a dead one.
    pub fn reap(&mut self, core: &mut Core) {
        let until = Instant::now() + REAPING;
        while let Some(reaped) = process::reap() {
            self.on_reaped(core, &reaped);
            if Instant::now() >= until {
                self.reap_leaders(core);
                if !std::mem::replace(&mut self.reaps_on, true) {
                    core.work.push_back(Work::Reap);
                }
                return;
            }
        }
    }

    pub fn reap_on(&mut self, core: &mut Core) {
        self.reaps_on = false;
        self.reap(core);
    }

    /// No command waits behind orphans.
    fn reap_leaders(&mut self, core: &mut Core) {
        let leaders: Vec<c_int> = self.by_pid.keys().copied().collect();
        for reaped in leaders.into_iter().filter_map(process::reap_if_dead) {
            self.on_reaped(core, &reaped);
        }
    }

    /// Adopted orphans belong to no exec.
    pub(super) fn on_reaped(&mut self, core: &mut Core, reaped: &Reaped) {
        let code = match (reaped.code(), reaped.signal()) {
            (Some(code), _) => code,
            (None, Some(signal)) => 128 + signal,
            // It is not dead.
            (None, None) => return,
        };
        let key = match self.by_pid.remove(&reaped.pid) {
            Some(key) => key,
            None => return,
        };
        let oom_now = if code == 128 + signal::SIGKILL { self.oom.read() } else { None };
        if let Some(exec) = self.table.get_mut(key) {
            exec.end(core, code, reaped.signal(), Some(reaped.usage));
            if let (Some(exit), false) = (&mut exec.exit, exec.killed) {
                exit.oom_killed = exec.oom_before.zip(oom_now).map(|(before, now)| now > before);
            }
        }
        self.leader_gone(core, key);
    }

    pub(super) fn leader_gone(&mut self, core: &mut Core, key: Key) {
        let exec = match self.table.get_mut(key) {
            Some(exec) => exec,
            None => return,
        };
        for output in exec.outputs.iter_mut() {
            output.leader_gone();
        }
        let unread = exec.input.close();
        if exec.terminal && exec.settle.is_none() {
            exec.settle = Some(core.timers.after(SETTLE_MS, Timer::Settle(key)));
        }
        match exec.stream {
            Some(stream) => {
                core.link.consume(stream, unread);
                core.link.mark_ready(stream);
                self.after_output(core, key);
            }
            None => core.work.push_back(Work::Drain(key)),
        }
    }

    /// A terminal that some process still holds has been silent since the leader's exit.
    pub fn on_settle(&mut self, core: &mut Core, key: Key) {
        if let Some(exec) = self.table.get_mut(key) {
            exec.settle = None;
            exec.settled = true;
            let output = &mut exec.outputs[0];
            if !output.done && output.readable {
                exec.settle = Some(core.timers.after(SETTLE_MS, Timer::Settle(key)));
                return;
            }
            output.end_terminal();
        }
        self.after_output(core, key);
    }

    pub(super) fn try_complete(&mut self, core: &mut Core, key: Key) {
        let exec = match self.table.get_mut(key) {
            Some(exec) => exec,
            None => return,
        };
        let over = exec.exit.is_some() && exec.killing.is_none() && exec.outputs.iter().all(|output| output.done);
        if !over {
            return;
        }
        if !exec.complete {
            exec.complete = true;
            core.timers.cancel(&mut exec.settle);
            if exec.forget {
                return self.forget(core, key);
            }
            self.keep(core, key);
        }
        self.send_exit(core, key);
    }

    /// Sends the exit once everything before it has been sent.
    pub(super) fn send_exit(&mut self, core: &mut Core, key: Key) {
        if let Some(exec) = self.table.get_mut(key) {
            if let (Some(stream), true, false) = (exec.stream, exec.complete && exec.all_sent(), exec.exit_sent) {
                exec.exit_sent = true;
                core.link.event(stream, &exec.exit_event());
                core.link.fin(stream, frame::ALL);
            }
        }
    }

    fn keep(&mut self, core: &mut Core, key: Key) {
        if self.kept.is_empty() {
            core.timers.at(Instant::now() + KEPT, Timer::Kept);
        }
        self.kept.push_back(key);
        if self.kept.len() >= MAX_KEPT_OUTPUT {
            // Keys of acknowledged exits are stale and do not count.
            let table = &self.table;
            self.kept.retain(|key| table.get(*key).is_some());
        }
        let older = self.kept.len().checked_sub(MAX_KEPT_OUTPUT).and_then(|at| self.kept.get(at).copied());
        if let Some(exec) = older.and_then(|key| self.table.get_mut(key)) {
            if exec.all_sent() || exec.stream.is_none() {
                exec.outputs.iter_mut().for_each(|output| output.ring.forget());
            }
        }
        while self.kept.len() > MAX_KEPT {
            if let Some(oldest) = self.kept.pop_front() {
                self.release(core, oldest);
            }
        }
    }

    /// Forgets an exit although a stream may be attached.
    fn release(&mut self, core: &mut Core, key: Key) {
        if let Some(stream) = self.table.get(key).and_then(|exec| exec.stream) {
            core.link.reset(stream, &crate::error::WireError::new("exec_not_found", "This exit was kept too long."));
        }
        self.forget(core, key);
    }

    pub fn on_kept(&mut self, core: &mut Core) {
        let now = Instant::now();
        while let Some(key) = self.kept.front().copied() {
            let until = self.table.get(key).and_then(|exec| exec.exit.as_ref()).map(|exit| exit.when + KEPT);
            match until {
                Some(until) if until > now => {
                    core.timers.at(until, Timer::Kept);
                    return;
                }
                _ => {
                    self.kept.pop_front();
                    self.release(core, key);
                }
            }
        }
    }

    pub fn on_timeout(&mut self, core: &mut Core, key: Key) {
        if let Some(exec) = self.table.get_mut(key) {
            exec.timeout = None;
            if exec.exit.is_some() || exec.killing.is_some() {
                return;
            }
            exec.timed_out = true;
        }
        self.start_kill(core, key);
    }

    /// Nobody reattached.
    pub fn on_detached(&mut self, core: &mut Core, key: Key) {
        if let Some(exec) = self.table.get_mut(key) {
            exec.detached = None;
            if exec.complete {
                return;
            }
            exec.forget = true;
        }
        self.start_kill(core, key);
    }
}

impl Exec {
    /// None of its processes is left, whether or not all its output was read: a reader may be slow, or never read on.
    pub(super) fn is_over(&self) -> bool {
        let known = self.complete || !self.terminal || self.settled;
        self.exit.is_some() && self.killing.is_none() && known
    }

    pub(super) fn end(
        &mut self,
        core: &mut Core,
        code: i32,
        signal: Option<i32>,
        usage: Option<crate::sys::process::Usage>,
    ) {
        core.timers.cancel(&mut self.timeout);
        let now = Instant::now();
        self.exit = Some(Exit {
            code,
            signal,
            // The count is the sandbox's: its growth is due to some command other than one that we killed.
            oom_killed: self.killed.then_some(false),
            duration_ms: now.duration_since(self.started).as_secs_f64() * 1e3,
            usage,
            when: now,
        });
    }

    fn exit_event(&self) -> Vec<u8> {
        let mut out = Writer::object();
        out.str("type", b"exit");
        self.write_exit(&mut out);
        out.end()
    }

    /// The members of an `ExecExit`.
    pub(super) fn write_exit(&self, out: &mut Writer) {
        let exit = match &self.exit {
            Some(exit) => exit,
            None => return,
        };
        out.int("exitCode", exit.code.into());
        match exit.signal {
            Some(number) => out.str("signal", signal::name(number).as_bytes()),
            None => out.null("signal"),
        }
        out.bool("timedOut", self.timed_out);
        out.bool("oomKilled", exit.oom_killed == Some(true));
        if exit.oom_killed.is_some() {
            // The agent need not consult its own count.
            out.bool("oomCounted", true);
        }
        out.uint("stdoutBytes", self.outputs[0].total());
        out.uint("stderrBytes", self.outputs[1].total());
        out.float("durationMs", exit.duration_ms);
        if let Some(usage) = &exit.usage {
            out.begin_object("usage");
            out.float("userMs", usage.user.as_ms());
            out.float("systemMs", usage.system.as_ms());
            out.int("maxRssKb", usage.max_rss_kb);
            out.close();
        }
    }
}
