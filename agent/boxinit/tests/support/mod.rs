//! An agent for tests: listens, starts a real boxinit, and speaks frames to it.

// No test uses all of it.
#![allow(dead_code, unused_imports)]

mod outcome;
mod requests;
mod waiting;

use boxinit::frame::{self, Header, Parsed};
use boxinit::json::{self, Value};
pub use outcome::Outcome;
pub use requests::{exec, exec_as, unique};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
pub use waiting::{is_alive, wait_for, PATIENCE};

pub struct Agent {
    listener: UnixListener,
    pub link: UnixStream,
    pub child: Child,
    pub hello: Value,
    pub directory: PathBuf,
    next_stream: u32,
    input: Vec<u8>,
    pub frames: VecDeque<(Header, Vec<u8>)>,
    pub auto_credit: bool,
}

/// The shipped program, if the environment names it; otherwise the one compiled with the tests.
fn boxinit() -> std::ffi::OsString {
    std::env::var_os("MILLIBOX_TEST_BOXINIT").unwrap_or_else(|| env!("CARGO_BIN_EXE_boxinit").into())
}

impl Agent {
    pub fn start() -> Agent {
        Agent::start_with(&[])
    }

    pub fn start_with(env: &[(&str, &str)]) -> Agent {
        let directory = std::env::temp_dir().join(unique("boxinit-test"));
        std::fs::create_dir_all(&directory).expect("directory");
        let socket = directory.join("agent.sock");
        let listener = UnixListener::bind(&socket).expect("listen");
        let child = Command::new(boxinit())
            .env("MILLIBOX_SOCKET", &socket)
            .env("MILLIBOX_TOKEN", "secret-token")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .expect("boxinit");
        let (link, hello) = Agent::accept(&listener);
        Agent {
            listener,
            link,
            child,
            hello,
            directory,
            next_stream: 2,
            input: Vec::new(),
            frames: VecDeque::new(),
            auto_credit: true,
        }
    }

    fn accept(listener: &UnixListener) -> (UnixStream, Value) {
        let (mut link, _) = listener.accept().expect("accept");
        link.set_read_timeout(Some(PATIENCE)).expect("timeout");
        let mut header = [0; frame::HEADER_BYTES];
        link.read_exact(&mut header).expect("hello header");
        let length = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let mut payload = vec![0; length];
        link.read_exact(&mut payload).expect("hello");
        assert_eq!(header[0], frame::HELLO);
        let greeting = br#"{"generation":1}"#;
        link.write_all(&Header::new(frame::HELLO, 0, 0, greeting.len()).encode()).expect("greet");
        link.write_all(greeting).expect("greet");
        (link, json::parse(&payload).expect("hello json"))
    }

    /// Cuts the link and accepts the next connection.
    pub fn reconnect(&mut self) {
        let _ = self.link.shutdown(std::net::Shutdown::Both);
        self.accept_again();
    }

    pub fn accept_again(&mut self) {
        let (link, hello) = Agent::accept(&self.listener);
        self.link = link;
        self.hello = hello;
        self.input.clear();
        self.frames.clear();
        self.next_stream = 2;
    }

    pub fn send(&mut self, kind: u8, channel: u16, stream: u32, payload: &[u8]) {
        let mut bytes = Header::new(kind, channel, stream, payload.len()).encode().to_vec();
        bytes.extend_from_slice(payload);
        self.link.write_all(&bytes).expect("send");
    }

    pub fn open(&mut self, request: &str) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.send(frame::OPEN, 0, stream, request.as_bytes());
        stream
    }

    pub fn fin(&mut self, stream: u32, channel: u16) {
        self.send(frame::FIN, channel, stream, &[]);
    }

    pub fn event(&mut self, stream: u32, message: &str) {
        self.send(frame::EVENT, 0, stream, message.as_bytes());
    }

    pub fn credit(&mut self, stream: u32, bytes: u32) {
        self.send(frame::CREDIT, 0, stream, &bytes.to_be_bytes());
    }

    /// The next frame of any stream.
    pub fn next(&mut self) -> (Header, Vec<u8>) {
        if let Some(frame) = self.frames.pop_front() {
            return frame;
        }
        self.read_frame(PATIENCE).expect("a frame in time")
    }

    /// The next frame from the socket; None if none arrives in time.
    pub fn read_frame(&mut self, patience: Duration) -> Option<(Header, Vec<u8>)> {
        let until = Instant::now() + patience;
        loop {
            if let Parsed::Frame(header, payload, used) = frame::parse(&self.input) {
                let payload = payload.to_vec();
                self.input.drain(..used);
                if self.auto_credit && header.kind == frame::DATA && header.length > 0 {
                    self.credit(0, header.length as u32);
                    self.credit(header.stream, header.length as u32);
                }
                return Some((header, payload));
            }
            let left = until.checked_duration_since(Instant::now())?;
            self.link.set_read_timeout(Some(left.max(Duration::from_millis(1)))).expect("timeout");
            let mut chunk = [0; 65_536];
            match self.link.read(&mut chunk) {
                Ok(0) => panic!("boxinit hung up"),
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
                Err(error) => panic!("{}", error),
            }
        }
    }

    /// Adds a frame to the outcome. True when the stream has ended.
    pub fn note(outcome: &mut Outcome, header: &Header, payload: Vec<u8>) -> bool {
        let value = || json::parse(&payload).expect("json");
        match header.kind {
            frame::OPENED => outcome.opened = Some(value()),
            frame::REFUSED => {
                outcome.refused = Some(value());
                return true;
            }
            frame::RESET => {
                outcome.reset = Some(value());
                return true;
            }
            frame::EVENT => outcome.events.push(value()),
            frame::DATA => outcome.data.entry(header.channel).or_default().extend_from_slice(&payload),
            frame::FIN if header.channel == frame::ALL => {
                outcome.fin = true;
                return true;
            }
            _ => {}
        }
        false
    }

    /// Frames of `stream` until `enough`; those of others are queued.
    pub fn until(&mut self, stream: u32, outcome: &mut Outcome, enough: impl Fn(&Outcome) -> bool) {
        let mut others = VecDeque::new();
        while !enough(outcome) {
            let (header, payload) = self.next();
            if header.stream != stream {
                others.push_back((header, payload));
            } else if Agent::note(outcome, &header, payload) {
                break;
            }
        }
        others.append(&mut self.frames);
        self.frames = others;
    }

    /// Everything from a stream up to its end, acknowledged.
    pub fn finish(&mut self, stream: u32) -> Outcome {
        let mut outcome = Outcome::default();
        self.until(stream, &mut outcome, |_| false);
        if outcome.fin {
            self.fin(stream, frame::ALL);
        }
        outcome
    }

    pub fn call(&mut self, request: &str) -> Outcome {
        let stream = self.open(request);
        self.finish(stream)
    }

    /// Opens a stream that continues a command's output at these offsets.
    pub fn attach(&mut self, id: &str, stdout: usize, stderr: usize) -> u32 {
        self.open(&format!(r#"{{"op":"attach","id":"{}","stdout":{},"stderr":{}}}"#, id, stdout, stderr))
    }

    /// The commands that it knows, and whether each is running.
    pub fn listed(&mut self) -> Vec<(String, bool)> {
        let answer = self.call(r#"{"op":"list"}"#).opened.expect("opened");
        let item = |exec: &Value| (exec.text("id").expect("id").to_string(), exec.flag("running"));
        answer.array("execs").expect("execs").iter().map(item).collect()
    }

    /// Runs `sh -c script` to its end.
    pub fn sh(&mut self, script: &str) -> Outcome {
        self.call(&exec(script, ""))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        unsafe { kill(self.child.id() as i32, 15) };
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

extern "C" {
    fn kill(pid: i32, signal: i32) -> i32;
}
