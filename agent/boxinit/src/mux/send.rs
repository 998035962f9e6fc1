//! Sending: control frames first, then the streams' data in turn.

use super::{Link, Owner, State};
use crate::frame::{self, Header};
use crate::sys::io::{self, IoSlice};
use crate::sys::EAGAIN;
use std::time::{Duration, Instant};

const QUANTUM: usize = 16 * 1024;
/// How much one stream may send per turn if no other is ready.
const ALONE: usize = frame::MAX_DATA_BYTES;
/// Smaller payloads are copied next to the control frames and share one system call with them.
const COPY_BELOW: usize = 4 * 1024;
/// How long an answer is held back if more will soon follow, so that both are sent together.
const LAZY: Duration = Duration::from_millis(3);

impl Link {
    /// The stream may have something to send.
    pub fn mark_ready(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            if !stream.queued && stream.send_credit > 0 && !stream.fin_sent {
                stream.queued = true;
                self.ready.push_back(id);
            }
        }
    }

    /// Whether some stream could be served now.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty() && self.send_credit > 0 && !self.blocked && self.state == State::Up
    }

    /// The stream whose turn it is, and how much it may send. Its owner marks it ready again if it has more.
    pub fn next_ready(&mut self) -> Option<(u32, Owner, usize)> {
        while self.has_ready() {
            let id = self.ready.pop_front()?;
            let most = if self.ready.is_empty() { ALONE } else { QUANTUM };
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.queued = false;
                if stream.send_credit > 0 {
                    return Some((id, stream.owner, most.min(stream.send_credit).min(self.send_credit)));
                }
            }
        }
        None
    }

    /// Sends bytes of a channel; no more than `next_ready` allowed.
    pub fn data(&mut self, id: u32, channel: u16, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.send_credit = stream.send_credit.saturating_sub(bytes.len());
        }
        self.send_credit = self.send_credit.saturating_sub(bytes.len());
        let header = Header::new(frame::DATA, channel, id, bytes.len()).encode();
        self.lazy_until = None;
        if bytes.len() < COPY_BELOW || self.blocked {
            self.out.extend_from_slice(&header);
            self.out.extend_from_slice(bytes);
            return;
        }
        let pending = self.pending();
        let slices = [IoSlice::new(&self.out[self.out_at..]), IoSlice::new(&header), IoSlice::new(bytes)];
        let mut written = match io::write_vectored(self.fd.raw(), &slices) {
            Ok(count) => count,
            Err(EAGAIN) => 0,
            Err(_) => {
                self.broken = true;
                return;
            }
        };
        self.blocked = written < pending + header.len() + bytes.len();
        let from_out = written.min(pending);
        self.advance(from_out);
        written -= from_out;
        for part in [&header[..], bytes] {
            let sent = written.min(part.len());
            self.out.extend_from_slice(&part[sent..]);
            written -= sent;
        }
    }

    /// As `opened`, if more will follow within moments.
    pub fn opened_lazily(&mut self, id: u32, answer: &[u8]) {
        let idle = self.pending() == 0;
        let until = self.lazy_until;
        self.control(frame::OPENED, 0, id, answer);
        if idle {
            self.lazy_until = Some(Instant::now() + LAZY);
        } else {
            self.lazy_until = until;
        }
    }

    pub fn control(&mut self, kind: u8, channel: u16, id: u32, payload: &[u8]) {
        if self.state == State::Down {
            return;
        }
        self.lazy_until = None;
        self.out.extend_from_slice(&Header::new(kind, channel, id, payload.len()).encode());
        self.out.extend_from_slice(payload);
    }

    pub(super) fn pending(&self) -> usize {
        self.out.len() - self.out_at
    }

    fn advance(&mut self, count: usize) {
        self.out_at += count;
        if self.out_at == self.out.len() {
            self.out.clear();
            self.out_at = 0;
            if self.out.capacity() > 1024 * 1024 {
                self.out.shrink_to(64 * 1024);
            }
        } else if self.out_at > 256 * 1024 {
            self.out.drain(..self.out_at);
            self.out_at = 0;
        }
    }

    /// The socket cannot be written now.
    pub fn blocked(&self) -> bool {
        self.blocked
    }

    /// Whether something unsent could be written at once.
    pub fn due(&self) -> bool {
        self.pending() > 0 && !self.blocked && self.lazy_until.is_none()
    }

    /// The socket is writable again.
    pub fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Writes what is pending and not held back.
    pub fn flush(&mut self, now: Instant) {
        if self.pending() == 0 || self.blocked || matches!(self.lazy_until, Some(until) if until > now) {
            return;
        }
        self.lazy_until = None;
        match io::write(self.fd.raw(), &self.out[self.out_at..]) {
            Ok(count) => {
                self.blocked = count < self.pending();
                self.advance(count);
            }
            Err(EAGAIN) => self.blocked = true,
            Err(_) => self.broken = true,
        }
    }

    /// When held-back frames are to be sent.
    pub fn deadline(&self) -> Option<Instant> {
        self.lazy_until
    }
}
