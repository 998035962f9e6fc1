//! Code in the sandbox that keeps a program from being executed causes an error, and delays no other command for long.

mod support;

use std::os::unix::io::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use support::{unique, Agent, Outcome};

const SIGSTOP: i32 = 19;
const SIGIO: i32 = 29;
const F_SETLEASE: i32 = 1024;
const F_WRLCK: i32 = 1;
/// The kernel breaks a lease after 45 s.
const SOON: Duration = Duration::from_secs(30);

extern "C" {
    fn fcntl(fd: i32, command: i32, ...) -> i32;
    fn signal(number: i32, handler: usize) -> usize;
    fn kill(pid: i32, number: i32) -> i32;
}

/// A program that nobody can open while this lives.
struct Leased {
    path: PathBuf,
    _file: std::fs::File,
}

impl Leased {
    fn new(agent: &Agent) -> Leased {
        let path = agent.directory.join("program");
        std::fs::copy(env!("CARGO_BIN_EXE_millibox-true"), &path).expect("copy");
        let file = std::fs::OpenOptions::new().read(true).open(&path).expect("open");
        let ignore = 1;
        unsafe { signal(SIGIO, ignore) };
        let deadline = Instant::now() + support::PATIENCE;
        // A child that another test is starting has the file open too, until it executes its program.
        while unsafe { fcntl(file.as_raw_fd(), F_SETLEASE, F_WRLCK) } != 0 {
            let error = std::io::Error::last_os_error();
            assert!(error.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < deadline, "{}", error);
            std::thread::sleep(Duration::from_millis(10));
        }
        Leased { path, _file: file }
    }

    fn request(&self) -> String {
        format!(r#"{{"op":"exec","id":"{}","argv":["{}"],"env":{{}},"cwd":"/"}}"#, unique("held"), self.path.display())
    }
}

fn refusal(outcome: &Outcome) -> (&str, &str) {
    let message = outcome.refused.as_ref().and_then(|error| error.text("message"));
    (outcome.refusal(), message.unwrap_or(""))
}

#[test]
fn a_program_whose_file_is_leased_never_ran() {
    let mut agent = Agent::start();
    let leased = Leased::new(&agent);
    let began = Instant::now();
    let outcome = agent.call(&leased.request());
    let (code, message) = refusal(&outcome);
    assert_eq!(code, "exec_permission_denied");
    assert!(message.contains("lease"), "{}", message);
    assert_eq!(agent.sh("echo next").stdout(), b"next\n");
    assert!(began.elapsed() < SOON);
}

#[test]
fn the_delays_of_hundreds_of_hold_ups_do_not_add_up() {
    let mut agent = Agent::start();
    let leased = Leased::new(&agent);
    let began = Instant::now();
    let held: Vec<u32> = (0..200).map(|_| agent.open(&leased.request())).collect();
    let other = agent.open(&support::exec("echo other", ""));
    for stream in held {
        assert_eq!(agent.finish(stream).refusal(), "exec_permission_denied");
    }
    assert_eq!(agent.finish(other).stdout(), b"other\n");
    assert!(began.elapsed() < SOON);
    drop(leased);
}

#[test]
fn a_child_stopped_before_its_execve_is_killed() {
    let mut agent = Agent::start();
    let leased = Leased::new(&agent);
    let children = format!("/proc/{0}/task/{0}/children", agent.child.id());
    let stream = agent.open(&leased.request());
    // It is waiting for the lease meanwhile.
    let deadline = Instant::now() + support::PATIENCE;
    while Instant::now() < deadline {
        let list = std::fs::read_to_string(&children).expect("children");
        if let Some(pid) = list.split_whitespace().next() {
            unsafe { kill(pid.parse().expect("pid"), SIGSTOP) };
            break;
        }
    }
    let outcome = agent.finish(stream);
    let (code, message) = refusal(&outcome);
    assert_eq!(code, "exec_permission_denied");
    assert!(message.contains("stopped"), "{}", message);
    assert_eq!(std::fs::read_to_string(&children).expect("children"), "");
    drop(leased);
}
