//! An agent for tests: listens, starts a real boxinit, and speaks frames to it.

#![allow(dead_code)]

use boxinit::frame::{self, Header, Parsed};
use boxinit::json::{self, Value};
use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Far more than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

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

/// Everything that came on one stream until it ended.
#[derive(Default, Debug)]
pub struct Outcome {
    pub opened: Option<Value>,
    pub refused: Option<Value>,
    pub reset: Option<Value>,
    pub events: Vec<Value>,
    pub data: HashMap<u16, Vec<u8>>,
    pub fin: bool,
}

impl Outcome {
    pub fn stdout(&self) -> &[u8] {
        self.data.get(&frame::STDOUT).map(|bytes| bytes.as_slice()).unwrap_or(b"")
    }

    pub fn stderr(&self) -> &[u8] {
        self.data.get(&frame::STDERR).map(|bytes| bytes.as_slice()).unwrap_or(b"")
    }

    pub fn bytes(&self) -> &[u8] {
        self.data.get(&frame::BYTES).map(|bytes| bytes.as_slice()).unwrap_or(b"")
    }

    pub fn event(&self, kind: &str) -> Option<&Value> {
        self.events.iter().find(|event| event.text("type") == Some(kind))
    }

    pub fn exit(&self) -> &Value {
        self.event("exit").unwrap_or_else(|| panic!("no exit: {:?}", self))
    }

    pub fn code(&self) -> i64 {
        match self.exit().get("exitCode") {
            Some(Value::Number(code)) => *code as i64,
            other => panic!("exit code {:?}", other),
        }
    }

    pub fn refusal(&self) -> &str {
        self.refused.as_ref().and_then(|error| error.text("code")).unwrap_or("")
    }
}

pub fn unique(prefix: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("time").as_nanos();
    format!("{}-{}-{}-{}", prefix, std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed), nanos % 1_000_000)
}

/// The program that is shipped, where the environment names it; otherwise the one that was compiled with the tests.
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

    /// Cuts the link and takes the next call.
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

    /// The next frame from the socket, None when none comes in time.
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

    /// Takes a frame into the outcome. True when the stream is at its end.
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

    /// Frames of `stream` until `enough`; those of others wait.
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

    /// Everything of a stream, to its end, acknowledged.
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

pub fn quote(text: &str) -> String {
    let mut writer = json::Writer::object();
    writer.str("s", text.as_bytes());
    let text = String::from_utf8(writer.end()).expect("utf8");
    text[5..text.len() - 1].to_string()
}

/// An exec request; `more` are further members, each preceded by a comma. They count before those that it has anyway.
pub fn exec(script: &str, more: &str) -> String {
    exec_as(&unique("x"), script, more)
}

pub fn exec_as(id: &str, script: &str, more: &str) -> String {
    format!(
        r#"{{"op":"exec","id":"{}","script":{}{},"env":{{"PATH":"{}"}},"cwd":"/","stdin":{},"killGraceMs":2000,"ringBytes":1048576,"detachedMs":60000}}"#,
        id,
        quote(script),
        more.replace("#stdin", ""),
        "/usr/local/bin:/usr/bin:/bin",
        more.contains("#stdin")
    )
}
