//! Watching a file or a directory.

use super::{file_error, CWD};
use crate::core::{Core, Source};
use crate::error::WireError;
use crate::json::Writer;
use crate::slab::Key;
use crate::sys::fs;
use crate::sys::io::{self, Fd};
use crate::sys::poll;

const MODIFY: u32 = 0x002;
const ATTRIB: u32 = 0x004;
const MOVED_FROM: u32 = 0x040;
const MOVED_TO: u32 = 0x080;
const CREATE: u32 = 0x100;
const DELETE: u32 = 0x200;
const DELETE_SELF: u32 = 0x400;
const MOVE_SELF: u32 = 0x800;
const OVERFLOW: u32 = 0x4000;
const ALL: u32 = MODIFY | ATTRIB | MOVED_FROM | MOVED_TO | CREATE | DELETE | DELETE_SELF | MOVE_SELF;

pub struct Watch {
    notifier: Fd,
    path: Vec<u8>,
    /// Changes were thrown away since the agent did not take them.
    overflowed: bool,
}

impl Watch {
    pub fn open(path: &[u8]) -> Result<Watch, WireError> {
        let failed = |errno| file_error(path, errno);
        fs::stat_at(CWD, path, true).map_err(failed)?;
        let notifier = fs::notifier().map_err(failed)?;
        fs::watch(notifier.raw(), path, ALL).map_err(failed)?;
        Ok(Watch { notifier, path: path.to_vec(), overflowed: false })
    }

    pub fn register(&self, core: &mut Core, key: Key) {
        let _ = core.poll.add(self.notifier.raw(), poll::IN, Source::File(key).token());
    }

    /// Sends what changed.
    pub fn tell(&mut self, core: &mut Core, stream: u32) {
        let mut buffer = [0; 16 * 1024];
        let count = match io::read(self.notifier.raw(), &mut buffer) {
            Ok(count) => count,
            Err(_) => return,
        };
        if core.link.overloaded() {
            self.overflowed = true;
            return;
        }
        if std::mem::take(&mut self.overflowed) {
            core.link.event(stream, &self.event("overflow", b""));
        }
        // wd i32, mask u32, cookie u32, len u32, name.
        let mut rest = &buffer[..count];
        while rest.len() >= 16 {
            let word = |at: usize| u32::from_ne_bytes([rest[at], rest[at + 1], rest[at + 2], rest[at + 3]]);
            let (mask, length) = (word(4), word(12) as usize);
            let name = &rest[16..16 + length];
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(length);
            if let Some(kind) = kind_of(mask) {
                core.link.event(stream, &self.event(kind, &name[..end]));
            }
            rest = &rest[16 + length..];
        }
    }

    fn event(&self, kind: &str, name: &[u8]) -> Vec<u8> {
        let mut path = self.path.clone();
        if !name.is_empty() {
            if path.last() != Some(&b'/') {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        let mut out = Writer::object();
        out.str("type", b"change");
        out.str("kind", kind.as_bytes());
        out.str("path", &path);
        out.end()
    }
}

fn kind_of(mask: u32) -> Option<&'static str> {
    Some(match mask {
        mask if mask & (CREATE | MOVED_TO) != 0 => "create",
        mask if mask & MODIFY != 0 => "write",
        mask if mask & (DELETE | DELETE_SELF) != 0 => "remove",
        mask if mask & (MOVED_FROM | MOVE_SELF) != 0 => "rename",
        mask if mask & ATTRIB != 0 => "chmod",
        mask if mask & OVERFLOW != 0 => "overflow",
        _ => return None,
    })
}
