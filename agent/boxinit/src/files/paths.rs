//! File paths: taken from requests, split, and shown in messages.

use crate::error::WireError;
use crate::json::Value;
use crate::sys::io::{Fd, O_DIRECTORY, O_PATH};
use crate::sys::{self, c_int};

pub(super) const MAX_PATH_BYTES: usize = 4096;
/// The base for relative paths in system calls.
pub const CWD: c_int = sys::fs::AT_FDCWD;

/// A path in a message.
pub fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(200).collect()
}

/// A path from the request, made absolute: a relative one is based on the request's `workdir`.
pub fn path_of(open: &Value, key: &str) -> Result<Vec<u8>, WireError> {
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

/// (directory, name) of a path; the name of `/` and of paths that end in a slash is `.`.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) if at + 1 == path.len() => (path, b"."),
        Some(0) => (b"/", &path[1..]),
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b".", path),
    }
}

pub fn without_trailing_slashes(path: &[u8]) -> &[u8] {
    let mut end = path.len();
    while end > 1 && path[end - 1] == b'/' {
        end -= 1;
    }
    &path[..end]
}

pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if directory.last() == Some(&b'/') { b"" } else { b"/" };
    [directory, slash, name].concat()
}

/// The directory that contains what a path names, and its name there. Operating on these two follows no /proc link, and
/// stays where the path was checked.
pub fn place(path: &[u8]) -> Result<(Fd, &[u8]), i32> {
    let (directory, name) = split(path);
    Ok((sys::fs::open_at(CWD, directory, O_PATH | O_DIRECTORY, 0)?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_as_expected() {
        for (path, directory, name) in
            [("/a/b", "/a", "b"), ("/a", "/", "a"), ("/", "/", "."), ("/a/", "/a/", "."), ("/a//b", "/a/", "b")]
        {
            assert_eq!(split(path.as_bytes()), (directory.as_bytes(), name.as_bytes()), "{}", path);
        }
        assert_eq!(without_trailing_slashes(b"/a//"), b"/a");
        assert_eq!(without_trailing_slashes(b"///"), b"/");
    }
}
