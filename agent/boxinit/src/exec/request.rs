//! An exec's OPEN: validated, and fingerprinted by what it runs.

use crate::error::WireError;
use crate::json::Value;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

/// This variable identifies an exec's processes even after they leave its session.
pub const MARKER: &[u8] = b"MILLIBOX_EXEC_ID";
const MAX_ID_BYTES: usize = 128;
const MAX_SCRIPT_BYTES: u64 = 10 * 1024 * 1024;
const MAX_ARG_BYTES: usize = 128 * 1024 - 1;
const DEFAULT_RING_BYTES: u64 = 1024 * 1024;
const MAX_RING_BYTES: u64 = 16 * 1024 * 1024;
const DEFAULT_KILL_GRACE_MS: u64 = 2_000;
const DEFAULT_DETACHED_MS: u64 = 60_000;
/// About as long as a gateway keeps looking for an agent that is being replaced.
const DEFAULT_HOLD_MS: u64 = 20_000;
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shell {
    Sh,
    Bash,
}

#[derive(Debug, Hash)]
pub enum Command {
    Argv(Vec<Vec<u8>>),
    Script(Shell, Vec<u8>),
    /// A script of this many bytes follows.
    ScriptLater(Shell, u64),
}

/// Names and values.
type Variables = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Debug)]
pub struct Request {
    pub id: Vec<u8>,
    pub command: Command,
    pub(super) env: Variables,
    pub(super) cwd: Vec<u8>,
    pub(super) user: Option<String>,
    pub stdin: bool,
    pub pty: Option<(u16, u16)>,
    pub timeout_ms: Option<u64>,
    pub kill_grace_ms: u64,
    pub ring_bytes: usize,
    pub detached_ms: u64,
    /// How long a program waits for a reader that was cut off before its output overwrites the oldest.
    pub hold_ms: u64,
    pub background: bool,
}

pub(super) fn bad_args(message: impl Into<String>) -> WireError {
    WireError::new("exec_bad_args", message)
}

/// An exec's id, as found in every request.
pub fn id_of(open: &Value) -> Result<Vec<u8>, WireError> {
    match open.bytes("id") {
        Some(id) if !id.is_empty() && id.len() <= MAX_ID_BYTES && !id.contains(&0) => Ok(id.to_vec()),
        _ => Err(WireError::invalid("id is missing or too long")),
    }
}

pub fn size_of(value: &Value) -> Option<(u16, u16)> {
    let side = |key| value.uint(key).filter(|n| (1..=10_000).contains(n)).map(|n| n as u16);
    Some((side("cols")?, side("rows")?))
}

impl Request {
    pub fn parse(open: &Value) -> Result<Request, WireError> {
        let id = id_of(open)?;
        let pty = match open.get("pty") {
            None | Some(Value::Null) => None,
            Some(size) => Some(size_of(size).ok_or_else(|| WireError::invalid("pty: cols and rows are 1 to 10,000"))?),
        };
        let user = match open.get("user") {
            None | Some(Value::Null) => None,
            Some(_) => {
                let name = open.text("user").filter(|name| !name.is_empty());
                Some(name.ok_or_else(|| WireError::new("exec_bad_user", "the user name is missing"))?.to_string())
            }
        };
        Ok(Request {
            command: command(open)?,
            env: environment(open, &id)?,
            cwd: open.bytes("cwd").filter(|cwd| !cwd.is_empty()).unwrap_or(b"/").to_vec(),
            user,
            stdin: open.flag("stdin"),
            pty,
            timeout_ms: open.uint("timeoutMs"),
            kill_grace_ms: open.uint("killGraceMs").unwrap_or(DEFAULT_KILL_GRACE_MS).min(60_000),
            ring_bytes: open.uint("ringBytes").unwrap_or(DEFAULT_RING_BYTES).min(MAX_RING_BYTES) as usize,
            detached_ms: open.uint("detachedMs").unwrap_or(DEFAULT_DETACHED_MS),
            hold_ms: open.uint("holdMs").unwrap_or(DEFAULT_HOLD_MS),
            background: open.flag("background"),
            id,
        })
    }
}

fn command(open: &Value) -> Result<Command, WireError> {
    let shell = if open.text("shell") == Some("bash") { Shell::Bash } else { Shell::Sh };
    if let Some(script) = open.bytes("script") {
        if script.contains(&0) {
            return Err(bad_args("a zero byte cannot be passed to a program"));
        }
        if script.len() as u64 > MAX_SCRIPT_BYTES {
            return Err(bad_args(format!("a script has at most {} bytes", MAX_SCRIPT_BYTES)));
        }
        return Ok(Command::Script(shell, script.to_vec()));
    }
    if let Some(bytes) = open.uint("scriptBytes") {
        if bytes > MAX_SCRIPT_BYTES {
            return Err(bad_args(format!("a script has at most {} bytes", MAX_SCRIPT_BYTES)));
        }
        return Ok(Command::ScriptLater(shell, bytes));
    }
    let items = open.array("argv").unwrap_or(&[]);
    let mut argv = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Value::String(text) if text.len() > MAX_ARG_BYTES => {
                return Err(bad_args(format!("one argument has at most {} bytes", MAX_ARG_BYTES)))
            }
            Value::String(text) => argv.push(text.clone()),
            _ => return Err(bad_args("an argument is not a string")),
        }
    }
    if argv.is_empty() {
        return Err(bad_args("the command is missing"));
    }
    Ok(Command::Argv(argv))
}

fn environment(open: &Value, id: &[u8]) -> Result<Variables, WireError> {
    let mut env = Vec::new();
    for (name, value) in open.object("env").unwrap_or(&[]) {
        let value = match value {
            Value::String(value) => value,
            _ => return Err(bad_args("the value of an environment variable is not a string")),
        };
        if name.is_empty() || name.contains(&b'=') || name.len() + value.len() + 1 > MAX_ARG_BYTES {
            return Err(bad_args("the environment holds a name or a value that cannot be used"));
        }
        if name != MARKER {
            env.push((name.clone(), value.clone()));
        }
    }
    env.push((MARKER.to_vec(), id.to_vec()));
    Ok(env)
}

impl Request {
    /// A hash of what is run. Limits and output options may differ between attempts. `late` is the hash of a script
    /// sent as data.
    pub fn fingerprint(&self, late: Option<u64>) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&self.command, &self.cwd, &self.user, late).hash(&mut hasher);
        (self.stdin, self.pty.is_some(), self.background).hash(&mut hasher);
        // A sum, because the order of variables is not significant.
        self.env.iter().fold(hasher.finish(), |sum, variable| {
            let mut hasher = DefaultHasher::new();
            variable.hash(&mut hasher);
            sum.wrapping_add(hasher.finish())
        })
    }

    pub fn wants_bash(&self) -> bool {
        matches!(self.command, Command::Script(Shell::Bash, _) | Command::ScriptLater(Shell::Bash, _))
    }

    /// The command's name in messages.
    pub fn program_name(&self) -> String {
        match &self.command {
            Command::Argv(argv) => String::from_utf8_lossy(&argv[0]).chars().take(200).collect(),
            _ => "sh".to_string(),
        }
    }

    pub fn cwd_name(&self) -> String {
        String::from_utf8_lossy(&self.cwd).chars().take(200).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn request(text: &str) -> Result<Request, WireError> {
        Request::parse(&json::parse(text.as_bytes()).expect("json"))
    }

    #[test]
    fn a_fingerprint_covers_what_runs_but_not_limits_or_the_order_of_variables() {
        let of = |rest: &str| request(&format!(r#"{{"id":"a",{}}}"#, rest)).expect("valid").fingerprint(None);
        let plain = of(r#""argv":["x"],"env":{"A":"1","B":"2"},"timeoutMs":5"#);
        assert_eq!(of(r#""argv":["x"],"env":{"B":"2","A":"1"},"ringBytes":7,"detachedMs":1"#), plain);
        for other in [
            r#""argv":["y"],"env":{"A":"1","B":"2"}"#,
            r#""argv":["x"],"env":{"A":"2","B":"1"}"#,
            r#""script":"x","env":{"A":"1","B":"2"}"#,
            r#""argv":["x"],"env":{"A":"1","B":"2"},"cwd":"/tmp""#,
            r#""argv":["x"],"env":{"A":"1","B":"2"},"user":"nobody""#,
            r#""argv":["x"],"env":{"A":"1","B":"2"},"stdin":true"#,
            r#""argv":["x"],"env":{"A":"1","B":"2"},"background":true"#,
            r#""argv":["x"],"env":{"A":"1","B":"2"},"pty":{"cols":80,"rows":24}"#,
        ] {
            assert_ne!(of(other), plain, "{}", other);
        }
    }

    #[test]
    fn invalid_arguments_are_refused_before_anything_runs() {
        let long = "x".repeat(MAX_ARG_BYTES + 1);
        for text in [
            r#"{"id":"a"}"#.to_string(),
            r#"{"id":"a","argv":[]}"#.to_string(),
            r#"{"id":"a","argv":[1]}"#.to_string(),
            r#"{"id":"a","argv":["x"],"env":{"a=b":"c"}}"#.to_string(),
            format!(r#"{{"id":"a","argv":["x","{}"]}}"#, long),
        ] {
            assert_eq!(request(&text).err().map(|error| error.code), Some("exec_bad_args"));
        }
        assert_eq!(request(r#"{"argv":["x"]}"#).err().map(|error| error.code), Some("invalid_request"));
    }
}
