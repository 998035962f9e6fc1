//! boxinit's end of the link: frames in and out, credit both ways, and the open streams. The agent opens every stream.
//!
//! Data is pulled: when the link can send more, `next_ready` names the stream whose turn it is, and its owner calls
//! `data`. So only control frames and the rest of one half-written frame are ever queued here.

mod receive;
mod send;
mod streams;

pub use receive::Received;

use crate::frame;
use crate::slab::Key;
use crate::sys::io::Fd;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

const STREAM_WINDOW: usize = 256 * 1024;
const LINK_WINDOW: usize = 1024 * 1024;
/// With this much unsent, no more data is pulled.
const BACKLOG: usize = 4 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Exec(Key),
    /// An exec whose script is still arriving.
    Script(Key),
    Port(Key),
    File(Key),
}

pub struct Stream {
    pub owner: Owner,
    send_credit: usize,
    /// Credit that the peer has left.
    receive_credit: usize,
    /// Consumed bytes for which credit has not been returned yet.
    owed: usize,
    pub fin_sent: bool,
    pub fin_received: bool,
    /// Bitmask of the channels on which the peer has sent FIN.
    fins_received: u32,
    queued: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Down,
    /// Connected; the agent's HELLO has not arrived yet.
    Greeting,
    Up,
}

pub struct Link {
    fd: Fd,
    pub state: State,
    out: Vec<u8>,
    out_at: usize,
    /// The socket is full; the poll reports when it is writable again.
    blocked: bool,
    lazy_until: Option<Instant>,
    send_credit: usize,
    receive_credit: usize,
    owed: usize,
    streams: HashMap<u32, Stream>,
    /// The highest id used by the agent.
    last: u32,
    ready: VecDeque<u32>,
    /// The socket failed; the loop must close it.
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

    /// Closes the socket and returns the owners of the streams this cut.
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
}
