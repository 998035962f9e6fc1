//! Streams: opened, answered, ended.

use super::{Link, Owner, Stream, STREAM_WINDOW};
use crate::error::WireError;
use crate::frame;

const MAX_STREAMS: usize = 16_384;

impl Link {
    /// False if the maximum number of streams is open.
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
            fins_received: 0,
            queued: false,
        };
        self.streams.insert(id, stream);
        true
    }

    /// Ids are even and count upwards.
    pub fn may_open(&self, id: u32) -> bool {
        id % 2 == 0 && id > self.last
    }

    /// Whether a frame may refer to this stream: it is or was open.
    pub fn may_name(&self, id: u32) -> bool {
        id % 2 == 0 && id <= self.last
    }

    pub fn set_owner(&mut self, id: u32, owner: Owner) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.owner = owner;
        }
    }

    /// Drops a stream without sending anything.
    pub fn drop_stream(&mut self, id: u32) -> Option<Owner> {
        self.streams.remove(&id).map(|stream| stream.owner)
    }

    pub fn opened(&mut self, id: u32, answer: &[u8]) {
        self.control(frame::OPENED, 0, id, answer);
    }

    /// Answers a call that needs no open stream.
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

    /// The peer sent FIN.
    pub fn finished_by_peer(&mut self, id: u32, channel: u16) {
        if let Some(stream) = self.streams.get_mut(&id) {
            match channel {
                frame::ALL => stream.fin_received = true,
                _ => stream.fins_received |= 1 << channel,
            }
        }
        self.settle(id);
    }

    /// A stream is gone once both directions have ended.
    fn settle(&mut self, id: u32) {
        if matches!(self.streams.get(&id), Some(stream) if stream.fin_sent && stream.fin_received) {
            self.streams.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Key;

    /// Runs these steps; true if the stream is gone then.
    fn is_gone_after(ends: &[fn(&mut Link)]) -> bool {
        let mut link = Link::default();
        assert!(link.open(2, Owner::File(Key { index: 0, generation: 0 })));
        for end in ends {
            assert!(link.stream(2).is_some());
            end(&mut link);
        }
        link.stream(2).is_none()
    }

    #[test]
    fn a_stream_is_gone_once_both_sides_have_ended_it_in_either_order() {
        let theirs: fn(&mut Link) = |link| link.finished_by_peer(2, frame::ALL);
        let channel: fn(&mut Link) = |link| link.finished_by_peer(2, frame::BYTES);
        let answer: fn(&mut Link) = |link| link.answer(2, b"{}");
        let fin: fn(&mut Link) = |link| link.fin(2, frame::ALL);
        for ours in [answer, fin] {
            assert!(is_gone_after(&[theirs, ours]));
            assert!(is_gone_after(&[ours, theirs]));
            assert!(!is_gone_after(&[ours, channel]));
        }
        assert!(!is_gone_after(&[theirs]));
    }
}
