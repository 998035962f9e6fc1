//! Output of background children after their command has exited.

use super::Execs;
use crate::core::{Core, Source, Work};
use crate::slab::{Key, Slab};
use crate::sys::io::{self, Fd};
use crate::sys::{poll, EAGAIN};

/// A pipe that a background child still holds. Its output is discarded; closing the pipe would kill the child.
pub struct Discard {
    fd: Fd,
}

impl Discard {
    /// Some(true): there is more. Some(false): not now. None: no process holds it any more.
    fn empty(&self, core: &mut Core) -> Option<bool> {
        match io::read(self.fd.raw(), &mut core.scratch) {
            Ok(0) => None,
            Ok(count) => Some(count == core.scratch.len()),
            Err(EAGAIN) => Some(false),
            Err(_) => None,
        }
    }
}

impl Slab<Discard> {
    pub(super) fn add(&mut self, core: &mut Core, fd: Fd) {
        let raw = fd.raw();
        let discard = Discard { fd };
        if discard.empty(core).is_none() {
            return;
        }
        if let Some(key) = self.insert(discard) {
            let _ = core.poll.modify(raw, poll::IN, Source::Discard(key).token());
        }
    }
}

impl Execs {
    pub fn discard(&mut self, core: &mut Core, key: Key) {
        let open = match self.discards.get(key) {
            Some(discard) => discard.empty(core),
            None => return,
        };
        match open {
            Some(true) => core.work.push_back(Work::Discard(key)),
            Some(false) => {}
            None => drop(self.discards.remove(key)),
        }
    }
}
