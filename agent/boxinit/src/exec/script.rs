//! A script sent as data, until it is complete.

use super::request::Request;
use super::{prepare, Execs};
use crate::core::Core;
use crate::error::WireError;
use crate::frame;
use crate::mux::Owner;
use crate::slab::Key;
use crate::sys;
use crate::sys::io::{self, Fd};
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

/// Limit of the input that arrives before the end of the script. It holds back credit that the script needs: half of a
/// stream's window is left for it.
const MAX_EARLY: usize = 128 * 1024;

/// An exec whose script is still arriving.
pub struct Script {
    request: Request,
    file: Fd,
    wanted: u64,
    got: u64,
    /// Hash of the text so far.
    text: DefaultHasher,
    /// Input that arrived before the end of the script.
    early: Vec<u8>,
    early_end: bool,
}

impl Execs {
    /// The text follows on channel SCRIPT. The program is started once it is complete.
    pub(super) fn await_script(
        &mut self,
        core: &mut Core,
        stream: u32,
        request: Request,
        wanted: u64,
    ) -> Result<(), WireError> {
        let file = prepare::script_file(&[])?;
        let script =
            Script { request, file, wanted, got: 0, text: DefaultHasher::new(), early: Vec::new(), early_end: false };
        let key = self.scripts.insert(script).ok_or_else(|| WireError::resource_limit("too many commands at once"))?;
        core.link.set_owner(stream, Owner::Script(key));
        Ok(())
    }

    pub fn on_script_data(&mut self, core: &mut Core, key: Key, stream: u32, channel: u16, bytes: &[u8]) {
        let script = match self.scripts.get_mut(key) {
            Some(script) => script,
            None => return,
        };
        if channel != frame::SCRIPT {
            if script.early.len() + bytes.len() > MAX_EARLY {
                self.scripts.remove(key);
                let message = format!("more than {} bytes of input before the end of the script", MAX_EARLY);
                return core.link.refuse(stream, &WireError::invalid(message));
            }
            script.early.extend_from_slice(bytes);
            return;
        }
        script.got += bytes.len() as u64;
        script.text.write(bytes);
        let mut rest = bytes;
        while !rest.is_empty() && script.got <= script.wanted {
            match io::write(script.file.raw(), rest) {
                Ok(count) => rest = &rest[count..],
                Err(errno) => {
                    self.scripts.remove(key);
                    return core.link.refuse(stream, &WireError::resource_limit(sys::message(errno)));
                }
            }
        }
        core.link.consume(stream, bytes.len());
    }

    pub fn on_script_fin(&mut self, core: &mut Core, key: Key, stream: u32, channel: u16) {
        if channel == frame::STDIN {
            if let Some(script) = self.scripts.get_mut(key) {
                script.early_end = true;
            }
            return;
        }
        let script = match self.scripts.remove(key) {
            Some(script) => script,
            None => return,
        };
        if script.got != script.wanted {
            let message = format!("the script should have {} bytes and has {}", script.wanted, script.got);
            return core.link.refuse(stream, &WireError::new("exec_bad_args", message));
        }
        let text = script.text.finish();
        if let Some(running) = self.by_id.get(&script.request.id).copied() {
            if let Err(error) = self.adopt(core, running, stream, script.request.fingerprint(Some(text))) {
                core.link.refuse(stream, &error);
            }
            return;
        }
        match self.start(core, stream, script.request, Some((&script.file, text))) {
            Err(error) => core.link.refuse(stream, &error),
            Ok(key) => {
                if !script.early.is_empty() {
                    self.on_data(core, key, stream, frame::STDIN, &script.early);
                }
                if script.early_end || channel == frame::ALL {
                    self.on_input_end(key);
                }
            }
        }
    }

    /// The sender of the script is gone. Nothing has run.
    pub fn drop_script(&mut self, key: Key) {
        self.scripts.remove(key);
    }
}
