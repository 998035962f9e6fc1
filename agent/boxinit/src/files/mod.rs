//! Calls on files, done in the sandbox's own view by boxinit itself: no process, no thread. Every call is a state machine
//! that does a bounded amount of work per turn of the loop, and what is large flows through the credit of its stream.

mod change;
mod list;
mod read;
mod remove;
mod sorted_names;
mod stat;
mod tar_format;
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
use crate::sys::io::{Fd, O_DIRECTORY, O_PATH};
use crate::sys::{self, c_int};
use crate::users::Accounts;

const MAX_CALLS: usize = 1024;
/// Each takes one of the few that the kernel has for the whole node.
const MAX_WATCHES: usize = 16;
const MAX_PATH_BYTES: usize = 4096;
/// As far as a date reaches in JavaScript.
const MAX_TIME_MS: f64 = 8.64e15;

/// A call under way.
enum Call {
    Read(read::Read),
    Write(Box<write::Write>),
    List(Box<list::List>),
    Remove(remove::Remove),
    TarRead(Box<tar_read::TarRead>),
    TarWrite(Box<tar_write::TarWrite>),
    Transfer(Box<transfer::Transfer>),
    Watch(watch::Watch),
    /// Removes what nobody waits for.
    Clear(remove::Remove),
}

/// What a call says after a turn of work.
pub enum Progress {
    /// Go on at the next turn.
    More,
    /// The answer: the call is over.
    Answer(Vec<u8>),
}

struct Job {
    stream: u32,
    call: Call,
}

#[derive(Default)]
pub struct Files {
    table: Slab<Job>,
    readings: list::Readings,
}

/// What went wrong with a file, in the words of the one table of errors.
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

/// A path in a message.
fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(200).collect()
}

/// A path of the request, absolute: what is relative begins at the request's `workdir`.
fn path_of(open: &Value, key: &str) -> Result<Vec<u8>, WireError> {
    let invalid = || WireError::invalid(format!("{} is not a path of at most {} bytes", key, MAX_PATH_BYTES));
    let path = open.bytes(key).filter(|path| !path.is_empty() && !path.contains(&0)).ok_or_else(invalid)?;
    let path = match (path[0], open.bytes("workdir")) {
        (b'/', _) => path.to_vec(),
        (_, Some(base)) if base.first() == Some(&b'/') && !base.contains(&0) => {
            join(without_trailing_slashes(base), path)
        }
        _ => return Err(invalid()),
    };
    if path.len() > MAX_PATH_BYTES {
        return Err(invalid());
    }
    Ok(path)
}

/// Whose a file is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owners {
    /// (uid, gid), as asked.
    asked: Option<(u32, u32)>,
    /// Of what did not exist before.
    new: Option<(u32, u32)>,
}

/// `owner`, and `defaultOwner` for what is new and nobody's by request. A default that does not exist is none.
fn owners_of(open: &Value) -> Result<Owners, WireError> {
    let mut accounts = Accounts::default();
    let mut look_up = |name: &str| accounts.look_up(name).map(|identity| (identity.uid, identity.gid));
    let asked = match open.get("owner") {
        None | Some(Value::Null) => None,
        Some(_) => Some(look_up(open.text("owner").ok_or_else(|| WireError::invalid("owner is not a name"))?)?),
    };
    let new = asked.or_else(|| open.text("defaultOwner").and_then(|name| look_up(name).ok()));
    Ok(Owners { asked, new })
}

fn mode_of(open: &Value) -> Result<Option<u32>, WireError> {
    match open.get("mode") {
        None | Some(Value::Null) => Ok(None),
        Some(_) => match open.uint("mode") {
            Some(mode) if mode <= 0o7777 => Ok(Some(mode as u32)),
            _ => Err(WireError::invalid("mode is 0 to 0o7777")),
        },
    }
}

/// Seconds and nanoseconds of `modifiedAtMs`, which is exact to the microsecond.
fn modified_of(open: &Value) -> Result<Option<(i64, u32)>, WireError> {
    match open.get("modifiedAtMs") {
        None | Some(Value::Null) => Ok(None),
        Some(_) => match open.float("modifiedAtMs").filter(|ms| ms.abs() <= MAX_TIME_MS) {
            Some(ms) => {
                let micros = (ms * 1e3).round() as i64;
                Ok(Some((micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000) as u32 * 1_000)))
            }
            None => Err(WireError::invalid("modifiedAtMs is not a time")),
        },
    }
}

fn size_of(open: &Value, key: &str) -> Result<Option<u64>, WireError> {
    match open.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => match open.uint(key) {
            Some(size) => Ok(Some(size)),
            None => Err(WireError::invalid(format!("{} is not a size", key))),
        },
    }
}

/// (directory, name) of a path; the name of `/` and of what ends in a slash is `.`.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) if at + 1 == path.len() => (path, b"."),
        Some(0) => (b"/", &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b".", path),
    }
}

fn without_trailing_slashes(path: &[u8]) -> &[u8] {
    let mut end = path.len();
    while end > 1 && path[end - 1] == b'/' {
        end -= 1;
    }
    &path[..end]
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if directory.last() == Some(&b'/') { b"" } else { b"/" };
    [directory, slash, name].concat()
}

/// The directory that holds what a path names, and its name there. What is done by these two goes through no link of
/// /proc, and where it was looked at.
fn place(path: &[u8]) -> Result<(Fd, &[u8]), i32> {
    let (directory, name) = split(path);
    Ok((sys::fs::open_at(CWD, directory, O_PATH | O_DIRECTORY, 0)?, name))
}

const CWD: c_int = sys::fs::AT_FDCWD;

impl Files {
    /// An answer, or None while the call goes on.
    pub fn open(&mut self, core: &mut Core, stream: u32, open: &Value) -> Result<Option<Vec<u8>>, WireError> {
        let path = path_of(open, "path")?;
        match open.text("call").unwrap_or("") {
            "stat" => return stat::answer(&path, open.get("follow") != Some(&Value::Bool(false))).map(Some),
            "mkdir" => return change::make_directory(open, &path).map(Some),
            "chmod" => return change::change(open, &path).map(Some),
            _ => {}
        }
        if self.table.len() >= MAX_CALLS {
            return Err(WireError::resource_limit("too many calls on files at once"));
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
                    let message = format!("there are {} watches in this sandbox already", MAX_WATCHES);
                    return Err(WireError::resource_limit(message));
                }
                (Call::Watch(watch::Watch::open(open, &path)?), None)
            }
            other => {
                return Err(WireError::new("not_supported", format!("there is no call {:?}", shown(other.as_bytes()))))
            }
        };
        let key = self.table.insert(Job { stream, call });
        let key = key.ok_or_else(|| WireError::resource_limit("too many calls on files at once"))?;
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

    /// A turn of a call that needs nothing from the stream.
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
                    self.readings.keep(core, *list);
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
        self.readings.expire(core);
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
            // Whoever watches has had enough.
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

    /// After a turn of a watch.
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

    /// The stream is gone. What was half done is undone, a large copy little by little.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_fall_apart_as_expected() {
        for (path, directory, name) in
            [("/a/b", "/a", "b"), ("/a", "/", "a"), ("/", "/", "."), ("/a/", "/a/", "."), ("/a//b", "/a/", "b")]
        {
            assert_eq!(split(path.as_bytes()), (directory.as_bytes(), name.as_bytes()), "{}", path);
        }
        assert_eq!(without_trailing_slashes(b"/a//"), b"/a");
        assert_eq!(without_trailing_slashes(b"///"), b"/");
    }
}
