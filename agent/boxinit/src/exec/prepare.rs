//! Prepares a request for the kernel: the arguments of execve, and the set-up before it.

use super::request::{bad_args, Command, Request, Shell};
use crate::error::WireError;
use crate::sys::{self, c_int};
use crate::users::{Accounts, Identity};
use std::ffi::CString;

const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const MAX_INLINE_SCRIPT_BYTES: usize = 96 * 1024;
/// The descriptor number of a long script's file in its shell.
const SCRIPT_DESCRIPTOR: c_int = 19;

/// The arguments of execve, and the set-up before it.
pub struct Prepared {
    pub candidates: Vec<CString>,
    pub argv: Vec<CString>,
    pub env: Vec<CString>,
    pub cwd: CString,
    pub identity: Option<Identity>,
    /// The file of a long script, and its descriptor in the shell.
    pub script: Option<(sys::io::Fd, c_int)>,
}

fn c_string(bytes: Vec<u8>) -> Result<CString, WireError> {
    CString::new(bytes).map_err(|_| bad_args("a zero byte cannot be passed to a program"))
}

/// Candidate paths of a program, in the search order of `path`.
fn candidates(program: &[u8], path: &[u8]) -> Vec<Vec<u8>> {
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    let join = |directory: &[u8]| match directory {
        b"" => [b"./", program].concat(),
        _ => [directory, b"/", program].concat(),
    };
    path.split(|byte| *byte == b':').map(join).collect()
}

/// A script in a memory file, for the shell to read; sealed before it runs.
pub fn script_file(text: &[u8]) -> Result<sys::io::Fd, WireError> {
    let no_room = |errno| WireError::resource_limit(format!("the script cannot be kept: {}", sys::message(errno)));
    let file = sys::io::memory_file().map_err(no_room)?;
    let mut rest = text;
    while !rest.is_empty() {
        let written = sys::io::write(file.raw(), rest).map_err(no_room)?;
        rest = &rest[written..];
    }
    Ok(file)
}

impl Request {
    /// `as_sh`: second attempt at a script, with `sh`, because there is no bash. `late`: a script sent as data.
    pub fn prepare(
        &self,
        accounts: &mut Accounts,
        as_sh: bool,
        late: Option<&sys::io::Fd>,
    ) -> Result<Prepared, WireError> {
        let mut env = self.env.clone();
        let find = |env: &[(Vec<u8>, Vec<u8>)], name: &[u8]| {
            env.iter().rev().find(|entry| entry.0 == name).map(|entry| entry.1.clone())
        };
        let path = find(&env, b"PATH").unwrap_or_else(|| {
            env.push((b"PATH".to_vec(), DEFAULT_PATH.to_vec()));
            DEFAULT_PATH.to_vec()
        });
        let identity = match &self.user {
            Some(user) => Some(accounts.look_up(user)?),
            None => None,
        };
        if find(&env, b"HOME").is_none() {
            let home = match &identity {
                Some(identity) => identity.home.clone(),
                None => accounts.root_home(),
            };
            env.push((b"HOME".to_vec(), home));
        }
        let name = |shell: &Shell| -> &[u8] {
            match shell {
                Shell::Bash if !as_sh => b"bash",
                _ => b"sh",
            }
        };
        let mut script = None;
        let argv: Vec<Vec<u8>> = match &self.command {
            Command::Argv(argv) => argv.clone(),
            Command::Script(shell, text) if text.len() <= MAX_INLINE_SCRIPT_BYTES => {
                vec![name(shell).to_vec(), b"-c".to_vec(), text.clone()]
            }
            Command::Script(shell, _) | Command::ScriptLater(shell, _) => {
                let file = match (&self.command, late) {
                    (Command::Script(_, text), _) => script_file(text)?,
                    (_, Some(file)) => duplicate(file)?,
                    _ => return Err(bad_args("the script did not come")),
                };
                sys::io::seal(file.raw());
                let number = if file.raw() == SCRIPT_DESCRIPTOR { SCRIPT_DESCRIPTOR + 1 } else { SCRIPT_DESCRIPTOR };
                script = Some((file, number));
                vec![name(shell).to_vec(), format!("/proc/self/fd/{}", number).into_bytes()]
            }
        };
        let mut paths = candidates(&argv[0], &path);
        if !matches!(self.command, Command::Argv(_)) {
            paths.push([b"/bin/", argv[0].as_slice()].concat());
        }
        if argv[0].is_empty() {
            paths.clear();
        }
        let env = env.into_iter().map(|(name, value)| c_string([name.as_slice(), b"=", &value].concat()));
        Ok(Prepared {
            candidates: paths.into_iter().map(c_string).collect::<Result<_, _>>()?,
            argv: argv.into_iter().map(c_string).collect::<Result<_, _>>()?,
            env: env.collect::<Result<_, _>>()?,
            cwd: c_string(self.cwd.clone()).map_err(|_| WireError::new("exec_bad_cwd", "the path has a zero byte"))?,
            identity,
            script,
        })
    }
}

fn duplicate(file: &sys::io::Fd) -> Result<sys::io::Fd, WireError> {
    sys::io::duplicate(file.raw()).map_err(|errno| WireError::resource_limit(sys::message(errno)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn request(text: &str) -> Request {
        Request::parse(&json::parse(text.as_bytes()).expect("json")).expect("valid")
    }

    fn strings(list: &[CString]) -> Vec<&str> {
        list.iter().map(|text| text.to_str().expect("utf8")).collect()
    }

    #[test]
    fn argv_runs_without_a_shell_and_is_searched_along_its_own_path() {
        let made = request(r#"{"id":"a","argv":["ls","-l"],"env":{"PATH":"/x::/y","HOME":"/h"},"cwd":"/"}"#);
        let prepared = made.prepare(&mut Accounts::default(), false, None).expect("ready");
        assert_eq!(strings(&prepared.candidates), ["/x/ls", "./ls", "/y/ls"]);
        assert_eq!(strings(&prepared.argv), ["ls", "-l"]);
        assert_eq!(strings(&prepared.env), ["PATH=/x::/y", "HOME=/h", "MILLIBOX_EXEC_ID=a"]);
    }

    #[test]
    fn nobody_can_forge_the_marker() {
        let made = request(r#"{"id":"a","argv":["x"],"env":{"MILLIBOX_EXEC_ID":"b","HOME":"/","PATH":"/"}}"#);
        let prepared = made.prepare(&mut Accounts::default(), false, None).expect("ready");
        assert_eq!(strings(&prepared.env), ["HOME=/", "PATH=/", "MILLIBOX_EXEC_ID=a"]);
    }

    #[test]
    fn a_long_script_is_a_file() {
        let text = format!(r#"{{"id":"a","script":"{}","shell":"bash"}}"#, "x".repeat(MAX_INLINE_SCRIPT_BYTES + 1));
        let made = request(&text);
        let prepared = made.prepare(&mut Accounts::default(), false, None).expect("ready");
        assert_eq!(prepared.argv[0].to_str(), Ok("bash"));
        assert!(prepared.script.is_some());
        assert_eq!(made.prepare(&mut Accounts::default(), true, None).expect("ready").argv[0].to_str(), Ok("sh"));
    }

    #[test]
    fn a_zero_byte_is_refused_before_anything_runs() {
        let zero = request(r#"{"id":"a","argv":["x\u0000"]}"#).prepare(&mut Accounts::default(), false, None);
        assert_eq!(zero.err().map(|error| error.code), Some("exec_bad_args"));
    }
}
