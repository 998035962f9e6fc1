//! Timers: few, so an ordered map will do.

use crate::slab::Key;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Dial the agent again.
    Dial,
    /// The agent's HELLO is overdue.
    Hello,
    /// An exec has reached its timeout.
    Timeout(Key),
    /// The next round of kills.
    Kills,
    /// Nobody reattached to an exec.
    Detached(Key),
    /// Nobody reattached to an exec soon: its program need not wait any longer.
    Hold(Key),
    /// A terminal whose leader is gone has been silent for a while.
    Settle(Key),
    /// The oldest kept exit expires.
    Kept,
    /// A directory reading expires.
    Listings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId(Instant, u64);

#[derive(Default)]
pub struct Timers {
    pending: BTreeMap<TimerId, Timer>,
    sequence: u64,
}

impl Timers {
    pub fn at(&mut self, when: Instant, timer: Timer) -> TimerId {
        self.sequence += 1;
        let id = TimerId(when, self.sequence);
        self.pending.insert(id, timer);
        id
    }

    pub fn after(&mut self, delay_ms: u64, timer: Timer) -> TimerId {
        self.at(Instant::now() + Duration::from_millis(delay_ms), timer)
    }

    pub fn cancel(&mut self, id: &mut Option<TimerId>) {
        if let Some(id) = id.take() {
            self.pending.remove(&id);
        }
    }

    pub fn next(&self) -> Option<Instant> {
        self.pending.keys().next().map(|id| id.0)
    }

    /// The next timer that is due.
    pub fn pop(&mut self, now: Instant) -> Option<Timer> {
        let id = *self.pending.keys().next()?;
        if id.0 > now {
            return None;
        }
        self.pending.remove(&id)
    }
}
