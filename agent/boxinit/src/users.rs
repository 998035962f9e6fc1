//! Users and groups, by the sandbox's own /etc/passwd and /etc/group.

use crate::error::WireError;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Larger files are cut: nobody's real one is near.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// What is larger is read anew each time.
const MAX_KEPT_BYTES: usize = 256 * 1024;
/// A file that changed so lately may change again within one tick of the clock that stamps it.
const SETTLED_S: i64 = 2;
const MAX_GROUPS: usize = 65_536;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: Vec<u8>,
}

struct User {
    name: Vec<u8>,
    uid: u32,
    gid: u32,
    home: Vec<u8>,
}

struct Group {
    name: Vec<u8>,
    gid: u32,
    members: Vec<Vec<u8>>,
}

fn bad_user(message: String) -> WireError {
    WireError::new("exec_bad_user", message)
}

fn number(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // The largest value means "unchanged" to the kernel.
    text.parse().ok().filter(|id| *id != u32::MAX)
}

/// Tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// User code cannot set this one.
    changed: (i64, i64),
}

impl Version {
    fn of(meta: &Metadata) -> Version {
        Version {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    fn settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        self.changed.0 + SETTLED_S < now
    }
}

/// One of the two files, parsed once for each state that it has.
struct Book<T> {
    path: &'static str,
    parse: fn(&[u8]) -> Vec<T>,
    kept: Option<(Version, Rc<[T]>)>,
}

impl<T> Book<T> {
    fn new(path: &'static str, parse: fn(&[u8]) -> Vec<T>) -> Book<T> {
        Book { path, parse, kept: None }
    }

    /// Its entries as of now. A file that cannot be read has none.
    fn entries(&mut self) -> Rc<[T]> {
        if let Some((version, entries)) = &self.kept {
            if std::fs::metadata(self.path).map_or(false, |meta| Version::of(&meta) == *version) {
                return entries.clone();
            }
        }
        self.kept = None;
        let (version, text) = match self.read() {
            Some(read) => read,
            None => return Rc::new([]),
        };
        let entries: Rc<[T]> = (self.parse)(&text).into();
        if text.len() <= MAX_KEPT_BYTES && version.settled() {
            self.kept = Some((version, entries.clone()));
        }
        entries
    }

    fn read(&self) -> Option<(Version, Vec<u8>)> {
        let opened = File::options().read(true).custom_flags(crate::sys::io::O_NONBLOCK).open(self.path);
        let file = opened.ok()?;
        let meta = file.metadata().ok().filter(|meta| meta.is_file())?;
        let mut text = Vec::with_capacity(meta.size().min(MAX_FILE_BYTES) as usize + 1);
        let _ = file.take(MAX_FILE_BYTES).read_to_end(&mut text);
        Some((Version::of(&meta), text))
    }
}

fn parse_users(text: &[u8]) -> Vec<User> {
    let line = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        if fields.len() < 6 {
            return None;
        }
        Some(User {
            name: fields[0].to_vec(),
            uid: number(fields[2])?,
            gid: number(fields[3])?,
            home: fields[5].to_vec(),
        })
    };
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn parse_groups(text: &[u8]) -> Vec<Group> {
    let line = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        if fields.len() < 4 {
            return None;
        }
        let members = fields[3].split(|byte| *byte == b',').filter(|name| !name.is_empty()).map(|name| name.to_vec());
        Some(Group { name: fields[0].to_vec(), gid: number(fields[2])?, members: members.collect() })
    };
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

fn resolve(asked: &str, users: &[User], groups: &[Group]) -> Result<Identity, WireError> {
    let (who, group) = match asked.split_once(':') {
        Some((who, group)) => (who, Some(group)),
        None => (asked, None),
    };
    // A name wins over a number that looks like one.
    let entry = users.iter().find(|user| user.name == who.as_bytes());
    let entry = entry.or_else(|| number(who.as_bytes()).and_then(|uid| users.iter().find(|user| user.uid == uid)));
    let (uid, gid, home) = match (entry, number(who.as_bytes())) {
        (Some(user), _) => (user.uid, user.gid, user.home.clone()),
        (None, Some(uid)) => (uid, 0, b"/".to_vec()),
        (None, None) => return Err(bad_user(format!("there is no user {:?} in the sandbox", who))),
    };
    let gid = match group {
        None => gid,
        Some(name) => match (groups.iter().find(|group| group.name == name.as_bytes()), number(name.as_bytes())) {
            (Some(group), _) => group.gid,
            (None, Some(gid)) => gid,
            (None, None) => return Err(bad_user(format!("there is no group {:?} in the sandbox", name))),
        },
    };
    let mut all = vec![gid];
    if let (Some(user), None) = (entry, group) {
        for group in groups {
            if group.members.contains(&user.name) && !all.contains(&group.gid) && all.len() < MAX_GROUPS {
                all.push(group.gid);
            }
        }
    }
    let home = if home.is_empty() { b"/".to_vec() } else { home };
    Ok(Identity { uid, gid, groups: all, home })
}

/// Who is who in the sandbox.
pub struct Accounts {
    users: Book<User>,
    groups: Book<Group>,
}

impl Default for Accounts {
    fn default() -> Accounts {
        Accounts { users: Book::new("/etc/passwd", parse_users), groups: Book::new("/etc/group", parse_groups) }
    }
}

impl Accounts {
    /// `name`, `uid`, `name:group` or `uid:gid`. @returns `exec_bad_user` when a name is not known.
    pub fn look_up(&mut self, asked: &str) -> Result<Identity, WireError> {
        resolve(asked, &self.users.entries(), &self.groups.entries())
    }

    /// Home of the user that boxinit itself runs as.
    pub fn root_home(&mut self) -> Vec<u8> {
        let users = self.users.entries();
        let home = users.iter().find(|user| user.uid == 0).map(|user| user.home.clone());
        home.filter(|home| !home.is_empty()).unwrap_or_else(|| b"/root".to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1001::/home/ann:/bin/sh\n1234:x:5:6::/odd:/x\n";
    const GROUP: &[u8] = b"root:x:0:\nann:x:1001:\nwheel:x:10:ann,bob\ndocker:x:99:ann\n";

    fn ask(text: &str) -> Result<(u32, u32, Vec<u32>, String), &'static str> {
        resolve(text, &parse_users(PASSWD), &parse_groups(GROUP))
            .map(|id| (id.uid, id.gid, id.groups, String::from_utf8_lossy(&id.home).into_owned()))
            .map_err(|error| error.code)
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(ask("ann"), Ok((1000, 1001, vec![1001, 10, 99], "/home/ann".into())));
        assert_eq!(ask("1000"), Ok((1000, 1001, vec![1001, 10, 99], "/home/ann".into())));
        assert_eq!(ask("ann:wheel"), Ok((1000, 10, vec![10], "/home/ann".into())));
        assert_eq!(ask("4242"), Ok((4242, 0, vec![0], "/".into())));
        assert_eq!(ask("4242:77"), Ok((4242, 77, vec![77], "/".into())));
        assert_eq!(ask("1234"), Ok((5, 6, vec![6], "/odd".into())));
    }

    #[test]
    fn unknown_names_are_refused() {
        for text in ["bob", "ann:nobody", "", "4294967295", "-1", "ann:"] {
            assert_eq!(ask(text), Err("exec_bad_user"), "{}", text);
        }
    }

    #[test]
    fn a_change_is_seen_at_once_and_an_old_state_is_parsed_once() {
        use std::cell::Cell;
        thread_local!(static PARSED: Cell<u32> = Cell::new(0));
        fn count(text: &[u8]) -> Vec<usize> {
            PARSED.with(|parsed| parsed.set(parsed.get() + 1));
            vec![text.len()]
        }
        let path = std::env::temp_dir().join(format!("boxinit-users-{}", std::process::id()));
        let mut book = Book::new(Box::leak(path.to_str().expect("utf8").to_string().into_boxed_str()), count);
        assert_eq!(*book.entries(), []);
        for round in 1..=3 {
            std::fs::write(&path, vec![b'x'; round]).expect("written");
            assert_eq!(*book.entries(), [round]);
        }
        let before = PARSED.with(Cell::get);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while book.kept.is_none() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert_eq!(*book.entries(), [3]);
        }
        let settled = PARSED.with(Cell::get);
        assert!(settled > before);
        assert_eq!(*book.entries(), [3]);
        assert_eq!(PARSED.with(Cell::get), settled);
        std::fs::write(&path, b"yyy").expect("written");
        assert_eq!(*book.entries(), [3]);
        assert_eq!(PARSED.with(Cell::get), settled + 1);
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(*book.entries(), []);
    }
}
