//! Kills of all execs, in rounds: one scan of the process table serves every pending kill, and every signal to all
//! processes of a command, so that many at once cost about as much as one.

use super::Execs;
use crate::core::Core;
use crate::kill::{self, Family, NOBODY};
use crate::slab::Key;
use crate::sys::signal::SIGKILL;
use crate::sys::{c_int, process};
use crate::timers::{Timer, TimerId};
use std::time::{Duration, Instant};

/// How long to wait for processes that survive SIGKILL.
const GIVE_UP: Duration = Duration::from_millis(2_000);
const FIRST_PAUSE_MS: u64 = 1;
const MAX_PAUSE_MS: u64 = 50;
/// Minimum pause between rounds, even when new kills keep coming.
const MIN_REST: Duration = Duration::from_millis(1);

pub(super) struct Killing {
    /// End of the grace period.
    kill_at: Instant,
    /// Its processes were sent SIGTERM.
    asked: bool,
    /// Set once SIGKILL was sent: when to stop waiting for processes that do not die.
    give_up: Option<Instant>,
}

impl Killing {
    fn is_strict(&self, now: Instant) -> bool {
        self.give_up.is_some() || now >= self.kill_at
    }
}

/// A signal to all processes of a command, which may have been forgotten by now.
struct Signal {
    id: Vec<u8>,
    tag: u64,
    key: Option<Key>,
    leader: c_int,
    number: c_int,
    /// The call to answer once the signal is sent.
    stream: Option<u32>,
}

#[derive(Default)]
pub(super) struct Kills {
    /// May contain stale keys.
    dying: Vec<Key>,
    signals: Vec<Signal>,
    next: Option<(Instant, TimerId)>,
    pause_ms: u64,
    /// The next round begins no sooner, so that rounds never take most of the loop's time.
    rest_until: Option<Instant>,
}

impl Kills {
    fn round_at(&mut self, core: &mut Core, when: Instant) {
        let when = self.rest_until.map_or(when, |rest| when.max(rest));
        if let Some((planned, timer)) = self.next {
            if planned <= when {
                return;
            }
            core.timers.cancel(&mut Some(timer));
        }
        self.next = Some((when, core.timers.at(when, Timer::Kills)));
    }

    fn round_soon(&mut self, core: &mut Core) {
        self.pause_ms = FIRST_PAUSE_MS;
        self.round_at(core, Instant::now());
    }
}

impl Execs {
    fn family(&self, key: Key) -> Option<Family<'_>> {
        let exec = self.table.get(key)?;
        Some(Family { id: &exec.id, tag: exec.tag, leader: exec.pid, leader_reaped: exec.exit.is_some() })
    }

    pub(super) fn start_kill(&mut self, core: &mut Core, key: Key) {
        if let Some(exec) = self.table.get_mut(key) {
            if exec.killing.is_some() {
                return;
            }
            let kill_at = Instant::now() + Duration::from_millis(exec.kill_grace_ms);
            exec.killing = Some(Killing { kill_at, asked: false, give_up: None });
            exec.killed = true;
            self.kills.dying.push(key);
            self.kills.round_soon(core);
        }
    }

    /// Finds processes by the tags they carry, and so also those left running by a command that has ended and is
    /// forgotten.
    pub(super) fn signal_all(&mut self, core: &mut Core, id: &[u8], number: c_int, stream: Option<u32>) {
        let key = self.by_id.get(id).copied();
        if let (SIGKILL, Some(exec)) = (number, key.and_then(|key| self.table.get_mut(key))) {
            exec.killed = true;
        }
        let exec = key.and_then(|key| self.table.get(key));
        let tag = exec.map_or_else(|| self.tag_of(id), |exec| exec.tag);
        let leader = exec.map_or(NOBODY, |exec| exec.pid);
        self.kills.signals.push(Signal { id: id.to_vec(), tag, key, leader, number, stream });
        self.kills.round_soon(core);
    }

    /// The calls waiting for a round are gone with the link; their signals are sent anyway.
    pub fn forget_callers(&mut self) {
        self.kills.signals.iter_mut().for_each(|signal| signal.stream = None);
    }

    /// Runs the next round for everything being killed.
    pub fn on_kills(&mut self, core: &mut Core) {
        let began = Instant::now();
        self.kills.next = None;
        let mut dying = std::mem::take(&mut self.kills.dying);
        dying.retain(|key| matches!(self.table.get(*key), Some(exec) if exec.killing.is_some()));
        let signals = std::mem::take(&mut self.kills.signals);
        let gone = self.round(&dying, &signals, began);
        let now = Instant::now();
        self.kills.rest_until = Some(now + (now - began).max(MIN_REST));
        for stream in signals.iter().filter_map(|signal| signal.stream) {
            if core.link.stream(stream).is_some() {
                core.link.answer(stream, b"{}");
            }
        }
        let mut next = None;
        for (key, gone) in dying.into_iter().zip(gone) {
            let leader = self.table.get(key).filter(|exec| gone && exec.exit.is_none()).map(|exec| exec.pid);
            if let Some(reaped) = leader.and_then(process::reap_if_dead) {
                self.on_reaped(core, &reaped);
            }
            match self.after_round(key, gone, began) {
                Some(kill_at) => {
                    self.kills.dying.push(key);
                    next = Some(kill_at.min(next.unwrap_or(kill_at)));
                }
                None => self.end_kill(core, key),
            }
        }
        if let Some(kill_at) = next {
            let pause = Duration::from_millis(self.kills.pause_ms);
            self.kills.pause_ms = (self.kills.pause_ms * 2).min(MAX_PAUSE_MS);
            self.kills.round_at(core, kill_at.min(now + pause));
        }
    }

    /// Scans the table and sends the pending signals. Returns for each dying exec whether none of its processes is
    /// left.
    fn round(&self, dying: &[Key], signals: &[Signal], now: Instant) -> Vec<bool> {
        let is_leader = |pid: c_int| self.by_pid.contains_key(&pid);
        let killing = |key: &Key| self.table.get(*key).and_then(|exec| exec.killing.as_ref());
        let mut families: Vec<Family> = dying.iter().filter_map(|key| self.family(*key)).collect();
        families.extend(signals.iter().map(|signal| {
            let running = signal.key.is_some() && self.by_pid.get(&signal.leader) == signal.key.as_ref();
            Family { id: &signal.id, tag: signal.tag, leader: signal.leader, leader_reaped: !running }
        }));
        if families.is_empty() {
            return Vec::new();
        }
        let mut found = kill::members(&families, &is_leader);
        let mut gone: Vec<bool> = found.iter().map(|members| members.living.is_empty()).collect();
        let mut strict = Vec::new();
        for (at, key) in dying.iter().enumerate() {
            match killing(key) {
                Some(killing) if killing.is_strict(now) => strict.push(at),
                Some(killing) if !killing.asked => kill::terminate(&found[at].living),
                _ => {}
            }
        }
        for (at, signal) in (dying.len()..).zip(signals) {
            match signal.number {
                SIGKILL => strict.push(at),
                number => kill::send(&found[at].living, number),
            }
        }
        let doomed: Vec<Family> = strict.iter().map(|at| families[*at]).collect();
        let first = strict.iter().map(|at| std::mem::take(&mut found[*at])).collect();
        for (at, nobody_left) in strict.into_iter().zip(kill::exterminate(&doomed, &is_leader, first)) {
            gone[at] = nobody_left;
        }
        gone
    }

    /// Returns when a further round is needed, at the end of the grace period at the latest; None if there is nothing
    /// left to wait for.
    fn after_round(&mut self, key: Key, gone: bool, began: Instant) -> Option<Instant> {
        let exec = self.table.get_mut(key)?;
        // A dead leader that cannot be reaped is traced by someone who does not wait for it.
        let gone = gone && exec.exit.is_some();
        let killing = exec.killing.as_mut()?;
        let strict = killing.is_strict(began);
        killing.asked = true;
        if strict && killing.give_up.is_none() {
            killing.give_up = Some(began + GIVE_UP);
            self.kills.pause_ms = FIRST_PAUSE_MS;
        }
        match killing.give_up {
            _ if gone => None,
            Some(when) if began >= when => None,
            Some(when) => Some(when),
            None => Some(killing.kill_at),
        }
    }

    fn end_kill(&mut self, core: &mut Core, key: Key) {
        let exec = match self.table.get_mut(key) {
            Some(exec) => exec,
            None => return,
        };
        exec.killing = None;
        if exec.exit.is_none() {
            // The leader hangs in the kernel, or in the hands of its tracer. It counts as dead.
            self.by_pid.remove(&exec.pid);
            exec.end(core, 128 + SIGKILL, Some(SIGKILL), None);
            return self.leader_gone(core, key);
        }
        if exec.complete && exec.forget {
            return self.forget(core, key);
        }
        self.after_output(core, key);
    }

    /// Called before boxinit itself exits, where that alone does not end them.
    pub fn kill_all(&mut self) {
        let families: Vec<Family> = self.table.keys().into_iter().filter_map(|key| self.family(key)).collect();
        if families.is_empty() {
            return;
        }
        for _ in 0..3 {
            for members in kill::members(&families, &|pid| self.by_pid.contains_key(&pid)) {
                kill::send(&members.living, SIGKILL);
            }
        }
    }
}
