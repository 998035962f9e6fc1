//! Users and groups, from the sandbox's own /etc/passwd and /etc/group.

use crate::error::WireError;
use crate::sys::io::{O_NOCTTY, O_NONBLOCK};
use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Larger files are truncated; no real one is that large.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Larger files are not cached.
const MAX_KEPT_BYTES: usize = 256 * 1024;
/// A file that changed this recently may change again without a new timestamp.
const SETTLED_S: i64 = 2;
const MAX_GROUPS: usize = 65_536;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: Vec<u8>,
}

/// Read from the files' text where it stands: a copy of a hostile one would be many times its size.
struct User<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

struct Group<'a> {
    name: &'a [u8],
    gid: u32,
    members: &'a [u8],
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

/// Identifies a version of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// The ctime, which user code cannot set.
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

/// The text of one of the two files, read once per version.
struct Book {
    path: &'static str,
    kept: Option<(Version, Rc<[u8]>)>,
}

impl Book {
    fn new(path: &'static str) -> Book {
        Book { path, kept: None }
    }

    /// The current text; empty if the file cannot be read.
    fn text(&mut self) -> Rc<[u8]> {
        if let Some((version, text)) = &self.kept {
            if std::fs::metadata(self.path).map_or(false, |meta| Version::of(&meta) == *version) {
                return text.clone();
            }
        }
        self.kept = None;
        let (version, text) = match self.read() {
            Some(read) => read,
            None => return Rc::new([]),
        };
        let text: Rc<[u8]> = text.into();
        if text.len() <= MAX_KEPT_BYTES && version.settled() {
            self.kept = Some((version, text.clone()));
        }
        text
    }

    fn read(&self) -> Option<(Version, Vec<u8>)> {
        let opened = File::options().read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(self.path);
        let file = opened.ok()?;
        let meta = file.metadata().ok().filter(|meta| meta.is_file())?;
        let mut text = Vec::with_capacity(meta.size().min(MAX_FILE_BYTES) as usize + 1);
        let _ = file.take(MAX_FILE_BYTES).read_to_end(&mut text);
        Some((Version::of(&meta), text))
    }
}

/// The first fields of a line, if it has that many.
fn fields<const COUNT: usize>(line: &[u8]) -> Option<[&[u8]; COUNT]> {
    let mut rest = line.split(|byte| *byte == b':');
    let mut all = [&b""[..]; COUNT];
    for field in all.iter_mut() {
        *field = rest.next()?;
    }
    Some(all)
}

fn users(text: &[u8]) -> impl Iterator<Item = User<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let [name, _, uid, gid, _, home] = fields(line)?;
        Some(User { name, uid: number(uid)?, gid: number(gid)?, home })
    })
}

fn groups(text: &[u8]) -> impl Iterator<Item = Group<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let [name, _, gid, members] = fields(line)?;
        Some(Group { name, gid: number(gid)?, members })
    })
}

fn resolve(asked: &str, passwd: &[u8], group_file: &[u8]) -> Result<Identity, WireError> {
    let (who, group) = match asked.split_once(':') {
        // A group without a user means root, as in Docker.
        Some(("", group)) => ("0", Some(group)),
        Some((who, group)) => (who, Some(group)),
        None => (asked, None),
    };
    // A name takes precedence over a number.
    let entry = users(passwd).find(|user| user.name == who.as_bytes());
    let entry = entry.or_else(|| number(who.as_bytes()).and_then(|uid| users(passwd).find(|user| user.uid == uid)));
    let (uid, gid, home) = match (&entry, number(who.as_bytes())) {
        (Some(user), _) => (user.uid, user.gid, user.home),
        (None, Some(uid)) => (uid, 0, &b"/"[..]),
        (None, None) => return Err(bad_user(format!("there is no user {:?} in the sandbox", who))),
    };
    let gid = match group {
        None => gid,
        Some(name) => {
            let named = groups(group_file).find(|group| group.name == name.as_bytes());
            match (named, number(name.as_bytes())) {
                (Some(group), _) => group.gid,
                (None, Some(gid)) => gid,
                (None, None) => return Err(bad_user(format!("there is no group {:?} in the sandbox", name))),
            }
        }
    };
    let all = match (&entry, group) {
        (Some(user), None) => groups_of(user.name, gid, group_file),
        _ => vec![gid],
    };
    let home = if home.is_empty() { b"/" } else { home };
    Ok(Identity { uid, gid, groups: all, home: home.to_vec() })
}

/// The groups that list the user as a member, after the first.
fn groups_of(user: &[u8], first: u32, group_file: &[u8]) -> Vec<u32> {
    let mut seen = HashSet::from([first]);
    let named = groups(group_file).filter(|group| group.members.split(|byte| *byte == b',').any(|name| name == user));
    let others = named.map(|group| group.gid).filter(|gid| seen.insert(*gid));
    std::iter::once(first).chain(others).take(MAX_GROUPS).collect()
}

/// The sandbox's users and groups.
pub struct Accounts {
    users: Book,
    groups: Book,
}

impl Default for Accounts {
    fn default() -> Accounts {
        Accounts { users: Book::new("/etc/passwd"), groups: Book::new("/etc/group") }
    }
}

impl Accounts {
    /// `name`, `uid`, `name:group`, `uid:gid` or `:group`. @returns `exec_bad_user` for an unknown name.
    pub fn look_up(&mut self, asked: &str) -> Result<Identity, WireError> {
        resolve(asked, &self.users.text(), &self.groups.text())
    }

    /// Home of the user that boxinit itself runs as.
    pub fn root_home(&mut self) -> Vec<u8> {
        let passwd = self.users.text();
        let home = users(&passwd).find(|user| user.uid == 0).map(|user| user.home);
        home.filter(|home| !home.is_empty()).unwrap_or(b"/root").to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1001::/home/ann:/bin/sh\n1234:x:5:6::/odd:/x\n";
    const GROUP: &[u8] = b"root:x:0:\nann:x:1001:\nwheel:x:10:ann,bob\ndocker:x:99:ann\n";

    fn ask(text: &str) -> Result<(u32, u32, Vec<u32>, String), &'static str> {
        resolve(text, PASSWD, GROUP)
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
        assert_eq!(ask(":wheel"), Ok((0, 10, vec![10], "/root".into())));
    }

    #[test]
    fn unknown_names_are_refused() {
        for text in ["bob", "ann:nobody", "", ":", "4294967295", "-1", "ann:"] {
            assert_eq!(ask(text), Err("exec_bad_user"), "{}", text);
        }
    }

    #[test]
    fn groups_are_unique_and_limited_to_what_the_kernel_accepts() {
        let line = |at: usize| format!("g:x:{}:bob,ann\n", at / 2 * 2).into_bytes();
        let text: Vec<u8> = (0..MAX_GROUPS * 2 + 8).flat_map(line).collect();
        let groups = groups_of(b"ann", 7, &text);
        assert_eq!((groups.len(), &groups[..4]), (MAX_GROUPS, &[7, 0, 2, 4][..]));
    }

    #[test]
    fn a_change_is_seen_at_once_and_an_unchanged_file_is_read_once() {
        let path = std::env::temp_dir().join(format!("boxinit-users-{}", std::process::id()));
        let mut book = Book::new(Box::leak(path.to_str().expect("utf8").to_string().into_boxed_str()));
        assert_eq!(*book.text(), []);
        for round in 1..=3 {
            std::fs::write(&path, vec![b'x'; round]).expect("written");
            assert_eq!(book.text().len(), round);
        }
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while book.kept.is_none() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert_eq!(*book.text(), *b"xxx");
        }
        assert!(Rc::ptr_eq(&book.text(), &book.text()));
        std::fs::write(&path, b"yyy").expect("written");
        assert_eq!(*book.text(), *b"yyy");
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(*book.text(), []);
    }
}
