//! Tunnels to ports on the sandbox's loopback. Each direction is closed on its own (half-close).

use crate::backlog::Backlog;
use crate::core::{Core, Source};
use crate::error::WireError;
use crate::frame;
use crate::json::Value;
use crate::mux::Owner;
use crate::slab::{Key, Slab};
use crate::sys::io::{self, Fd};
use crate::sys::{self, net, poll, EAGAIN};

const MAX_PORTS: usize = 4096;

struct Port {
    fd: Fd,
    stream: u32,
    number: u16,
    /// IPv6 is the second try.
    version6: bool,
    /// Why the first attempt failed, which is the error to report: there may be no IPv6.
    first_errno: Option<i32>,
    connected: bool,
    readable: bool,
    /// The program has shut down its sending side.
    read_ended: bool,
    /// Bytes that the program's socket has not accepted yet.
    waiting: Backlog,
    /// The agent sends no more.
    write_ended: bool,
    /// The program accepts no more: data from the agent is dropped. What the program has sent is still read, such as
    /// the answer of a server that refuses an upload before its end.
    write_closed: bool,
}

#[derive(Default)]
pub struct Ports {
    table: Slab<Port>,
}

fn refused(number: u16, errno: i32) -> WireError {
    WireError::new("port_refused", format!("port {}: {}", number, sys::message(errno)))
}

impl Ports {
    pub fn open(&mut self, core: &mut Core, stream: u32, open: &Value) -> Result<(), WireError> {
        let number = open.uint("port").filter(|port| (1..=65_535).contains(port));
        let number = number.ok_or_else(|| WireError::invalid("port is 1 to 65535"))? as u16;
        if self.table.len() >= MAX_PORTS {
            return Err(WireError::resource_limit("too many tunnels are open"));
        }
        let port = Port {
            fd: Fd::NONE,
            stream,
            number,
            version6: false,
            first_errno: None,
            connected: false,
            readable: false,
            read_ended: false,
            waiting: Backlog::default(),
            write_ended: false,
            write_closed: false,
        };
        let key = self.table.insert(port).ok_or_else(|| WireError::resource_limit("too many tunnels are open"))?;
        core.link.set_owner(stream, Owner::Port(key));
        if let Some(error) = self.connect(core, key) {
            self.table.remove(key);
            return Err(error);
        }
        Ok(())
    }

    fn connect(&mut self, core: &mut Core, key: Key) -> Option<WireError> {
        let port = self.table.get_mut(key)?;
        loop {
            match net::connect_loopback(port.number, port.version6) {
                Ok(fd) => {
                    port.fd = fd;
                    let bits = poll::IN | poll::OUT | poll::RDHUP | poll::EDGE;
                    let added = core.poll.add(port.fd.raw(), bits, Source::Port(key).token());
                    return added.err().map(|errno| refused(port.number, errno));
                }
                Err(errno) if !port.version6 => {
                    port.version6 = true;
                    port.first_errno = Some(errno);
                }
                Err(errno) => return Some(refused(port.number, port.first_errno.unwrap_or(errno))),
            }
        }
    }

    pub fn on_event(&mut self, core: &mut Core, key: Key, bits: u32) {
        let port = match self.table.get_mut(key) {
            Some(port) => port,
            None => return,
        };
        let stream = port.stream;
        if !port.connected {
            if bits & (poll::OUT | poll::ERR | poll::HUP) == 0 {
                return;
            }
            let error = net::socket_error(port.fd.raw());
            if error != 0 || bits & (poll::ERR | poll::HUP) != 0 {
                return self.try_other(core, key, if error == 0 { sys::ECONNREFUSED } else { error });
            }
            port.connected = true;
            core.link.opened(stream, b"{}");
        }
        if bits & (poll::IN | poll::RDHUP | poll::HUP | poll::ERR) != 0 {
            port.readable = true;
            core.link.mark_ready(stream);
        }
        if bits & poll::OUT != 0 {
            self.write(core, key);
        }
    }

    /// Retries over IPv6, since a server may listen on it alone.
    fn try_other(&mut self, core: &mut Core, key: Key, errno: i32) {
        if let Some(port) = self.table.get_mut(key) {
            let (stream, number, last) = (port.stream, port.number, port.version6);
            let errno = *port.first_errno.get_or_insert(errno);
            port.version6 = true;
            port.fd.close();
            let error = if last { Some(refused(number, errno)) } else { self.connect(core, key) };
            if let Some(error) = error {
                self.table.remove(key);
                core.link.refuse(stream, &error);
            }
        }
    }

    pub fn produce(&mut self, core: &mut Core, key: Key, budget: usize) {
        let port = match self.table.get_mut(key) {
            Some(port) if port.readable && !port.read_ended => port,
            _ => return,
        };
        let stream = port.stream;
        let most = budget.min(core.scratch.len());
        match io::read(port.fd.raw(), &mut core.scratch[..most]) {
            Ok(0) => {
                port.read_ended = true;
                core.link.fin(stream, frame::ALL);
                self.settle(key);
            }
            Ok(count) => {
                core.link.data(stream, frame::BYTES, &core.scratch[..count]);
                core.link.mark_ready(stream);
            }
            Err(EAGAIN) => port.readable = false,
            Err(errno) => self.fail(core, key, errno),
        }
    }

    fn fail(&mut self, core: &mut Core, key: Key, errno: i32) {
        if let Some(port) = self.table.remove(key) {
            let message = format!("the connection to port {} broke: {}", port.number, sys::message(errno));
            core.link.reset(port.stream, &WireError::new("port_refused", message));
        }
    }

    pub fn on_data(&mut self, core: &mut Core, key: Key, channel: u16, bytes: &[u8]) {
        if let Some(port) = self.table.get_mut(key) {
            if channel != frame::BYTES || port.write_closed {
                return core.link.consume(port.stream, bytes.len());
            }
            port.waiting.push(bytes);
            self.write(core, key);
        }
    }

    fn write(&mut self, core: &mut Core, key: Key) {
        let port = match self.table.get_mut(key) {
            Some(port) if port.connected => port,
            _ => return,
        };
        let mut done = 0;
        while !port.waiting.is_empty() {
            match io::write(port.fd.raw(), port.waiting.waiting()) {
                Ok(count) => {
                    port.waiting.advance(count);
                    done += count;
                }
                Err(EAGAIN) => break,
                Err(_) => {
                    done += port.waiting.len();
                    port.waiting.clear();
                    port.write_closed = true;
                    // The reason it ended shows at the end of the readable data.
                    port.readable = true;
                    core.link.mark_ready(port.stream);
                }
            }
        }
        core.link.consume(port.stream, done);
        if port.waiting.is_empty() && port.write_ended {
            net::shutdown_write(port.fd.raw());
            self.settle(key);
        }
    }

    pub fn on_fin(&mut self, core: &mut Core, key: Key, channel: u16) {
        if let Some(port) = self.table.get_mut(key) {
            if matches!(channel, frame::BYTES | frame::ALL) {
                port.write_ended = true;
                self.write(core, key);
            }
        }
    }

    /// Both directions have ended.
    fn settle(&mut self, key: Key) {
        if matches!(self.table.get(key), Some(port) if port.read_ended && port.write_ended && port.waiting.is_empty()) {
            self.table.remove(key);
        }
    }

    pub fn cut(&mut self, key: Key) {
        self.table.remove(key);
    }
}
