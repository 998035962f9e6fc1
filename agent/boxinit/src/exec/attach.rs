//! An exec's readers: attach, detach, acknowledge.

use super::output::Output;
use super::{request, Exec, Execs};
use crate::core::{Core, Work};
use crate::error::WireError;
use crate::json::{Value, Writer};
use crate::mux::Owner;
use crate::slab::Key;
use crate::timers::Timer;

impl Execs {
    /// Op `attach`: continues from the given offsets.
    pub fn attach(&mut self, core: &mut Core, stream: u32, open: &Value) -> Result<(), WireError> {
        let key = self.find(&request::id_of(open)?)?;
        let from = [open.uint("stdout").unwrap_or(0), open.uint("stderr").unwrap_or(0)];
        let exec = self.table.get(key).ok_or_else(|| WireError::new("exec_not_found", "the exec is gone"))?;
        for (output, offset) in exec.outputs.iter().zip(from) {
            if offset > output.total() {
                return Err(WireError::invalid(format!("offset {} is beyond the end of the output", offset)));
            }
        }
        let mut answer = Writer::object();
        answer.int("pid", exec.pid.into());
        answer.uint("stdinBytes", exec.input.received);
        self.listen(core, key, stream, from, &answer.end());
        Ok(())
    }

    /// Handles an `exec` with a known id: the same request continues the existing exec from its start.
    pub(super) fn adopt(&mut self, core: &mut Core, key: Key, stream: u32, fingerprint: u64) -> Result<(), WireError> {
        let exec = self.table.get(key).ok_or_else(|| WireError::new("exec_not_found", "the exec is gone"))?;
        if exec.fingerprint != fingerprint {
            return Err(WireError::new("idempotency_conflict", "this id was already used with a different request"));
        }
        let mut answer = Writer::object();
        answer.int("pid", exec.pid.into());
        answer.bool("adopted", true);
        answer.uint("stdinBytes", exec.input.received);
        self.listen(core, key, stream, [0, 0], &answer.end());
        Ok(())
    }

    fn listen(&mut self, core: &mut Core, key: Key, stream: u32, from: [u64; 2], answer: &[u8]) {
        let exec = match self.table.get_mut(key) {
            Some(exec) => exec,
            None => return,
        };
        core.timers.cancel(&mut exec.detached);
        exec.release_hold(core);
        if let Some(before) = exec.stream.replace(stream) {
            core.link.reset(before, &WireError::new("cancelled", "another client has taken over this exec"));
        }
        exec.input.disown();
        core.link.set_owner(stream, Owner::Exec(key));
        core.link.opened(stream, answer);
        for (which, name) in ["stdout", "stderr"].iter().enumerate() {
            let output = &mut exec.outputs[which];
            let start = output.ring.start();
            if from[which] < start {
                let mut lost = Writer::object();
                lost.str("type", b"output_lost");
                lost.str("channel", name.as_bytes());
                lost.uint("from", from[which]);
                lost.uint("to", start);
                core.link.event(stream, &lost.end());
            }
            output.sent = from[which].max(start);
        }
        exec.exit_sent = false;
        core.link.mark_ready(stream);
        self.send_exit(core, key);
    }

    /// No reader has returned in time: the program continues, even if output is overwritten.
    pub fn on_hold_over(&mut self, core: &mut Core, key: Key) {
        if let Some(exec) = self.table.get_mut(key) {
            exec.release_hold(core);
            core.work.push_back(Work::Drain(key));
        }
    }

    /// RESET from the reader. A reader that asked for a kill and resets the stream itself will not return, so the exit
    /// is not kept.
    pub fn on_reset(&mut self, key: Key, stream: u32, error: &Value) {
        match self.table.get_mut(key) {
            Some(exec) if exec.stream == Some(stream) && exec.unwanted => {
                exec.forget |= error.text("code") == Some("cancelled");
            }
            _ => {}
        }
    }

    /// The stream is gone, by RESET or with the link. The program continues; if it writes a lot, it blocks for a while,
    /// until the cut-off reader returns.
    pub fn detach(&mut self, core: &mut Core, key: Key, stream: u32) {
        let exec = match self.table.get_mut(key) {
            Some(exec) if exec.stream == Some(stream) => exec,
            _ => return,
        };
        exec.stream = None;
        exec.unwanted = false;
        if exec.complete {
            if exec.forget && exec.killing.is_none() {
                self.forget(core, key);
            }
            return;
        }
        if !exec.background {
            exec.detached = Some(core.timers.after(exec.detached_ms, Timer::Detached(key)));
            if exec.hold_ms > 0 {
                exec.outputs.iter_mut().for_each(Output::hold);
                exec.hold = Some(core.timers.after(exec.hold_ms.min(exec.detached_ms), Timer::Hold(key)));
            }
        }
        core.work.push_back(Work::Drain(key));
    }

    /// FIN ALL from the reader. After the exit it acknowledges the exit.
    pub fn on_fin_all(&mut self, core: &mut Core, key: Key) {
        match self.table.get_mut(key) {
            // Processes it left behind are still being killed.
            Some(exec) if exec.exit_sent && exec.killing.is_some() => exec.forget = true,
            Some(exec) if exec.exit_sent => self.forget(core, key),
            Some(_) => self.on_input_end(key),
            None => {}
        }
    }
}

impl Exec {
    fn release_hold(&mut self, core: &mut Core) {
        core.timers.cancel(&mut self.hold);
        self.outputs.iter_mut().for_each(Output::release_hold);
    }
}
