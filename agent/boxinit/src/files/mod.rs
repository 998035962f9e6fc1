//! File calls, executed by boxinit itself in the sandbox's own view: no process, no thread. Every call is a state
//! machine that does a bounded amount of work per loop turn, and bulk data flows under the credit of its stream.

mod attributes;
mod change;
mod list;
mod paths;
mod read;
mod remove;
mod sorted_names;
mod stat;
mod tar_format;
mod tar_members;
mod tar_read;
mod tar_write;
mod transfer;
mod watch;
mod watched;
mod write;

use crate::core::{Core, Work};
use crate::error::WireError;
use crate::frame;
use crate::json::Value;
use crate::mux::Owner;
use crate::slab::{Key, Slab};
use crate::sys;
use attributes::{mode_of, modified_of, owners_of, size_of};
use paths::{join, path_of, place, shown, split, without_trailing_slashes, CWD};

const MAX_CALLS: usize = 1024;
/// Each takes one of the few inotify instances that the kernel has for the whole node.
const MAX_WATCHES: usize = 16;

/// A call in progress.
enum Call {
    Read(read::Read),
    Write(Box<write::Write>),
    List(Box<list::List>),
    Remove(remove::Remove),
    TarRead(Box<tar_read::TarRead>),
    TarWrite(Box<tar_write::TarWrite>),
    Transfer(Box<transfer::Transfer>),
    Watch(watch::Watch),
    /// A removal that no stream waits for.
    Clear(remove::Remove),
}

/// The result of one turn of work.
pub enum Progress {
    /// Continue on the next turn.
    More,
    /// The answer: the call is over.
    Answer(Vec<u8>),
}

struct Job {
    stream: u32,
    call: Call,
}

/// A file error, worded by the one table of errors.
fn file_error(path: &[u8], errno: i32) -> WireError {
    let code = match errno {
        sys::ENOENT => "file_not_found",
        sys::ENOTDIR => "file_not_directory",
        sys::EEXIST | sys::ENOTEMPTY => "file_exists",
        sys::EISDIR | sys::ENXIO => "file_not_regular",
        sys::EACCES | sys::EPERM | sys::EROFS | sys::EBUSY | sys::ETXTBSY => "file_permission_denied",
        sys::ENOSPC | sys::EDQUOT | sys::EFBIG => "file_no_space",
        sys::ENAMETOOLONG | sys::ELOOP | sys::EINVAL => "invalid_request",
        sys::EMFILE | sys::ENFILE | sys::ENOMEM => "exec_resource_limit",
        _ => "file_failed",
    };
    WireError::new(code, format!("{:?}: {}", shown(path), sys::message(errno)))
}

#[derive(Default)]
pub struct Files {
    table: Slab<Job>,
    readings: list::Readings,
}

impl Files {
    /// An answer, or None while the call continues.
    pub fn open(&mut self, core: &mut Core, stream: u32, open: &Value) -> Result<Option<Vec<u8>>, WireError> {
        let path = path_of(open, "path")?;
        match open.text("call").unwrap_or("") {
            "stat" => return stat::answer(&path, open.get("follow") != Some(&Value::Bool(false))).map(Some),
            "mkdir" => return change::make_directory(open, &path).map(Some),
            "chmod" => return change::change(open, &path).map(Some),
            _ => {}
        }
        if self.table.len() >= MAX_CALLS {
            return Err(WireError::resource_limit("too many file calls at once"));
        }
        let (call, answer) = match open.text("call").unwrap_or("") {
            "read" => {
                let (read, answer) = read::Read::open(open, &path)?;
                (Call::Read(read), Some(answer))
            }
            "write" => (Call::Write(Box::new(write::Write::open(open, &path)?)), Some(b"{}".to_vec())),
            "list" => (Call::List(Box::new(list::List::open(open, &path, &mut self.readings)?)), None),
            "remove" => match remove::Remove::open(open, &path)? {
                Some(remove) => (Call::Remove(remove), None),
                None => return Ok(Some(b"{}".to_vec())),
            },
            "move" => match transfer::Transfer::open(open, &path)? {
                Some(transfer) => (Call::Transfer(Box::new(transfer)), None),
                None => return Ok(Some(b"{}".to_vec())),
            },
            "tar-read" => (Call::TarRead(Box::new(tar_read::TarRead::open(&path)?)), Some(b"{}".to_vec())),
            "tar-write" => (Call::TarWrite(Box::new(tar_write::TarWrite::open(open, &path)?)), Some(b"{}".to_vec())),
            "watch" => {
                let watches = self.table.values().filter(|job| matches!(job.call, Call::Watch(_))).count();
                if watches >= MAX_WATCHES {
                    let message = format!("there are already {} watches in this sandbox", MAX_WATCHES);
                    return Err(WireError::resource_limit(message));
                }
                (Call::Watch(watch::Watch::open(open, &path)?), None)
            }
            other => {
                return Err(WireError::new("not_supported", format!("there is no call {:?}", shown(other.as_bytes()))))
            }
        };
        let key = self.table.insert(Job { stream, call });
        let key = key.ok_or_else(|| WireError::resource_limit("too many file calls at once"))?;
        core.link.set_owner(stream, Owner::File(key));
        match answer {
            Some(answer) => {
                core.link.opened(stream, &answer);
                core.link.mark_ready(stream);
            }
            None => core.work.push_back(Work::File(key)),
        }
        Ok(None)
    }

    /// One turn of a call that needs nothing from its stream.
    pub fn work(&mut self, core: &mut Core, key: Key) {
        let job = match self.table.get_mut(key) {
            Some(job) => job,
            None => return,
        };
        let stream = job.stream;
        let progress = match &mut job.call {
            Call::List(list) => list.step(),
            Call::Remove(remove) => remove.step(),
            Call::Transfer(transfer) => transfer.step(),
            Call::Watch(watch) => {
                let looked = watch.step(core, key, stream);
                return self.watched(core, key, looked);
            }
            Call::Clear(remove) => match remove.step() {
                Ok(Progress::More) => Ok(Progress::More),
                _ => return drop(self.table.remove(key)),
            },
            _ => return,
        };
        match progress {
            Ok(Progress::More) => core.work.push_back(Work::File(key)),
            Ok(Progress::Answer(answer)) => {
                if let Some(Job { call: Call::List(list), .. }) = self.table.remove(key) {
                    self.readings.keep(&mut core.timers, *list);
                }
                core.link.answer(stream, &answer);
            }
            Err(error) => {
                self.cut(core, key);
                core.link.refuse(stream, &error);
            }
        }
    }

    pub fn on_listings(&mut self, core: &mut Core) {
        self.readings.expire(&mut core.timers);
    }

    /// The stream's turn to send.
    pub fn produce(&mut self, core: &mut Core, key: Key, budget: usize) {
        let job = match self.table.get_mut(key) {
            Some(job) => job,
            None => return,
        };
        let stream = job.stream;
        let most = budget.min(core.scratch.len());
        let filled = match &mut job.call {
            Call::Read(read) => read.fill(&mut core.scratch[..most]),
            Call::TarRead(tar) => tar.fill(&mut core.scratch[..most]),
            _ => return,
        };
        match filled {
            Ok(0) => {
                self.table.remove(key);
                core.link.fin(stream, frame::ALL);
            }
            Ok(count) => {
                core.link.data(stream, frame::BYTES, &core.scratch[..count]);
                core.link.mark_ready(stream);
            }
            Err(error) => self.fail(core, key, &error),
        }
    }

    fn fail(&mut self, core: &mut Core, key: Key, error: &WireError) {
        if let Some(job) = self.table.remove(key) {
            core.link.reset(job.stream, error);
        }
    }

    pub fn on_data(&mut self, core: &mut Core, key: Key, channel: u16, bytes: &[u8]) {
        let job = match self.table.get_mut(key) {
            Some(job) => job,
            None => return,
        };
        let taken = match &mut job.call {
            _ if channel != frame::BYTES => Ok(()),
            Call::Write(write) => write.take(bytes),
            Call::TarWrite(tar) => tar.take(bytes),
            _ => Ok(()),
        };
        match taken {
            Ok(()) => core.link.consume(job.stream, bytes.len()),
            Err(error) => self.fail(core, key, &error),
        }
    }

    pub fn on_fin(&mut self, core: &mut Core, key: Key, channel: u16) {
        if !matches!(channel, frame::BYTES | frame::ALL) {
            return;
        }
        let job = match self.table.get_mut(key) {
            Some(job) => job,
            None => return,
        };
        let done = match &mut job.call {
            Call::Write(write) => write.finish(),
            Call::TarWrite(tar) => tar.finish(),
            // The watcher has had enough.
            Call::Watch(_) if channel == frame::ALL => return self.end(core, key),
            _ => return,
        };
        match done {
            Ok(event) => {
                let stream = job.stream;
                self.table.remove(key);
                core.link.event(stream, &event);
                core.link.fin(stream, frame::ALL);
            }
            Err(error) => self.fail(core, key, &error),
        }
    }

    pub fn on_event(&mut self, core: &mut Core, key: Key) {
        if let Some(Job { stream, call: Call::Watch(watch) }) = self.table.get_mut(key) {
            let told = watch.tell(core, *stream);
            self.watched(core, key, told);
        }
    }

    /// After one turn of a watch.
    fn watched(&mut self, core: &mut Core, key: Key, more: Result<bool, WireError>) {
        match more {
            Ok(true) => {
                if let Some(Job { call: Call::Watch(watch), .. }) = self.table.get_mut(key) {
                    if !std::mem::replace(&mut watch.queued, true) {
                        core.work.push_back(Work::File(key));
                    }
                }
            }
            Ok(false) => {
                if matches!(self.table.get(key), Some(Job { call: Call::Watch(watch), .. }) if watch.over()) {
                    self.end(core, key);
                }
            }
            // A refusal, as long as it has not begun.
            Err(error) => self.end_watch(core, key, &error),
        }
    }

    fn end(&mut self, core: &mut Core, key: Key) {
        if let Some(job) = self.table.remove(key) {
            core.link.fin(job.stream, frame::ALL);
        }
    }

    fn end_watch(&mut self, core: &mut Core, key: Key, error: &WireError) {
        if let Some(Job { stream, call: Call::Watch(watch) }) = self.table.remove(key) {
            match watch.begun() {
                true => core.link.reset(stream, error),
                false => core.link.refuse(stream, error),
            }
        }
    }

    /// The stream is gone. Partial work is undone, a large copy little by little.
    pub fn cut(&mut self, core: &mut Core, key: Key) {
        let half_done = match self.table.remove(key) {
            Some(Job { call: Call::Transfer(mut transfer), .. }) => transfer.half_done(),
            _ => None,
        };
        self.clear(core, half_done);
    }

    fn clear(&mut self, core: &mut Core, half_done: Option<remove::Remove>) {
        let job = half_done.map(|remove| Job { stream: 0, call: Call::Clear(remove) });
        if let Some(key) = job.and_then(|job| self.table.insert(job)) {
            core.work.push_back(Work::File(key));
        }
    }
}
