//! A program's output: from its pipe into the ring, and from the ring to the reader.

use super::{Exec, Execs};
use crate::core::{Core, Work};
use crate::frame;
use crate::ring::{Budget, Ring};
use crate::slab::Key;
use crate::sys::io::{self, Fd};
use crate::sys::{poll, EAGAIN};

/// Bytes read per loop turn from a pipe that has no reader.
const TURN_BYTES: usize = 256 * 1024;
/// A read of this size means that the program writes a lot.
const BULK_BYTES: usize = 16 * 1024;
/// The fraction of a ring that a program may still fill while it waits for a reader. The rest exceeds what the windows
/// of all links between here and the client allow in flight.
const HOLD_ROOM: u64 = 8;
/// More than the kernel buffers between the two ends of a terminal, which does not report how much it holds.
const TERMINAL_BYTES: usize = 256 * 1024;

pub struct Output {
    pub fd: Fd,
    channel: u16,
    terminal: bool,
    /// The pipe may have data.
    pub readable: bool,
    hung_up: bool,
    enlarged: bool,
    /// Bytes still to be read after the leader's exit: what was in the pipe then, or may have been.
    remaining: Option<usize>,
    /// Nothing more is read for this exec.
    pub done: bool,
    pub ring: Ring,
    /// Offset up to which output was sent to the reader.
    pub sent: u64,
    /// Offset up to which the pipe is read without a reader, since the last output sent may have to be sent again.
    hold_at: Option<u64>,
}

impl Output {
    pub fn new(fd: Fd, channel: u16, ring_bytes: usize, budget: Budget) -> Output {
        Output {
            done: !fd.is_open(),
            fd,
            channel,
            terminal: channel == frame::PTY,
            readable: false,
            hung_up: false,
            enlarged: false,
            remaining: None,
            ring: Ring::new(ring_bytes, budget),
            sent: 0,
            hold_at: None,
        }
    }

    /// Bytes written by the program, as far as known: includes what the leader left in the pipe, but not what is in a
    /// terminal.
    pub fn total(&self) -> u64 {
        match self.remaining {
            Some(left) if !self.done && !self.terminal => self.ring.written() + left as u64,
            _ => self.ring.written(),
        }
    }

    pub fn unsent(&self) -> bool {
        self.sent < self.ring.written()
    }

    /// Whether the program is blocked until a reader returns.
    fn held(&self) -> bool {
        self.hold_at.map_or(false, |limit| self.ring.written() >= limit)
    }

    /// Keeps what may be in flight to a reader that was cut off: most of the ring.
    pub fn hold(&mut self) {
        self.hold_at = Some(self.sent + self.ring.capacity() as u64 / HOLD_ROOM);
    }

    pub fn release_hold(&mut self) {
        self.hold_at = None;
    }

    fn wants_turn(&self) -> bool {
        self.unsent() || (self.readable && !self.done)
    }

    fn end(&mut self) {
        self.done = true;
        self.readable = false;
        self.fd.close();
    }

    /// Reads once, at most `max` bytes.
    fn fill(&mut self, max: usize) -> usize {
        if self.done || !self.readable {
            return 0;
        }
        let left = self.hold_at.map_or(u64::MAX, |limit| limit.saturating_sub(self.ring.written()));
        let max = max.min(self.remaining.unwrap_or(usize::MAX)).min(left.min(usize::MAX as u64) as usize);
        if max == 0 {
            return 0;
        }
        let (asked, read) = match max {
            // Most likely EOF, for which no memory is allocated.
            1 => {
                let mut byte = [0];
                let read = io::read(self.fd.raw(), &mut byte);
                if read == Ok(1) {
                    self.ring.room(1)[0] = byte[0];
                }
                (1, read)
            }
            _ => {
                let room = self.ring.room(max);
                (room.len(), io::read(self.fd.raw(), room))
            }
        };
        match read {
            Ok(0) => {
                self.end();
                0
            }
            Ok(count) => {
                self.ring.commit(count);
                if let Some(remaining) = &mut self.remaining {
                    *remaining -= count.min(*remaining);
                }
                // A short read means the pipe is empty, and the next write is a new event. After a hang-up there is no
                // next event; a terminal returns as much as it likes; and what the leader left is read until none is.
                if count < asked && !self.terminal && !self.hung_up && self.remaining.is_none() {
                    self.readable = false;
                }
                if count >= BULK_BYTES && !self.enlarged && !self.terminal {
                    self.enlarged = true;
                    io::enlarge_pipe(self.fd.raw());
                }
                count
            }
            Err(EAGAIN) => {
                self.readable = false;
                // Another process has read from the pipe, and so there is less than the leader left.
                if let (Some(remaining), false) = (&mut self.remaining, self.terminal) {
                    *remaining = 0;
                }
                0
            }
            Err(_) => {
                self.end();
                0
            }
        }
    }

    /// The leader is gone. What it wrote is in the pipe; anything later comes from a background child.
    pub fn leader_gone(&mut self) {
        if self.done {
            return;
        }
        self.readable = true;
        self.remaining = Some(match self.terminal {
            true => TERMINAL_BYTES,
            false => io::readable_bytes(self.fd.raw()),
        });
    }

    /// All output of the leader has been read. Returns the pipe if another process still holds it.
    fn finish(&mut self) -> Option<Fd> {
        if self.done || self.remaining != Some(0) {
            return None;
        }
        if self.hung_up || self.terminal {
            self.end();
            return None;
        }
        self.done = true;
        self.readable = false;
        Some(self.fd.take())
    }

    pub fn end_terminal(&mut self) {
        self.end();
    }
}

impl Exec {
    fn next_output(&mut self, wanted: impl Fn(&Output) -> bool) -> Option<usize> {
        let order = [self.turn, 1 - self.turn];
        let which = order.iter().copied().find(|which| wanted(&self.outputs[*which]))?;
        self.turn = 1 - which;
        Some(which)
    }

    pub(super) fn all_sent(&self) -> bool {
        !self.outputs.iter().any(|output| output.unsent())
    }
}

impl Execs {
    pub fn on_output(&mut self, core: &mut Core, key: Key, which: usize, events: u32) {
        let exec = match self.table.get_mut(key) {
            Some(exec) => exec,
            None => return,
        };
        let output = &mut exec.outputs[which];
        if output.done {
            return;
        }
        output.readable = true;
        output.hung_up |= events & (poll::HUP | poll::ERR) != 0;
        match exec.stream {
            // Only a hang-up is read at once: it costs no credit.
            Some(stream) if events & poll::IN == 0 => {
                output.fill(1);
                core.link.mark_ready(stream);
                self.after_output(core, key);
            }
            Some(stream) => core.link.mark_ready(stream),
            None => self.drain(core, key),
        }
    }

    /// The stream's turn: sends at most `budget` bytes.
    pub fn produce(&mut self, core: &mut Core, key: Key, stream: u32, budget: usize) {
        let exec = match self.table.get_mut(key) {
            Some(exec) if exec.stream == Some(stream) => exec,
            _ => return,
        };
        if let Some(which) = exec.next_output(Output::wants_turn) {
            let output = &mut exec.outputs[which];
            if !output.unsent() {
                output.fill(budget);
            }
            let bytes = output.ring.slice(output.sent, budget);
            core.link.data(stream, output.channel, bytes);
            output.sent += bytes.len() as u64;
        }
        if exec.outputs.iter().any(Output::wants_turn) {
            core.link.mark_ready(stream);
        }
        self.after_output(core, key);
    }

    /// Without a reader: reads everything into the ring, overwriting the oldest once no reader is expected soon.
    pub fn drain(&mut self, core: &mut Core, key: Key) {
        let exec = match self.table.get_mut(key) {
            Some(exec) if exec.stream.is_none() => exec,
            _ => return,
        };
        for output in exec.outputs.iter_mut() {
            let mut taken = 0;
            while output.readable && !output.done && taken < TURN_BYTES {
                match output.fill(io::CHUNK) {
                    0 => break,
                    count => taken += count,
                }
            }
        }
        let more = |output: &Output| output.readable && !output.done && !output.held() && output.remaining != Some(0);
        if exec.outputs.iter().any(more) {
            core.work.push_back(Work::Drain(key));
        }
        self.after_output(core, key);
    }

    /// After a read or a send: checks whether the output is complete.
    pub(super) fn after_output(&mut self, core: &mut Core, key: Key) {
        let exec = match self.table.get_mut(key) {
            Some(exec) => exec,
            None => return,
        };
        if exec.exit.is_none() {
            return;
        }
        for output in exec.outputs.iter_mut() {
            if let Some(fd) = output.finish() {
                self.discards.add(core, fd);
            }
        }
        self.try_complete(core, key);
    }
}
