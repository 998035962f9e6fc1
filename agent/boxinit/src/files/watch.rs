//! Watches a file or directory, or with `recursive` a whole tree.

use super::watched::{watch_error, Watched};
use super::{join, write};
use crate::core::{Core, Source};
use crate::error::WireError;
use crate::json::{Value, Writer};
use crate::slab::Key;
use crate::sys::inotify::{self as kernel, Change, Changes};
use crate::sys::{io, poll};

const ALL: u32 = kernel::MODIFY
    | kernel::ATTRIB
    | kernel::MOVED_FROM
    | kernel::MOVED_TO
    | kernel::CREATE
    | kernel::DELETE
    | kernel::DELETE_SELF
    | kernel::MOVE_SELF;

pub struct Watch {
    watched: Watched,
    recursive: bool,
    /// The answer has been sent: everything that existed at the start is watched.
    begun: bool,
    /// Changes were dropped because the agent did not read them.
    overflowed: bool,
    /// It is queued in the loop's work.
    pub queued: bool,
}

impl Watch {
    pub fn open(open: &Value, path: &[u8]) -> Result<Watch, WireError> {
        let recursive = open.flag("recursive");
        let watched = Watched::open(path, ALL, recursive)?;
        Ok(Watch { watched, recursive, begun: false, overflowed: false, queued: false })
    }

    pub fn begun(&self) -> bool {
        self.begun
    }

    /// The watched path no longer exists under its name.
    pub fn over(&self) -> bool {
        self.begun && self.watched.over()
    }

    /// Scans directories for one turn. True while there are more.
    pub fn step(&mut self, core: &mut Core, key: Key, stream: u32) -> Result<bool, WireError> {
        self.queued = false;
        let link = &mut core.link;
        let lost = link.overloaded();
        self.overflowed |= lost && self.begun;
        self.watched.look(|path| {
            if !lost && !is_ours(path) {
                link.event(stream, &event("create", path));
            }
        })?;
        if !self.watched.unread() && !self.begun {
            let added = core.poll.add(self.watched.notifier.raw(), poll::IN, Source::File(key).token());
            added.map_err(|errno| watch_error(b"", errno))?;
            self.begun = true;
            core.link.opened(stream, b"{}");
        }
        Ok(self.watched.unread())
    }

    /// Sends the changes. True if there are directories to scan.
    pub fn tell(&mut self, core: &mut Core, stream: u32) -> Result<bool, WireError> {
        let mut buffer = [0; 16 * 1024];
        let count = match io::read(self.watched.notifier.raw(), &mut buffer) {
            Ok(count) => count,
            Err(_) => return Ok(false),
        };
        let lost = core.link.overloaded();
        self.overflowed |= lost;
        if !lost && std::mem::take(&mut self.overflowed) {
            core.link.event(stream, &event("overflow", b""));
        }
        for change in Changes(&buffer[..count]) {
            let path = self.watched.path_of(change.number).map(|directory| match change.name {
                b"" => directory.clone(),
                name => join(directory, name),
            });
            if let (false, Some(kind)) = (lost, self.kind_of(&change)) {
                let path = path.as_deref().unwrap_or(b"");
                if !is_ours(path) {
                    core.link.event(stream, &event(kind, path));
                }
            }
            self.follow(&change, path)?;
        }
        Ok(self.watched.unread())
    }

    /// Keeps up with directories that are created, removed and renamed.
    fn follow(&mut self, change: &Change, path: Option<Vec<u8>>) -> Result<(), WireError> {
        let moved = change.mask & kernel::MOVE_SELF != 0 && self.watched.is_root(change.number);
        if moved || change.mask & kernel::IGNORED != 0 {
            self.watched.ended(change.number);
        }
        let path = match path {
            Some(path) if self.recursive && change.mask & kernel::IS_DIRECTORY != 0 => path,
            _ => return Ok(()),
        };
        if change.mask & kernel::MOVED_FROM != 0 {
            self.watched.forget(&path);
        }
        if change.mask & (kernel::CREATE | kernel::MOVED_TO) != 0 {
            self.watched.add(path, change.mask & kernel::CREATE != 0)?;
        }
        Ok(())
    }

    /// None for a change that another event already reports.
    fn kind_of(&self, change: &Change) -> Option<&'static str> {
        let itself = kernel::DELETE_SELF | kernel::MOVE_SELF | kernel::ATTRIB;
        // The parent directory reports it for its entries.
        if change.name.is_empty() && change.mask & itself != 0 && !self.watched.is_root(change.number) {
            return None;
        }
        Some(match change.mask {
            mask if mask & (kernel::CREATE | kernel::MOVED_TO) != 0 => "create",
            mask if mask & kernel::MODIFY != 0 => "write",
            mask if mask & (kernel::DELETE | kernel::DELETE_SELF) != 0 => "remove",
            mask if mask & (kernel::MOVED_FROM | kernel::MOVE_SELF) != 0 => "rename",
            mask if mask & kernel::ATTRIB != 0 => "chmod",
            mask if mask & kernel::OVERFLOW != 0 => "overflow",
            _ => return None,
        })
    }
}

/// Whether a path is, or is below, a temporary name that boxinit uses for something not yet in place or half removed.
fn is_ours(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(write::is_temporary)
}

fn event(kind: &str, path: &[u8]) -> Vec<u8> {
    let mut out = Writer::object();
    out.str("type", b"change");
    out.str("kind", kind.as_bytes());
    out.str("path", path);
    out.end()
}
