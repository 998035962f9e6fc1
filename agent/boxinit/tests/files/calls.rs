//! File calls, as made by tests.

use crate::support::{Agent, Outcome};
use boxinit::frame;
use boxinit::json::Writer;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A request on a path that may contain any byte.
pub fn request(call: &str, path: &[u8], more: &str) -> String {
    let mut writer = Writer::object();
    writer.str("op", b"file");
    writer.str("call", call.as_bytes());
    writer.str("path", path);
    let text = String::from_utf8(writer.end()).expect("utf8");
    format!("{}{}}}", &text[..text.len() - 1], more)
}

pub fn call(agent: &mut Agent, call: &str, path: &Path, more: &str) -> Outcome {
    agent.call(&request(call, path.as_os_str().as_bytes(), more))
}

/// Sends bytes as credit allows, then FIN.
pub fn upload(agent: &mut Agent, kind: &str, path: &[u8], more: &str, bytes: &[u8]) -> Outcome {
    let stream = agent.open(&request(kind, path, more));
    let mut outcome = Outcome::default();
    let (mut mine, mut links) = (256 * 1024usize, 1024 * 1024usize);
    for chunk in bytes.chunks(60_000) {
        while mine < chunk.len() || links < chunk.len() {
            let (header, payload) = agent.next();
            if header.kind == frame::CREDIT {
                let count = u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]) as usize;
                if header.stream == 0 {
                    links += count;
                } else if header.stream == stream {
                    mine += count;
                }
            } else if header.stream == stream && Agent::note(&mut outcome, &header, payload) {
                return outcome;
            }
        }
        agent.send(frame::DATA, frame::BYTES, stream, chunk);
        mine -= chunk.len();
        links -= chunk.len();
    }
    agent.fin(stream, frame::BYTES);
    agent.until(stream, &mut outcome, |_| false);
    agent.fin(stream, frame::ALL);
    outcome
}

pub fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 256) as u8).collect()
}
