//! Our end of the link: frames in and out, credit both ways, and which streams are open. The agent opens every stream.
//!
//! Data is pulled: when the link takes more, `next_ready` names the stream whose turn it is, and its owner calls `data`.
//! So nothing is queued here but control frames and the rest of one half-written frame.

use crate::error::WireError;
use crate::frame::{self, Header};
use crate::slab::Key;
use crate::sys::io::{self, Fd, IoSlice};
use crate::sys::EAGAIN;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

const STREAM_WINDOW: usize = 256 * 1024;
const LINK_WINDOW: usize = 1024 * 1024;
const QUANTUM: usize = 16 * 1024;
/// What one stream may send at a time when no other wants to.
const ALONE: usize = frame::MAX_DATA_BYTES;
const MAX_STREAMS: usize = 16_384;
/// Below this, bytes are copied beside the control frames and share one system call with them.
const COPY_BELOW: usize = 4 * 1024;
/// An answer that something else will soon follow is held back this long, so that both travel together.
const LAZY: Duration = Duration::from_millis(3);
/// With so much unsent, nothing more is asked for.
const BACKLOG: usize = 4 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Exec(Key),
    /// An exec whose script is still on its way.
    Script(Key),
    Port(Key),
    File(Key),
}

pub struct Stream {
    pub owner: Owner,
    send_credit: usize,
    /// What the peer may still send.
    receive_credit: usize,
    /// Consumed and not yet given back.
    owed: usize,
    pub fin_sent: bool,
    pub fin_received: bool,
    queued: bool,
}

/// Whether the peer had credit for what it sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Within,
    BeyondStream,
    BeyondLink,
}

#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Down,
    /// Connected; the agent has not greeted us yet.
    Greeting,
    Up,
}

pub struct Link {
    fd: Fd,
    pub state: State,
    out: Vec<u8>,
    out_at: usize,
    /// The socket refused bytes; it will say when it takes more.
    blocked: bool,
    lazy_until: Option<Instant>,
    send_credit: usize,
    receive_credit: usize,
    owed: usize,
    streams: HashMap<u32, Stream>,
    /// The highest id that the agent used.
    last: u32,
    ready: VecDeque<u32>,
    /// The socket failed; the loop is to close it.
    pub broken: bool,
}

impl Default for Link {
    fn default() -> Link {
        Link {
            fd: Fd::NONE,
            state: State::Down,
            out: Vec::new(),
            out_at: 0,
            blocked: false,
            lazy_until: None,
            send_credit: 0,
            receive_credit: 0,
            owed: 0,
            streams: HashMap::new(),
            last: 0,
            ready: VecDeque::new(),
            broken: false,
        }
    }
}

impl Link {
    pub fn start(&mut self, fd: Fd, hello: &[u8]) {
        *self = Link {
            fd,
            state: State::Greeting,
            send_credit: LINK_WINDOW,
            receive_credit: LINK_WINDOW,
            ..Link::default()
        };
        self.control(frame::HELLO, 0, 0, hello);
    }

    /// Closes the socket and returns the owners of the streams that it cut.
    pub fn stop(&mut self) -> Vec<(u32, Owner)> {
        let cut = self.streams.iter().map(|(id, stream)| (*id, stream.owner)).collect();
        *self = Link::default();
        cut
    }

    pub fn fd(&self) -> i32 {
        self.fd.raw()
    }

    pub fn overloaded(&self) -> bool {
        self.out.len() - self.out_at > BACKLOG
    }

    pub fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        self.streams.get_mut(&id)
    }

    // ---- streams

    /// False when as many streams are open as may be.
    pub fn open(&mut self, id: u32, owner: Owner) -> bool {
        self.last = self.last.max(id);
        if self.streams.len() >= MAX_STREAMS {
            return false;
        }
        let stream = Stream {
            owner,
            send_credit: STREAM_WINDOW,
            receive_credit: STREAM_WINDOW,
            owed: 0,
            fin_sent: false,
            fin_received: false,
            queued: false,
        };
        self.streams.insert(id, stream);
        true
    }

    /// Ids are even and count upwards.
    pub fn may_open(&self, id: u32) -> bool {
        id % 2 == 0 && id > self.last
    }

    /// Whether a frame may name this stream: it is open, or was.
    pub fn may_name(&self, id: u32) -> bool {
        id % 2 == 0 && id <= self.last
    }

    pub fn set_owner(&mut self, id: u32, owner: Owner) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.owner = owner;
        }
    }

    /// Forgets a stream without a word.
    pub fn drop_stream(&mut self, id: u32) -> Option<Owner> {
        self.streams.remove(&id).map(|stream| stream.owner)
    }

    pub fn opened(&mut self, id: u32, answer: &[u8]) {
        self.control(frame::OPENED, 0, id, answer);
    }

    /// As `opened`, when more will follow within moments.
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

    /// Answers a call that has no stream behind it.
    pub fn answer(&mut self, id: u32, answer: &[u8]) {
        self.opened(id, answer);
        self.control(frame::FIN, frame::ALL, id, &[]);
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.fin_sent = true;
        }
        self.settle(id);
    }

    pub fn refuse(&mut self, id: u32, error: &WireError) {
        self.streams.remove(&id);
        self.control(frame::REFUSED, 0, id, &error.to_json());
    }

    pub fn reset(&mut self, id: u32, error: &WireError) {
        if self.streams.remove(&id).is_some() {
            self.control(frame::RESET, 0, id, &error.to_json());
        }
    }

    pub fn event(&mut self, id: u32, message: &[u8]) {
        self.control(frame::EVENT, 0, id, message);
    }

    pub fn fin(&mut self, id: u32, channel: u16) {
        self.control(frame::FIN, channel, id, &[]);
        if channel == frame::ALL {
            if let Some(stream) = self.streams.get_mut(&id) {
                stream.fin_sent = true;
            }
            self.settle(id);
        }
    }

    /// The peer said FIN ALL.
    pub fn finished_by_peer(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.fin_received = true;
        }
        self.settle(id);
    }

    /// A stream is gone once both directions have ended.
    fn settle(&mut self, id: u32) {
        if matches!(self.streams.get(&id), Some(stream) if stream.fin_sent && stream.fin_received) {
            self.streams.remove(&id);
        }
    }

    // ---- receiving

    /// Counts DATA that arrived, for whichever stream.
    pub fn received(&mut self, id: u32, bytes: usize) -> Received {
        if bytes > self.receive_credit {
            return Received::BeyondLink;
        }
        self.receive_credit -= bytes;
        self.owed += bytes;
        if self.owed >= LINK_WINDOW / 2 {
            let owed = std::mem::take(&mut self.owed);
            self.receive_credit += owed;
            self.credit(0, owed);
        }
        match self.streams.get_mut(&id) {
            Some(stream) if bytes > stream.receive_credit || stream.fin_received => Received::BeyondStream,
            Some(stream) => {
                stream.receive_credit -= bytes;
                Received::Within
            }
            None => Received::Within,
        }
    }

    /// Bytes of a stream have been taken by whoever they were for.
    pub fn consume(&mut self, id: u32, bytes: usize) {
        let owed = match self.streams.get_mut(&id) {
            Some(stream) => {
                stream.owed += bytes;
                if stream.owed < STREAM_WINDOW / 2 || stream.fin_received {
                    return;
                }
                let owed = std::mem::take(&mut stream.owed);
                stream.receive_credit += owed;
                owed
            }
            None => return,
        };
        self.credit(id, owed);
    }

    fn credit(&mut self, id: u32, bytes: usize) {
        self.control(frame::CREDIT, 0, id, &(bytes as u32).to_be_bytes());
    }

    /// The peer gave credit. False when that is more than any window.
    pub fn credited(&mut self, id: u32, bytes: usize) -> bool {
        if id == 0 {
            self.send_credit += bytes;
            return self.send_credit <= LINK_WINDOW;
        }
        let within = match self.streams.get_mut(&id) {
            Some(stream) => {
                stream.send_credit += bytes;
                stream.send_credit <= STREAM_WINDOW
            }
            None => true,
        };
        self.mark_ready(id);
        within
    }

    // ---- sending

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

    pub fn control(&mut self, kind: u8, channel: u16, id: u32, payload: &[u8]) {
        if self.state == State::Down {
            return;
        }
        self.lazy_until = None;
        self.out.extend_from_slice(&Header::new(kind, channel, id, payload.len()).encode());
        self.out.extend_from_slice(payload);
    }

    fn pending(&self) -> usize {
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

    /// The socket takes bytes again.
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

    /// When what is held back is to be sent.
    pub fn deadline(&self) -> Option<Instant> {
        self.lazy_until
    }
}
