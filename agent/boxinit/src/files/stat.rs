//! File metadata.

use super::{file_error, CWD};
use crate::error::WireError;
use crate::json::Writer;
use crate::sys::fs::{self, Stat};

pub fn kind_name(stat: &Stat) -> &'static str {
    match stat.kind() {
        fs::S_IFREG => "file",
        fs::S_IFDIR => "directory",
        fs::S_IFLNK => "symlink",
        fs::S_IFIFO => "fifo",
        fs::S_IFSOCK => "socket",
        _ => "device",
    }
}

/// The members of a `FileStat` except its name.
pub fn write_stat(out: &mut Writer, stat: &Stat, target: Option<&[u8]>) {
    out.str("kind", kind_name(stat).as_bytes());
    out.uint("sizeBytes", stat.size);
    out.uint("mode", (stat.mode & 0o7777).into());
    out.uint("uid", stat.uid.into());
    out.uint("gid", stat.gid.into());
    out.float("modifiedAtMs", stat.modified_s as f64 * 1e3 + f64::from(stat.modified_ns / 1000) / 1e3);
    if let Some(target) = target {
        out.str("target", target);
    }
}

/// A `FileStat`.
pub fn to_json(path: &[u8], stat: &Stat, target: Option<&[u8]>) -> Vec<u8> {
    let mut out = Writer::object();
    out.str("path", path);
    write_stat(&mut out, stat, target);
    out.end()
}

pub fn answer(path: &[u8], follow: bool) -> Result<Vec<u8>, WireError> {
    let stat = fs::stat_at(CWD, path, follow).map_err(|errno| file_error(path, errno))?;
    let target = if stat.is_link() { fs::read_link(CWD, path).ok() } else { None };
    Ok(to_json(path, &stat, target.as_deref()))
}

/// EVENT `done` of a finished write.
pub fn done_event(path: &[u8], stat: &Stat) -> Vec<u8> {
    let mut out = Writer::object();
    out.str("type", b"done");
    out.begin_object("stat");
    out.str("path", path);
    write_stat(&mut out, stat, None);
    out.end()
}
