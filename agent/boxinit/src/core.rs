//! What every part of the event loop works with.

use crate::exec::spawn::Spawner;
use crate::mux::Link;
use crate::ring::Budget;
use crate::slab::Key;
use crate::sys::io::{self, Fd};
use crate::sys::poll::Poll;
use crate::sys::process::Limit;
use crate::timers::Timers;
use crate::users::Accounts;
use std::collections::VecDeque;

/// Where an event of the poll came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Link,
    Signals,
    /// stdout (0) or stderr (1) of an exec.
    Output(Key, usize),
    Input(Key),
    /// A pipe that outlived its exec.
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

/// Something to go on with at the next turn of the loop, so that nothing holds it for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Take an exec's output although nobody listens.
    Drain(Key),
    Discard(Key),
    File(Key),
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
    /// What programs get when ours was raised.
    pub descriptor_limit: Option<Limit>,
    /// For bytes that nobody keeps.
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
