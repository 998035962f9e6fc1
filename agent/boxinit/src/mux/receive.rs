//! Credit that the agent uses, and credit that it grants.

use super::{Link, LINK_WINDOW, STREAM_WINDOW};
use crate::frame;

/// Whether the peer had credit for what it sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    Within,
    BeyondStream,
    BeyondLink,
}

impl Link {
    /// The rule that a further frame of the stream would break, if any: DATA or FIN on a channel, or an EVENT, which
    /// has none. A closed stream has no rules: the frame may have crossed its end on the way.
    pub fn broken_rule(&self, id: u32, channel: Option<u16>) -> Option<&'static str> {
        let stream = self.streams.get(&id)?;
        match channel {
            _ if stream.fin_received => Some("something came after FIN ALL"),
            None | Some(frame::ALL) => None,
            Some(channel) if channel > frame::MAX_CHANNEL => Some("there is no such channel"),
            Some(channel) if stream.fins_received >> channel & 1 != 0 => {
                Some("something came after FIN of its channel")
            }
            Some(_) => None,
        }
    }

    /// Counts received DATA, of any stream.
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

    /// A stream's bytes have been consumed.
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

    /// The peer granted credit. False if the total exceeds any window.
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
}
