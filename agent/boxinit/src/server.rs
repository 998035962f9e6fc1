//! The event loop: who is woken by what, and where each frame goes.

use crate::core::{Core, Source, Work};
use crate::error::WireError;
use crate::exec::Execs;
use crate::files::Files;
use crate::frame::{self, Header, Parsed};
use crate::json::{self, Value, Writer};
use crate::mux::{Owner, Received, State};
use crate::port::Ports;
use crate::sys::io::{self, Fd};
use crate::sys::poll::{self, Event};
use crate::sys::signal::{self, SigSet};
use crate::sys::{net, process, EAGAIN};
use crate::timers::Timer;
use std::time::Instant;

const GENERATION: u64 = 1;
const FIRST_BACKOFF_MS: u64 = 10;
const MAX_BACKOFF_MS: u64 = 1_000;
const HELLO_MS: u64 = 10_000;
const EVENTS: usize = 128;
const INPUT_BYTES: usize = 256 * 1024;
/// Data sent before the loop looks at events again.
const PUMP_BYTES: usize = 1024 * 1024;

pub struct Config {
    pub socket: Vec<u8>,
    pub token: Vec<u8>,
    /// The container waits for its image.
    pub blank: bool,
}

pub struct Server {
    pub core: Core,
    pub config: Config,
    execs: Execs,
    ports: Ports,
    files: Files,
    signals: Fd,
    input: Vec<u8>,
    /// Bytes of `input` that hold something.
    filled: usize,
    backoff_ms: u64,
    /// The link is not read while too much waits to be written.
    paused: bool,
    /// Rules that the agent broke on this link.
    violations: u32,
    ending: bool,
}

impl Server {
    /// Signals must be blocked by now.
    pub fn new(core: Core, config: Config, signals: &SigSet) -> Result<Server, i32> {
        let signals = signal::descriptor(signals)?;
        core.poll.add(signals.raw(), poll::IN, Source::Signals.token())?;
        Ok(Server {
            core,
            config,
            execs: Execs::default(),
            ports: Ports::default(),
            files: Files::default(),
            signals,
            input: vec![0; INPUT_BYTES],
            filled: 0,
            backoff_ms: FIRST_BACKOFF_MS,
            paused: false,
            violations: 0,
            ending: false,
        })
    }

    /// Until SIGTERM.
    pub fn run(&mut self) {
        let mut events = [Event { events: 0, token: 0 }; EVENTS];
        self.dial();
        while !self.ending {
            let timeout = self.wait_ms();
            let count = self.core.poll.wait(&mut events, timeout).unwrap_or(0);
            for event in &events[..count] {
                let (token, bits) = (event.token, event.events);
                if let Some(source) = Source::from_token(token) {
                    self.on_event(source, bits);
                }
            }
            let now = Instant::now();
            while let Some(timer) = self.core.timers.pop(now) {
                self.on_timer(timer);
            }
            for _ in 0..self.core.work.len() {
                if let Some(work) = self.core.work.pop_front() {
                    self.on_work(work);
                }
            }
            self.pump();
            self.core.link.flush(now);
            if self.core.link.broken {
                self.hang_up();
            } else if self.paused && !self.core.link.overloaded() {
                self.on_link(poll::IN);
            }
        }
        self.execs.kill_all();
    }

    fn wait_ms(&self) -> i32 {
        if !self.core.work.is_empty() || self.core.link.has_ready() {
            return 0;
        }
        let next = match (self.core.timers.next(), self.core.link.deadline()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        match next {
            None => -1,
            Some(when) => {
                let micros = when.saturating_duration_since(Instant::now()).as_micros();
                ((micros + 999) / 1000).min(3_600_000) as i32
            }
        }
    }

    fn on_event(&mut self, source: Source, bits: u32) {
        match source {
            Source::Link => self.on_link(bits),
            Source::Signals => self.on_signals(),
            Source::Output(key, which) => self.execs.on_output(&mut self.core, key, which, bits),
            Source::Input(key) => self.execs.on_input(&mut self.core, key),
            Source::Discard(key) => self.execs.discard(&mut self.core, key),
            Source::Port(key) => self.ports.on_event(&mut self.core, key, bits),
            Source::File(key) => self.files.on_event(&mut self.core, key),
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Dial => self.dial(),
            Timer::Hello => {
                if self.core.link.state == State::Greeting {
                    self.hang_up();
                }
            }
            Timer::Timeout(key) => self.execs.on_timeout(&mut self.core, key),
            Timer::Kill(key) => self.execs.on_kill(&mut self.core, key),
            Timer::Detached(key) => self.execs.on_detached(&mut self.core, key),
            Timer::Settle(key) => self.execs.on_settle(&mut self.core, key),
            Timer::Kept => self.execs.on_kept(&mut self.core),
        }
    }

    fn on_work(&mut self, work: Work) {
        match work {
            Work::Drain(key) => self.execs.drain(&mut self.core, key),
            Work::Discard(key) => self.execs.discard(&mut self.core, key),
            Work::File(key) => self.files.work(&mut self.core, key),
        }
    }

    fn on_signals(&mut self) {
        while let Some(number) = signal::next(self.signals.raw()) {
            if number == signal::SIGTERM || number == signal::SIGINT {
                self.ending = true;
            }
        }
        while let Some(reaped) = process::reap() {
            self.execs.on_reaped(&mut self.core, &reaped);
        }
    }

    /// Lets the streams send, each in its turn.
    fn pump(&mut self) {
        let mut sent = 0;
        while sent < PUMP_BYTES {
            let (stream, owner, most) = match self.core.link.next_ready() {
                Some(turn) => turn,
                None => return,
            };
            sent += most;
            match owner {
                Owner::Exec(key) => self.execs.produce(&mut self.core, key, stream, most),
                Owner::Port(key) => self.ports.produce(&mut self.core, key, most),
                Owner::File(key) => self.files.produce(&mut self.core, key, most),
                Owner::Script(_) => {}
            }
        }
    }

    // ---- the link

    fn dial(&mut self) {
        let fd = match net::connect_unix(&self.config.socket) {
            Ok(fd) => fd,
            Err(_) => return self.dial_later(),
        };
        let bits = poll::IN | poll::OUT | poll::RDHUP | poll::EDGE;
        if self.core.poll.add(fd.raw(), bits, Source::Link.token()).is_err() {
            return self.dial_later();
        }
        let mut hello = Writer::object();
        hello.uint("generation", GENERATION);
        hello.str("token", &self.config.token);
        hello.str("version", env!("CARGO_PKG_VERSION").as_bytes());
        hello.int("pid", process::getpid().into());
        hello.bool("blank", self.config.blank);
        self.filled = 0;
        self.core.link.start(fd, &hello.end());
        self.core.timers.after(HELLO_MS, Timer::Hello);
    }

    fn dial_later(&mut self) {
        self.core.timers.after(self.backoff_ms, Timer::Dial);
        self.backoff_ms = (self.backoff_ms * 2).min(MAX_BACKOFF_MS);
    }

    fn hang_up(&mut self) {
        if self.core.link.state == State::Down {
            return;
        }
        self.filled = 0;
        self.paused = false;
        self.violations = 0;
        for (stream, owner) in self.core.link.stop() {
            self.on_cut(stream, owner);
        }
        self.dial_later();
    }

    fn on_cut(&mut self, stream: u32, owner: Owner) {
        match owner {
            Owner::Exec(key) => self.execs.detach(&mut self.core, key, stream),
            Owner::Script(key) => self.execs.drop_script(key),
            Owner::Port(key) => self.ports.cut(key),
            Owner::File(key) => self.files.cut(key),
        }
    }

    fn on_link(&mut self, bits: u32) {
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
                    // A stream socket gives less than asked only when it is empty then.
                    if count < room && bits & (poll::HUP | poll::ERR | poll::RDHUP) == 0 {
                        return;
                    }
                }
                Err(EAGAIN) => return,
                Err(_) => return self.hang_up(),
            }
        }
    }

    /// Handles every whole frame and moves the rest to the front.
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
                    self.backoff_ms = FIRST_BACKOFF_MS;
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
                Received::Within => self.on_data(stream, channel, payload),
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
            frame::EVENT => {
                if let (Some(Owner::Exec(key)), Some(message)) = (self.owner(stream), json::parse(payload)) {
                    self.execs.on_event(&mut self.core, key, &message);
                }
            }
            frame::FIN => self.on_fin(stream, channel),
            frame::RESET if stream == 0 => self.core.link.broken = true,
            frame::RESET => {
                if let Some(owner) = self.core.link.drop_stream(stream) {
                    self.on_cut(stream, owner);
                }
            }
            frame::PING => self.core.link.control(frame::PONG, 0, 0, payload),
            frame::PONG | frame::GOAWAY => {}
            _ if header.flags & frame::FLAG_OPTIONAL != 0 => {}
            _ => return broken("a frame of this type was not expected"),
        }
        Ok(())
    }

    /// The agent broke a rule within a stream. The second time it is the link that ends.
    fn violated(&mut self, stream: u32, what: &str) -> Result<(), WireError> {
        let error = WireError::new("protocol_error", what);
        self.violations += 1;
        if self.violations > 1 {
            return Err(error);
        }
        if let Some(owner) = self.owner(stream) {
            self.core.link.reset(stream, &error);
            self.on_cut(stream, owner);
        }
        Ok(())
    }

    fn owner(&mut self, stream: u32) -> Option<Owner> {
        self.core.link.stream(stream).map(|stream| stream.owner)
    }

    fn on_open(&mut self, stream: u32, payload: &[u8]) -> Result<(), WireError> {
        if !self.core.link.may_open(stream) {
            return Err(WireError::new("protocol_error", format!("stream {} cannot be opened", stream)));
        }
        let nobody = Owner::Script(crate::slab::Key { index: u16::MAX, generation: 0 });
        let answer = match json::parse(payload) {
            _ if !self.core.link.open(stream, nobody) => Err(WireError::new("rate_limited", "too many streams")),
            Some(open) => self.dispatch(stream, &open),
            None => Err(WireError::new("protocol_error", "the request is not JSON")),
        };
        match answer {
            Ok(Some(answer)) => self.core.link.answer(stream, &answer),
            Ok(None) => {}
            Err(error) => self.core.link.refuse(stream, &error),
        }
        Ok(())
    }

    /// An answer that ends the stream, or None when the stream has an owner now.
    fn dispatch(&mut self, stream: u32, open: &Value) -> Result<Option<Vec<u8>>, WireError> {
        match open.text("op").unwrap_or("") {
            "exec" => self.execs.open(&mut self.core, stream, open).map(|_| None),
            "attach" => self.execs.attach(&mut self.core, stream, open).map(|_| None),
            "signal" => self.execs.signal(open).map(|_| Some(b"{}".to_vec())),
            "port" => self.ports.open(&mut self.core, stream, open).map(|_| None),
            "file" => self.files.open(&mut self.core, stream, open),
            "list" => Ok(Some(self.execs.list())),
            other => {
                let name: String = other.chars().take(64).collect();
                Err(WireError::new("not_supported", format!("there is no call {:?}", name)))
            }
        }
    }

    fn on_data(&mut self, stream: u32, channel: u16, payload: &[u8]) {
        match self.owner(stream) {
            Some(Owner::Exec(key)) => self.execs.on_data(&mut self.core, key, stream, channel, payload),
            Some(Owner::Script(key)) => self.execs.on_script_data(&mut self.core, key, stream, channel, payload),
            Some(Owner::Port(key)) => self.ports.on_data(&mut self.core, key, channel, payload),
            Some(Owner::File(key)) => self.files.on_data(&mut self.core, key, channel, payload),
            None => {}
        }
    }

    fn on_fin(&mut self, stream: u32, channel: u16) {
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
        if channel == frame::ALL {
            self.core.link.finished_by_peer(stream);
        }
    }
}

/// Signals that the loop hears of; the rest have their usual meaning, which for PID 1 is none.
pub fn heard_signals() -> SigSet {
    SigSet::of(&[signal::SIGCHLD, signal::SIGTERM, signal::SIGINT, signal::SIGHUP, signal::SIGQUIT])
}
