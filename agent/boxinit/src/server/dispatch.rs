//! Routes a stream's frames to the part that owns it.

use super::Server;
use crate::claim;
use crate::error::WireError;
use crate::frame;
use crate::json::{self, Value};
use crate::mux::Owner;
use crate::sys::{self, limits};

/// For a kernel that limits processes by rlimits inherited from an ancestor rather than by cgroup.
fn limit(open: &Value) -> Result<Vec<u8>, WireError> {
    let most = open.uint("processes").ok_or_else(|| WireError::invalid("the number of processes is missing"))?;
    limits::limit_processes(most)
        .map_err(|errno| WireError::new("internal", format!("the limit cannot be set: {}", sys::message(errno))))?;
    Ok(b"{}".to_vec())
}

impl Server {
    pub(super) fn owner(&mut self, stream: u32) -> Option<Owner> {
        self.core.link.stream(stream).map(|stream| stream.owner)
    }

    pub(super) fn on_open(&mut self, stream: u32, payload: &[u8]) -> Result<(), WireError> {
        if !self.core.link.may_open(stream) {
            return Err(WireError::new("protocol_error", format!("stream {} cannot be opened", stream)));
        }
        let nobody = Owner::Script(crate::slab::Key { index: u16::MAX, generation: 0 });
        let answer = match json::parse(payload) {
            _ if !self.core.link.open(stream, nobody) => Err(WireError::new("rate_limited", "too many streams")),
            Some(open @ Value::Object(_)) => self.dispatch(stream, &open),
            _ => {
                let error = WireError::new("protocol_error", "the request is not a JSON object");
                self.core.link.refuse(stream, &error);
                return self.strike(&error);
            }
        };
        match answer {
            Ok(Some(answer)) => self.core.link.answer(stream, &answer),
            Ok(None) => {}
            Err(error) => self.core.link.refuse(stream, &error),
        }
        Ok(())
    }

    /// An answer that ends the stream, or None if the stream has an owner now.
    fn dispatch(&mut self, stream: u32, open: &Value) -> Result<Option<Vec<u8>>, WireError> {
        match open.text("op").unwrap_or("") {
            "claim" => self.claim(open).map(Some),
            _ if self.config.blank => Err(WireError::new("sandbox_not_ready", "this container has no image yet")),
            "exec" => self.execs.open(&mut self.core, stream, open).map(|_| None),
            "attach" => self.execs.attach(&mut self.core, stream, open).map(|_| None),
            "signal" => self.execs.signal(&mut self.core, stream, open),
            "port" => self.ports.open(&mut self.core, stream, open).map(|_| None),
            "file" => self.files.open(&mut self.core, stream, open),
            "list" => Ok(Some(self.execs.list(open))),
            "limit" => limit(open).map(Some),
            other => {
                let name: String = other.chars().take(64).collect();
                Err(WireError::new("not_supported", format!("there is no call {:?}", name)))
            }
        }
    }

    /// At most once. If it fails, the container is useless and ends.
    fn claim(&mut self, open: &Value) -> Result<Vec<u8>, WireError> {
        if !self.config.blank {
            return Err(WireError::invalid("this container already has an image"));
        }
        let claimed = claim::claim(open, &self.config.socket).map_err(|error| {
            self.ending = true;
            error
        })?;
        self.config.blank = false;
        self.config.socket = claimed.socket;
        self.socket_dir = claimed.socket_dir;
        Ok(b"{}".to_vec())
    }

    pub(super) fn on_data(&mut self, stream: u32, channel: u16, payload: &[u8]) {
        match self.owner(stream) {
            Some(Owner::Exec(key)) => self.execs.on_data(&mut self.core, key, stream, channel, payload),
            Some(Owner::Script(key)) => self.execs.on_script_data(&mut self.core, key, stream, channel, payload),
            Some(Owner::Port(key)) => self.ports.on_data(&mut self.core, key, channel, payload),
            Some(Owner::File(key)) => self.files.on_data(&mut self.core, key, channel, payload),
            None => {}
        }
    }

    pub(super) fn on_fin(&mut self, stream: u32, channel: u16) {
        match self.owner(stream) {
            Some(Owner::Exec(key)) => match channel {
                frame::ALL => self.execs.on_fin_all(&mut self.core, key),
                frame::STDIN | frame::PTY => self.execs.on_input_end(key),
                _ => {}
            },
            Some(Owner::Script(key)) => self.execs.on_script_fin(&mut self.core, key, stream, channel),
            Some(Owner::Port(key)) => self.ports.on_fin(&mut self.core, key, channel),
            Some(Owner::File(key)) => self.files.on_fin(&mut self.core, key, channel),
            None => {}
        }
        self.core.link.finished_by_peer(stream, channel);
    }
}
