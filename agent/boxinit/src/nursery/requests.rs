//! The agent's requests, line by line. A request contains one blank's secret, and every later blank begins as a copy of
//! this memory: so nothing of a request stays here once it has been taken, and nothing at all in a blank.

use super::{CHUNK, MAX_LINE};
use crate::json::{self, Value};
use crate::sys::io::{self, Fd};
use crate::sys::secrecy;

pub struct Requests {
    link: Fd,
    bytes: Vec<u8>,
    filled: usize,
    /// Nothing was ever written past this.
    touched: usize,
}

impl Requests {
    pub fn new(link: Fd) -> Requests {
        Requests { link, bytes: vec![0; MAX_LINE + CHUNK], filled: 0, touched: 0 }
    }

    pub fn link(&self) -> &Fd {
        &self.link
    }

    /// Waits for the next request. Invalid JSON becomes null. None if the agent is gone, or exceeds the length limit.
    pub fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(at) = self.bytes[..self.filled].iter().position(|byte| *byte == b'\n') {
                let request = json::parse(&self.bytes[..at]).unwrap_or(Value::Null);
                self.bytes.copy_within(at + 1..self.filled, 0);
                let left = self.filled - (at + 1);
                secrecy::wipe(&mut self.bytes[left..self.filled]);
                self.filled = left;
                return Some(request);
            }
            if self.filled > MAX_LINE {
                return None;
            }
            match io::read(self.link.raw(), &mut self.bytes[self.filled..]) {
                Ok(count) if count > 0 => self.filled += count,
                _ => return None,
            }
            self.touched = self.touched.max(self.filled);
        }
    }
}

/// In a blank. The nursery exits without dropping it.
impl Drop for Requests {
    fn drop(&mut self) {
        secrecy::wipe(&mut self.bytes[..self.touched]);
    }
}

/// A request that has been done.
pub fn forget(request: Value) {
    match request {
        Value::String(mut text) => secrecy::wipe(&mut text),
        Value::Array(items) => items.into_iter().for_each(forget),
        Value::Object(entries) => entries.into_iter().for_each(|(_, value)| forget(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(requests: &Requests, text: &str) -> bool {
        requests.bytes.windows(text.len()).any(|part| part == text.as_bytes())
    }

    #[test]
    fn nothing_of_a_request_stays_in_memory_once_taken() {
        let (ours, agents) = io::pipe().expect("a pipe");
        let mut requests = Requests::new(ours);
        let say = |text: &str| assert_eq!(io::write(agents.raw(), text.as_bytes()), Ok(text.len()));
        say("{\"token\":\"first-secret\"}\nrubbish of the second-secret\n{\"token\":\"third-");
        let first = requests.next().expect("a request");
        assert_eq!(first.text("token"), Some("first-secret"));
        assert!(!holds(&requests, "first") && holds(&requests, "second"));
        assert_eq!(requests.next(), Some(Value::Null));
        assert!(!holds(&requests, "second") && holds(&requests, "third"));
        say("secret\"}\n");
        assert_eq!(requests.next().expect("a request").text("token"), Some("third-secret"));
        assert!(!holds(&requests, "third") && !holds(&requests, "secret"));
        drop(agents);
        assert_eq!(requests.next(), None);
    }

    #[test]
    fn an_endless_line_is_abandoned() {
        let (ours, agents) = io::pipe().expect("a pipe");
        let mut requests = Requests::new(ours);
        let writer = std::thread::spawn(move || {
            for _ in 0..2 * MAX_LINE / CHUNK {
                if io::write(agents.raw(), &[b'x'; CHUNK]).is_err() {
                    return;
                }
            }
        });
        assert_eq!(requests.next(), None);
        drop(requests);
        writer.join().expect("writer");
    }
}
