//! Makes directories; changes owners and modes.

use super::{file_error, mode_of, owners_of, split, stat, without_trailing_slashes, CWD};
use crate::error::WireError;
use crate::json::Value;
use crate::sys::{self, fs};

const DIRECTORY_MODE: u32 = 0o755;

/// Creates a missing directory and its parents for `owner`.
pub fn make_parents(path: &[u8], owner: Option<(u32, u32)>) -> Result<(), WireError> {
    let path = without_trailing_slashes(path);
    match fs::stat_at(CWD, path, true) {
        Ok(found) if found.is_directory() => return Ok(()),
        Ok(_) => return Err(file_error(path, sys::ENOTDIR)),
        Err(sys::ENOENT) => {}
        Err(errno) => return Err(file_error(path, errno)),
    }
    let (parent, _) = split(path);
    if parent.len() < path.len() {
        make_parents(parent, owner)?;
    }
    make_one(path, DIRECTORY_MODE, owner)
}

fn make_one(path: &[u8], mode: u32, owner: Option<(u32, u32)>) -> Result<(), WireError> {
    let failed = |errno| file_error(path, errno);
    match fs::make_directory(CWD, path, mode) {
        // Someone else created it meanwhile.
        Err(sys::EEXIST) if fs::stat_at(CWD, path, true).map_or(false, |found| found.is_directory()) => return Ok(()),
        result => result.map_err(failed)?,
    }
    if let Some(owner) = owner {
        fs::set_owner_at(CWD, path, owner, false).map_err(failed)?;
    }
    // Independent of boxinit's own umask.
    fs::set_mode_at(CWD, path, mode).map_err(failed)
}

/// An existing directory counts as success, and its mode and owner are left alone.
pub fn make_directory(open: &Value, path: &[u8]) -> Result<Vec<u8>, WireError> {
    let path = without_trailing_slashes(path);
    let (mode, owner) = (mode_of(open)?, owners_of(open)?.new);
    match fs::stat_at(CWD, path, true) {
        Ok(found) if found.is_directory() => return stat::answer(path, true),
        Ok(_) => return Err(file_error(path, sys::EEXIST)),
        Err(_) => {}
    }
    make_parents(split(path).0, owner)?;
    make_one(path, mode.unwrap_or(DIRECTORY_MODE), owner)?;
    stat::answer(path, true)
}

/// Follows symbolic links, as chmod and chown do.
pub fn change(open: &Value, path: &[u8]) -> Result<Vec<u8>, WireError> {
    let failed = |errno| file_error(path, errno);
    let (mode, owner) = (mode_of(open)?, owners_of(open)?.requested);
    // In this order: a change of owner clears the set-id bits.
    if let Some(owner) = owner {
        fs::set_owner_at(CWD, path, owner, true).map_err(failed)?;
    }
    if let Some(mode) = mode {
        fs::set_mode_at(CWD, path, mode).map_err(failed)?;
    }
    stat::answer(path, true)
}
