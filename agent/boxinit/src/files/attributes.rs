//! File attributes in a request: owner, mode, time, size.

use crate::error::WireError;
use crate::json::Value;
use crate::users::Accounts;

/// The range of a JavaScript date.
const MAX_TIME_MS: f64 = 8.64e15;

/// A file's intended owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owners {
    /// (uid, gid), as requested.
    pub requested: Option<(u32, u32)>,
    /// For files that did not exist before.
    pub new: Option<(u32, u32)>,
}

/// `owner`, and `defaultOwner` for new files without a requested owner. A default that does not exist is ignored.
pub fn owners_of(open: &Value) -> Result<Owners, WireError> {
    let mut accounts = Accounts::default();
    let mut look_up = |name: &str| accounts.look_up(name).map(|identity| (identity.uid, identity.gid));
    let requested = match open.get("owner") {
        None | Some(Value::Null) => None,
        Some(_) => Some(look_up(open.text("owner").ok_or_else(|| WireError::invalid("owner is not a name"))?)?),
    };
    let new = requested.or_else(|| open.text("defaultOwner").and_then(|name| look_up(name).ok()));
    Ok(Owners { requested, new })
}

pub fn mode_of(open: &Value) -> Result<Option<u32>, WireError> {
    match open.get("mode") {
        None | Some(Value::Null) => Ok(None),
        Some(_) => match open.uint("mode") {
            Some(mode) if mode <= 0o7777 => Ok(Some(mode as u32)),
            _ => Err(WireError::invalid("mode must be 0 to 0o7777")),
        },
    }
}

/// Seconds and nanoseconds of `modifiedAtMs`, which is exact to the microsecond.
pub fn modified_of(open: &Value) -> Result<Option<(i64, u32)>, WireError> {
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

pub fn size_of(open: &Value, key: &str) -> Result<Option<u64>, WireError> {
    match open.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(_) => match open.uint(key) {
            Some(size) => Ok(Some(size)),
            None => Err(WireError::invalid(format!("{} is not a size", key))),
        },
    }
}
