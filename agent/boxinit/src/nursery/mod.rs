//! The nursery: a container prepared by an OCI runtime, in which this process makes blanks by cloning itself, like a
//! zygote. Each gets its own namespaces, cgroups and kernel file systems, and inherits what the runtime set up once:
//! the root, the privileges, the device rules and the seccomp filter. It lives as long as its agent is connected, and
//! its children outlive it.

mod child;
mod kernel_files;
mod plan;
mod requests;

use crate::claim;
use crate::json::{Value, Writer};
use crate::server::Config;
use crate::sys::io::{self, Fd};
use crate::sys::{net, process, signal};
use plan::Plan;
use requests::Requests;

const MAX_LINE: usize = 64 * 1024;
const CHUNK: usize = 4 * 1024;

/// Returns in a child, with what it is to serve. In the nursery itself it never returns.
pub fn run(socket: &[u8]) -> Config {
    // Nobody waits for the children, so the kernel reaps them.
    signal::ignore_children();
    let link = match net::connect_unix(socket) {
        Ok(link) => link,
        Err(errno) => crate::fail("the agent cannot be reached", errno),
    };
    io::set_blocking(link.raw());
    let mut plan = None;
    let mut requests = Requests::new(link);
    while let Some(request) = requests.next() {
        match request.text("op") {
            Some("plan") => plan = Plan::parse(&request),
            Some("fork") => {
                if let Some(config) = fork(&request, plan.as_ref(), requests.link()) {
                    return config;
                }
            }
            _ => crate::fail("unexpected message from the agent", 0),
        }
        requests::forget(request);
    }
    // The agent is gone; the next one starts a nursery of its own.
    std::process::exit(0)
}

/// A child returns what it is to serve.
fn fork(request: &Value, plan: Option<&Plan>, link: &Fd) -> Option<Config> {
    let (id, socket, token, plan) = match (request.bytes("id"), request.bytes("socket"), request.bytes("token"), plan) {
        (Some(id), Some(socket), Some(token), Some(plan)) => (id, socket, token, plan),
        _ => crate::fail("the agent asked for half a blank", 0),
    };
    let mut answer = Writer::object();
    answer.str("id", id);
    // Memory and descriptors are copied: a child that returns drops its copies.
    match process::clone_with(child::NAMESPACES) {
        Ok(0) => {
            let (socket, token) = (socket.to_vec(), token.to_vec());
            let config = Config { socket, token, blank: true, patience: Config::PATIENCE, read_on: false };
            if let Err((what, errno)) = child::settle(plan, id) {
                crate::fail(what, errno);
            }
            prepare(request);
            return Some(config);
        }
        Ok(pid) => answer.int("pid", pid.into()),
        Err(errno) => answer.str("error", crate::sys::message(errno).as_bytes()),
    }
    let mut line = answer.end();
    line.push(b'\n');
    let mut rest = &line[..];
    while !rest.is_empty() {
        match io::write(link.raw(), rest) {
            Ok(count) => rest = &rest[count..],
            Err(_) => std::process::exit(0),
        }
    }
    None
}

/// Older agents do not send it.
fn prepare(request: &Value) {
    if let Some(upper) = request.bytes("upper") {
        let files: Vec<&[u8]> = request.array("files").unwrap_or(&[]).iter().filter_map(text_of).collect();
        claim::prepare(upper, &files);
    }
}

fn text_of(value: &Value) -> Option<&[u8]> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}
