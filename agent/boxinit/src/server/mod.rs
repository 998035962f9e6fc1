//! The event loop: what each event wakes.

mod dispatch;
mod wire;

use crate::core::{Core, Source, Work};
use crate::exec::Execs;
use crate::files::Files;
use crate::mux::Owner;
use crate::port::Ports;
use crate::sys::io::Fd;
use crate::sys::poll::{self, Event};
use crate::sys::process;
use crate::sys::signal::{self, SigSet};
use crate::timers::{Timer, TimerId};
use std::time::{Duration, Instant};

const FIRST_BACKOFF_MS: u64 = 10;
const EVENTS: usize = 128;
const INPUT_BYTES: usize = 256 * 1024;
/// Data sent before the loop polls for events again.
const PUMP_BYTES: usize = 1024 * 1024;

pub struct Config {
    pub socket: Vec<u8>,
    pub token: Vec<u8>,
    /// The container waits for its image.
    pub blank: bool,
    /// How long a blank waits for its agent to return. A sandbox waits for ever.
    pub patience: Duration,
    /// The link is read until it is empty, even after a short read: for a kernel that does not report its end together
    /// with data.
    pub read_on: bool,
}

impl Config {
    pub const PATIENCE: Duration = Duration::from_secs(15 * 60);
}

pub struct Server {
    pub core: Core,
    pub config: Config,
    execs: Execs,
    ports: Ports,
    files: Files,
    signals: Fd,
    input: Vec<u8>,
    /// Bytes of `input` that are filled.
    filled: usize,
    backoff_ms: u64,
    /// Since when there has been no agent.
    alone_since: Option<Instant>,
    hello_timer: Option<TimerId>,
    /// The link is not read while too much is waiting to be written.
    paused: bool,
    /// The poll reports when the link is writable.
    awaits_room: bool,
    /// Violations by the agent on this link.
    violations: u32,
    ending: bool,
    /// Holds the directory in which the agent listens, once no path leads there.
    socket_dir: Fd,
}

impl Server {
    /// Signals must already be blocked.
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
            alone_since: None,
            hello_timer: None,
            paused: false,
            awaits_room: false,
            violations: 0,
            ending: false,
            socket_dir: Fd::NONE,
        })
    }

    /// Runs until SIGTERM.
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
                continue;
            }
            self.watch_link();
            if self.paused && !self.core.link.overloaded() {
                self.on_link(poll::IN);
            }
        }
        self.execs.kill_all();
    }

    fn wait_ms(&self) -> i32 {
        if !self.core.work.is_empty() || self.core.link.has_ready() || self.core.link.due() {
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
            Timer::Hello => self.hang_up(),
            Timer::Timeout(key) => self.execs.on_timeout(&mut self.core, key),
            Timer::Kills => self.execs.on_kills(&mut self.core),
            Timer::Detached(key) => self.execs.on_detached(&mut self.core, key),
            Timer::Hold(key) => self.execs.on_hold_over(&mut self.core, key),
            Timer::Settle(key) => self.execs.on_settle(&mut self.core, key),
            Timer::Kept => self.execs.on_kept(&mut self.core),
            Timer::Listings => self.files.on_listings(&mut self.core),
        }
    }

    fn on_work(&mut self, work: Work) {
        match work {
            Work::Drain(key) => self.execs.drain(&mut self.core, key),
            Work::Discard(key) => self.execs.discard(&mut self.core, key),
            Work::File(key) => self.files.work(&mut self.core, key),
            Work::Reap => self.execs.reap_on(&mut self.core),
        }
    }

    fn on_signals(&mut self) {
        let ending = &mut self.ending;
        signal::read_all(self.signals.raw(), |signal| {
            if matches!(signal.number, signal::SIGTERM | signal::SIGINT) {
                // A process inside cannot end the sandbox.
                *ending |= signal.from_outside || process::getpid() != 1;
            }
        });
        self.execs.reap(&mut self.core);
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
}

/// The signals that the loop handles; the rest keep their usual effect, which for PID 1 is none. SIGPIPE is included to
/// make it harmless: a write without a reader already fails with an error.
pub fn handled_signals() -> SigSet {
    use signal::*;
    SigSet::of(&[SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE])
}
