//! Users and groups, by the sandbox's own /etc/passwd and /etc/group.

use crate::error::WireError;

/// Larger files are cut: nobody's real one is near.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
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

fn read_file(path: &str) -> Vec<u8> {
    use std::io::Read;
    use std::os::unix::fs::OpenOptionsExt;
    let mut text = Vec::new();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(crate::sys::io::O_NONBLOCK).open(path);
    if let Ok(file) = file {
        if file.metadata().map(|meta| meta.is_file()).unwrap_or(false) {
            let _ = file.take(MAX_FILE_BYTES).read_to_end(&mut text);
        }
    }
    text
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

/// `name`, `uid`, `name:group` or `uid:gid`. @returns `exec_bad_user` when a name is not known.
pub fn look_up(asked: &str) -> Result<Identity, WireError> {
    let users = parse_users(&read_file("/etc/passwd"));
    resolve(asked, &users, &parse_groups(&read_file("/etc/group")))
}

/// Home of the user that boxinit itself runs as.
pub fn root_home() -> Vec<u8> {
    let users = parse_users(&read_file("/etc/passwd"));
    let home = users.into_iter().find(|user| user.uid == 0).map(|user| user.home);
    home.filter(|home| !home.is_empty()).unwrap_or_else(|| b"/root".to_vec())
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
}
