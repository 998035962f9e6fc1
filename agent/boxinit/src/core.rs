//! State shared by all parts of the event loop.

use crate::exec::spawn::Spawner;
use crate::mux::Link;
use crate::ring::Budget;
use crate::slab::Key;
use crate::sys::io::{self, Fd};
use crate::sys::limits::Limit;
use crate::sys::poll::Poll;
use crate::timers::Timers;
use crate::users::Accounts;
use std::collections::VecDeque;

/// The source of a poll event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Link,
    Signals,
    /// stdout (0) or stderr (1) of an exec.
    Output(Key, usize),
    Input(Key),
    /// A pipe still open after its exec has ended.
    Discard(Key),
    Port(Key),
    File(Key),
}

impl Source {
    pub fn token(self) -> u64 {
        let pack = |kind: u64, key: Key| kind << 56 | (key.index as u64) << 32 | key.generation as u64;
        match self {
            Source::Link => 1 << 56,
            Source::Signals => 2 << 56,
            Source::Output(key, which) => pack(3 + which as u64, key),
            Source::Input(key) => pack(5, key),
            Source::Discard(key) => pack(6, key),
            Source::Port(key) => pack(7, key),
            Source::File(key) => pack(8, key),
        }
    }

    pub fn from_token(token: u64) -> Option<Source> {
        let key = Key { index: (token >> 32) as u16, generation: token as u32 };
        Some(match token >> 56 {
            1 => Source::Link,
            2 => Source::Signals,
            3 => Source::Output(key, 0),
            4 => Source::Output(key, 1),
            5 => Source::Input(key),
            6 => Source::Discard(key),
            7 => Source::Port(key),
            8 => Source::File(key),
            _ => return None,
        })
    }
}

/// Work to continue on the loop's next turn, so that nothing blocks it for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Read an exec's output although no stream is attached.
    Drain(Key),
    Discard(Key),
    File(Key),
    Reap,
}

pub struct Core {
    pub link: Link,
    pub poll: Poll,
    pub timers: Timers,
    pub work: VecDeque<Work>,
    pub spawner: Spawner,
    pub accounts: Accounts,
    pub budget: Budget,
    pub null: Fd,
    /// The original limit, which programs get back.
    pub descriptor_limit: Option<Limit>,
    /// Scratch space for discarded bytes.
    pub scratch: Vec<u8>,
}

impl Core {
    pub fn new(null: Fd, spawner: Spawner, descriptor_limit: Option<Limit>) -> Result<Core, i32> {
        Ok(Core {
            link: Link::default(),
            poll: Poll::new()?,
            timers: Timers::default(),
            work: VecDeque::new(),
            spawner,
            accounts: Accounts::default(),
            budget: Budget::default(),
            null,
            descriptor_limit,
            scratch: vec![0; io::CHUNK],
        })
    }
}
