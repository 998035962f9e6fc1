//! A program's input: bytes received but not yet read by the program.

use super::Execs;
use crate::backlog::Backlog;
use crate::core::Core;
use crate::error::WireError;
use crate::frame;
use crate::slab::Key;
use crate::sys::io::{self, Fd};
use crate::sys::EAGAIN;

/// After each cut, a new stream may send another window that the program does not read. This is enough for a few.
const MAX_WAITING: usize = 1024 * 1024;
/// End of transmission (Ctrl-D): ends a terminal's input if sent at the start of a line. Within a line it flushes the
/// partial line to the reader, and the next one ends the input.
const CTRL_D: u8 = 4;
/// Bytes after which no partial line is left in a terminal's usual settings: interrupt, end of line, kill line, quit,
/// suspend.
const NO_LINE: [u8; 7] = [CTRL_D, 3, b'\n', b'\r', 21, 28, 26];

pub struct Input {
    pub fd: Fd,
    terminal: bool,
    /// The bytes written last left a partial line.
    in_line: bool,
    waiting: Backlog,
    /// Queued bytes that came over a stream that is gone: no credit is due for them.
    foreign: usize,
    /// The input has ended.
    ended: bool,
    /// Total bytes received. All were or will be written to the program, if it reads them.
    pub received: u64,
}

impl Input {
    pub fn new(fd: Fd, terminal: bool) -> Input {
        Input { fd, terminal, in_line: false, waiting: Backlog::default(), foreign: 0, ended: false, received: 0 }
    }

    /// Another stream continues the input.
    pub fn disown(&mut self) {
        self.foreign = self.waiting.len();
    }

    /// Whether this many more bytes would exceed the queue's limit.
    fn overfull(&self, bytes: usize) -> bool {
        self.fd.is_open() && self.waiting.len() + bytes > MAX_WAITING
    }

    /// The credit due for this many consumed bytes, oldest first.
    fn due(&mut self, taken: usize) -> usize {
        let foreign = self.foreign.min(taken);
        self.foreign -= foreign;
        taken - foreign
    }

    /// Accepts bytes; returns the credit due at once.
    fn take(&mut self, bytes: &[u8]) -> usize {
        self.received += bytes.len() as u64;
        if !self.fd.is_open() {
            return bytes.len();
        }
        let direct = if self.waiting.is_empty() { self.write(bytes) } else { 0 };
        if !self.fd.is_open() {
            return self.discard() + bytes.len();
        }
        self.waiting.push(&bytes[direct..]);
        direct
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while done < bytes.len() {
            match io::write(self.fd.raw(), &bytes[done..]) {
                Ok(count) => done += count,
                Err(EAGAIN) => break,
                Err(_) => {
                    // Nobody reads it any more.
                    self.fd.close();
                    break;
                }
            }
        }
        if let Some(last) = bytes[..done].last() {
            self.in_line = !NO_LINE.contains(last);
        }
        done
    }

    fn discard(&mut self) -> usize {
        let count = self.waiting.len();
        self.waiting.clear();
        self.due(count)
    }

    /// Writes more to the program. Returns the credit due for bytes that it consumed, or never will.
    fn flush(&mut self) -> usize {
        let mut waiting = std::mem::take(&mut self.waiting);
        let count = self.write(waiting.waiting());
        waiting.advance(count);
        self.waiting = waiting;
        let mut consumed = self.due(count);
        if !self.fd.is_open() {
            consumed += self.discard();
        }
        if self.waiting.is_empty() && self.ended {
            self.finish();
        }
        consumed
    }

    fn finish(&mut self) {
        if !self.terminal {
            return self.fd.close();
        }
        let ends = if self.in_line { &[CTRL_D; 2][..] } else { &[CTRL_D] };
        // A terminal that accepts no more now is retried when it does. More input may follow.
        self.ended = self.write(ends) < ends.len();
    }

    fn end(&mut self) {
        if self.ended || !self.fd.is_open() {
            return;
        }
        self.ended = true;
        if self.waiting.is_empty() {
            self.finish();
        }
    }

    /// The leader is gone. Returns the credit due for bytes that will not be read.
    pub fn close(&mut self) -> usize {
        self.fd.close();
        self.discard()
    }
}

impl Execs {
    pub fn on_data(&mut self, core: &mut Core, key: Key, stream: u32, channel: u16, bytes: &[u8]) {
        let exec = match self.table.get_mut(key) {
            Some(exec) if matches!(channel, frame::STDIN | frame::PTY) => exec,
            _ => return core.link.consume(stream, bytes.len()),
        };
        if exec.input.overfull(bytes.len()) {
            // Not counted: the answer to the next attach contains the offset to continue from.
            core.link.reset(stream, &WireError::new("interrupted", "The program does not read its input."));
            return self.detach(core, key, stream);
        }
        let consumed = exec.input.take(bytes);
        core.link.consume(stream, consumed);
    }

    pub fn on_input(&mut self, core: &mut Core, key: Key) {
        if let Some(exec) = self.table.get_mut(key) {
            if exec.input.fd.is_open() {
                let consumed = exec.input.flush();
                if let Some(stream) = exec.stream {
                    core.link.consume(stream, consumed);
                }
            }
        }
    }

    pub fn on_input_end(&mut self, key: Key) {
        if let Some(exec) = self.table.get_mut(key) {
            exec.input.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE_BYTES: usize = 64 * 1024;

    /// An input connected to a pipe, and the pipe's other end.
    fn piped(terminal: bool) -> (Input, Fd) {
        let (read, write) = io::pipe().expect("a pipe");
        io::set_nonblocking(write.raw(), io::O_WRONLY);
        io::set_nonblocking(read.raw(), io::O_RDONLY);
        (Input::new(write, terminal), read)
    }

    fn read(from: &Fd) -> Vec<u8> {
        let mut bytes = vec![0; 2 * PIPE_BYTES];
        let count = io::read(from.raw(), &mut bytes).unwrap_or(0);
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn the_end_of_a_terminals_input_first_ends_a_partial_line() {
        for (text, ends) in [("", 1), ("abc\n", 1), ("abc\r", 1), ("abc\x04", 1), ("abc", 2), ("abc\nd", 2)] {
            let (mut input, program) = piped(true);
            input.take(text.as_bytes());
            input.end();
            assert_eq!(read(&program), [text.as_bytes(), &vec![CTRL_D; ends]].concat(), "{:?}", text);
        }
    }

    #[test]
    fn the_end_of_a_terminals_input_waits_until_there_is_room_for_it() {
        let (mut input, program) = piped(true);
        assert_eq!(input.take(&[b'x'; PIPE_BYTES]), PIPE_BYTES);
        input.end();
        assert_eq!(read(&program).len(), PIPE_BYTES);
        assert_eq!(input.flush(), 0);
        assert_eq!(read(&program), [CTRL_D; 2]);
        // Only once, and more may follow.
        input.flush();
        assert_eq!(input.take(b"more\n"), 5);
        assert_eq!(read(&program), b"more\n");
    }

    #[test]
    fn queued_input_is_credited_once_the_program_has_read_it() {
        let (mut input, program) = piped(false);
        assert_eq!(input.take(&[b'x'; PIPE_BYTES + 10]), PIPE_BYTES);
        input.end();
        assert_eq!(read(&program).len(), PIPE_BYTES);
        assert_eq!(input.flush(), 10);
        assert!(!input.fd.is_open());
    }
}
