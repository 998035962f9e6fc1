//! Makes the kernel kill programs before boxinit, and of programs the largest, when memory runs out. By size alone, a
//! small program would outlive boxinit, and its sandbox would end.
//!
//! A program cannot be marked before it has executed: until then it shares our memory, and the mark with it. By the time
//! it is marked it may have started others. These must be marked too: a large one without a mark would outlive the small
//! one that started it.

use crate::sys::{c_int, limits, process};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// More than a program can start before it is marked.
const MOST: usize = 256;

#[derive(Default)]
pub struct Victims {
    /// Ends with the last pid that was given to a process of the sandbox.
    load: Option<File>,
}

impl Victims {
    /// Marks a program that was just started, and what it has started since. Of our children, `leaders` are other
    /// programs. Where the kernel does not list children, only the program itself is marked.
    pub fn add<V>(&mut self, leader: c_int, leaders: &HashMap<c_int, V>) {
        limits::prefer_as_victim(leader);
        match self.last_pid() {
            Some(last) if last != leader => {}
            // Nobody has started anything. To read one number costs less than to list children.
            _ => return,
        }
        let mut unmarked = children_of(leader);
        // Orphans. Those with a lower pid are older than the program, unless the numbers have begun anew.
        let orphans = children_of(process::getpid()).into_iter();
        unmarked.extend(orphans.filter(|pid| *pid > leader && !leaders.contains_key(pid)));
        for _ in 0..MOST {
            match unmarked.pop() {
                // In this order: what it starts from now on inherits the mark.
                Some(pid) => {
                    limits::prefer_as_victim(pid);
                    unmarked.extend(children_of(pid));
                }
                None => return,
            }
        }
    }

    fn last_pid(&mut self) -> Option<c_int> {
        if self.load.is_none() {
            self.load = File::open("/proc/loadavg").ok();
        }
        let mut text = [0; 128];
        let count = self.load.as_ref()?.read_at(&mut text, 0).ok()?;
        let last = text[..count].split(|byte| byte.is_ascii_whitespace()).rfind(|word| !word.is_empty())?;
        // gVisor has no such number, and says 0.
        pid_from(last).filter(|pid| *pid > 0)
    }
}

fn pid_from(text: &[u8]) -> Option<c_int> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The children of all its threads.
fn children_of(pid: c_int) -> Vec<c_int> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", pid));
    let lists = threads.into_iter().flatten().flatten().map(|thread| std::fs::read(thread.path().join("children")));
    let pids = |list: Vec<u8>| list.split(|byte| *byte == b' ').filter_map(pid_from).collect::<Vec<_>>();
    lists.flatten().flat_map(pids).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    /// Starts a shell, which has started a child with a child of its own, and has left an orphan to us.
    fn family() -> (std::process::Child, Vec<c_int>) {
        process::set_subreaper();
        let script = "(sh -c 'echo $$; exec sleep 100' & echo; wait) & (sh -c 'echo $$; exec sleep 100' & echo) & wait";
        let mut shell = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("a shell");
        let lines = BufReader::new(shell.stdout.take().expect("its output")).lines().take(4).flatten();
        let sleepers = lines.filter_map(|line| pid_from(line.as_bytes())).collect();
        (shell, sleepers)
    }

    fn score(pid: c_int) -> String {
        std::fs::read_to_string(format!("/proc/{}/oom_score_adj", pid)).expect("it lives").trim().to_string()
    }

    #[test]
    fn what_a_program_has_started_before_its_mark_is_marked_too() {
        if !std::path::Path::new("/proc/thread-self/children").exists() {
            return;
        }
        let (mut shell, sleepers) = family();
        let leader = shell.id() as c_int;
        Victims::default().add(leader, &HashMap::<c_int, ()>::new());
        let scores: Vec<String> = sleepers.iter().chain([&leader]).map(|pid| score(*pid)).collect();
        for pid in sleepers {
            crate::sys::signal::kill(pid, crate::sys::signal::SIGKILL);
        }
        shell.wait().expect("it has ended");
        assert_eq!(scores, ["1000"; 3]);
    }

    #[test]
    fn the_last_pid_is_that_of_the_youngest_process() {
        let child = Command::new("true").spawn().and_then(|mut child| child.wait().map(|_| child.id())).expect("true");
        let last = Victims::default().last_pid().expect("the kernel tells it");
        assert!(last >= child as c_int || last < 10_000, "{} follows {}", last, child);
    }
}
