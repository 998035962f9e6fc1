//! The link: dialling, reading, and the rules that each frame must obey.

use super::{Server, FIRST_BACKOFF_MS, INPUT_BYTES};
use crate::core::Source;
use crate::error::WireError;
use crate::frame::{self, Header, Parsed};
use crate::json::{self, Value, Writer};
use crate::mux::{Owner, Received, State};
use crate::sys::{io, net, poll, process, EAGAIN};
use crate::timers::Timer;
use std::time::Instant;

const GENERATION: u64 = 1;
const MAX_BACKOFF_MS: u64 = 1_000;
const HELLO_MS: u64 = 10_000;
const LINK_EVENTS: u32 = poll::IN | poll::RDHUP | poll::EDGE;

impl Server {
    pub(super) fn dial(&mut self) {
        let fd = match net::connect_unix(&self.config.socket) {
            Ok(fd) => fd,
            Err(_) => return self.dial_later(),
        };
        if self.core.poll.add(fd.raw(), LINK_EVENTS, Source::Link.token()).is_err() {
            return self.dial_later();
        }
        let mut hello = Writer::object();
        hello.uint("generation", GENERATION);
        hello.str("token", &self.config.token);
        hello.str("version", env!("CARGO_PKG_VERSION").as_bytes());
        hello.int("pid", process::getpid().into());
        hello.bool("blank", self.config.blank);
        hello.bool("cards", true);
        self.filled = 0;
        self.core.link.start(fd, &hello.end());
        self.hello_timer = Some(self.core.timers.after(HELLO_MS, Timer::Hello));
    }

    fn dial_later(&mut self) {
        let alone = self.alone_since.get_or_insert_with(Instant::now).elapsed();
        if self.config.blank && alone >= self.config.patience {
            // A blank holds no work, and this one will not be claimed.
            self.ending = true;
        }
        self.core.timers.after(self.backoff_ms, Timer::Dial);
        self.backoff_ms = (self.backoff_ms * 2).min(MAX_BACKOFF_MS);
    }

    pub(super) fn hang_up(&mut self) {
        if self.core.link.state == State::Down {
            return;
        }
        self.filled = 0;
        self.paused = false;
        self.awaits_room = false;
        self.violations = 0;
        self.core.timers.cancel(&mut self.hello_timer);
        for (stream, owner) in self.core.link.stop() {
            self.on_cut(stream, owner);
        }
        self.execs.forget_callers();
        self.dial_later();
    }

    fn on_cut(&mut self, stream: u32, owner: Owner) {
        match owner {
            Owner::Exec(key) => self.execs.detach(&mut self.core, key, stream),
            Owner::Script(key) => self.execs.drop_script(key),
            Owner::Port(key) => self.ports.cut(key),
            Owner::File(key) => self.files.cut(&mut self.core, key),
        }
    }

    /// Writability of the link is only polled while it is full: otherwise every read by the agent would wake us.
    pub(super) fn watch_link(&mut self) {
        let blocked = self.core.link.blocked();
        if blocked == self.awaits_room {
            return;
        }
        let room = if blocked { poll::OUT } else { 0 };
        match self.core.poll.modify(self.core.link.fd(), LINK_EVENTS | room, Source::Link.token()) {
            Ok(()) => self.awaits_room = blocked,
            Err(_) => self.hang_up(),
        }
    }

    pub(super) fn on_link(&mut self, bits: u32) {
        if bits & poll::OUT != 0 {
            self.core.link.unblock();
        }
        if bits & (poll::IN | poll::HUP | poll::ERR | poll::RDHUP) == 0 {
            return;
        }
        while self.core.link.state != State::Down {
            self.paused = self.core.link.overloaded();
            if self.paused {
                return;
            }
            let filled = self.filled;
            let room = self.input.len() - filled;
            match io::read(self.core.link.fd(), &mut self.input[filled..]) {
                Ok(0) => return self.hang_up(),
                Ok(count) => {
                    self.filled += count;
                    if let Err(error) = self.take_frames() {
                        eprintln!("boxinit: {}: {}", error.code, error.message);
                        self.core.link.control(frame::RESET, 0, 0, &error.to_json());
                        self.core.link.flush(Instant::now());
                        return self.hang_up();
                    }
                    // A short read from a stream socket means that it is empty.
                    let over = bits & (poll::HUP | poll::ERR | poll::RDHUP) != 0;
                    if count < room && !over && !self.config.read_on {
                        return;
                    }
                }
                Err(EAGAIN) => return,
                Err(_) => return self.hang_up(),
            }
        }
    }

    /// Handles every complete frame and moves the rest to the front.
    fn take_frames(&mut self) -> Result<(), WireError> {
        let input = std::mem::take(&mut self.input);
        let filled = self.filled;
        let mut at = 0;
        let mut need = 0;
        let mut result = Ok(());
        while at < filled {
            match frame::parse(&input[at..filled]) {
                Parsed::Frame(header, payload, used) => {
                    at += used;
                    result = self.on_frame(header, payload);
                    if result.is_err() {
                        break;
                    }
                }
                Parsed::Need(bytes) => {
                    need = bytes;
                    break;
                }
                Parsed::TooLong => {
                    result = Err(WireError::new("protocol_error", "a frame is too long"));
                    break;
                }
            }
        }
        self.input = input;
        self.input.copy_within(at..filled, 0);
        self.filled = filled - at;
        if need > self.input.len() {
            self.input.resize(need, 0);
        } else if self.input.len() > INPUT_BYTES && self.filled < INPUT_BYTES && need <= INPUT_BYTES {
            self.input.truncate(INPUT_BYTES);
            self.input.shrink_to_fit();
        }
        result
    }

    fn on_frame(&mut self, header: Header, payload: &[u8]) -> Result<(), WireError> {
        let broken = |text: &str| Err(WireError::new("protocol_error", text));
        let Header { kind, channel, stream, .. } = header;
        if self.core.link.state == State::Greeting {
            let greeting = if kind == frame::HELLO && stream == 0 { json::parse(payload) } else { None };
            return match greeting.and_then(|hello| hello.uint("generation")) {
                Some(GENERATION) => {
                    self.core.link.state = State::Up;
                    self.core.timers.cancel(&mut self.hello_timer);
                    self.backoff_ms = FIRST_BACKOFF_MS;
                    self.alone_since = None;
                    Ok(())
                }
                _ => broken("the agent did not greet us"),
            };
        }
        let of_stream = matches!(kind, frame::DATA | frame::EVENT | frame::FIN)
            || (matches!(kind, frame::CREDIT | frame::RESET) && stream != 0);
        if of_stream && !self.core.link.may_name(stream) {
            return broken("a frame names a stream that was never opened");
        }
        match kind {
            frame::OPEN => return self.on_open(stream, payload),
            frame::DATA => match self.core.link.received(stream, payload.len()) {
                Received::Within => match self.core.link.broken_rule(stream, Some(channel)) {
                    Some(rule) => self.violated(stream, rule)?,
                    None => self.on_data(stream, channel, payload),
                },
                Received::BeyondStream => self.violated(stream, "more data than the stream had credit for")?,
                Received::BeyondLink => return broken("more data than the link had credit for"),
            },
            frame::CREDIT => {
                let bytes = match payload {
                    [a, b, c, d] => u32::from_be_bytes([*a, *b, *c, *d]) as usize,
                    _ => return broken("a CREDIT has four bytes"),
                };
                let within = bytes > 0 && self.core.link.credited(stream, bytes);
                if !within && stream == 0 {
                    return broken("more credit than the link's window holds");
                }
                if !within {
                    self.violated(stream, "more credit than a stream's window holds")?;
                }
            }
            frame::EVENT => self.on_event_frame(stream, payload)?,
            frame::FIN => match self.core.link.broken_rule(stream, Some(channel)) {
                Some(rule) => self.violated(stream, rule)?,
                None => self.on_fin(stream, channel),
            },
            frame::RESET if stream == 0 => self.core.link.broken = true,
            frame::RESET => {
                if let Some(owner) = self.core.link.drop_stream(stream) {
                    if let Owner::Exec(key) = owner {
                        self.execs.on_reset(key, stream, &json::parse(payload).unwrap_or(Value::Null));
                    }
                    self.on_cut(stream, owner);
                }
            }
            frame::PING if payload.len() > frame::MAX_PING_BYTES => return broken("a PING is too long"),
            frame::PING => self.core.link.control(frame::PONG, 0, 0, payload),
            frame::PONG | frame::GOAWAY => {}
            _ if header.flags & frame::FLAG_OPTIONAL != 0 => {}
            _ => return broken("a frame of this type was not expected"),
        }
        Ok(())
    }

    fn on_event_frame(&mut self, stream: u32, payload: &[u8]) -> Result<(), WireError> {
        if let Some(rule) = self.core.link.broken_rule(stream, None) {
            return self.violated(stream, rule);
        }
        match (self.owner(stream), json::parse(payload)) {
            (Some(Owner::Exec(key)), Some(message @ Value::Object(_))) => {
                self.execs.on_event(&mut self.core, key, &message);
                Ok(())
            }
            (None, _) | (_, Some(Value::Object(_))) => Ok(()),
            _ => self.violated(stream, "an EVENT is not a JSON object"),
        }
    }

    /// The agent broke a rule that its link survives once.
    pub(super) fn strike(&mut self, error: &WireError) -> Result<(), WireError> {
        self.violations += 1;
        match self.violations {
            1 => Ok(()),
            _ => Err(error.clone()),
        }
    }

    /// The agent broke a rule within a stream. The second time the link ends.
    fn violated(&mut self, stream: u32, what: &str) -> Result<(), WireError> {
        let error = WireError::new("protocol_error", what);
        self.strike(&error)?;
        if let Some(owner) = self.owner(stream) {
            self.core.link.reset(stream, &error);
            self.on_cut(stream, owner);
        }
        Ok(())
    }
}
