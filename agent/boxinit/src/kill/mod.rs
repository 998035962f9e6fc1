//! Finds every process that a command started: its session, its descendants, the sessions those created, and every
//! process that carries its tag, or its id in the environment. A session belongs to its creator, so one member of ours
//! makes the whole session ours. One scan of the process table is linear in its size and serves any number of commands.

mod table;

use crate::sys::c_int;
use crate::sys::process;
use crate::sys::signal::{self, SIGCONT, SIGKILL, SIGTERM};
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};
use table::{EnvironBytes, Process};

/// Tags are above this, clear of limits that have an effect.
pub const TAGS: u64 = 1 << 62;
/// Scans of the process table without a pause in between: how many, and for how long.
const PASSES: u32 = 32;
const LONGEST: Duration = Duration::from_millis(50);
/// A pid that no process has.
pub const NOBODY: c_int = -1;

/// Identifies a command's processes.
#[derive(Clone, Copy)]
pub struct Family<'a> {
    pub id: &'a [u8],
    pub tag: u64,
    /// The command's first process, whose pid is also its session id.
    pub leader: c_int,
    /// It has been reaped: its pid may have been reused.
    pub leader_reaped: bool,
}

/// Whether a process is the leader of a running command.
pub type IsLeader<'a> = &'a dyn Fn(c_int) -> bool;

/// One scan of the process table, indexed for going from a process to its relatives.
struct Look<'a> {
    processes: Vec<Process>,
    by_pid: HashMap<c_int, usize>,
    by_parent: HashMap<c_int, Vec<usize>>,
    by_session: HashMap<c_int, Vec<usize>>,
    is_leader: IsLeader<'a>,
    me: c_int,
}

impl<'a> Look<'a> {
    fn new(is_leader: IsLeader<'a>) -> Look<'a> {
        let processes = table::read_all();
        let mut by_pid = HashMap::with_capacity(processes.len());
        let mut by_parent: HashMap<c_int, Vec<usize>> = HashMap::new();
        let mut by_session: HashMap<c_int, Vec<usize>> = HashMap::new();
        for (at, process) in processes.iter().enumerate() {
            by_pid.insert(process.pid, at);
            by_parent.entry(process.parent).or_default().push(at);
            by_session.entry(process.session).or_default().push(at);
        }
        Look { processes, by_pid, by_parent, by_session, is_leader, me: process::getpid() }
    }

    /// The leader's pid while it identifies this family: it is only free again once the session is empty.
    fn leader(&self, family: &Family) -> c_int {
        match family.leader_reaped && self.by_pid.contains_key(&family.leader) {
            true => NOBODY,
            false => family.leader,
        }
    }

    /// For each family, the processes that carry its tag or its id. Those in a running command's session belong to that
    /// command and are not checked.
    fn carriers(&self, families: &[Family]) -> Vec<Vec<usize>> {
        let mut by_tag: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut by_id: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (at, family) in families.iter().enumerate() {
            by_tag.entry(family.tag).or_default().push(at);
            by_id.entry(family.id).or_default().push(at);
        }
        let mut carriers = vec![Vec::new(); families.len()];
        let mut left = EnvironBytes::default();
        for (at, process) in self.processes.iter().enumerate() {
            if process.dead || (self.is_leader)(process.session) {
                continue;
            }
            let mut carried = HashSet::new();
            table::each_tag(process.pid, |tag| carried.extend(by_tag.get(&tag).into_iter().flatten()));
            if carried.len() < families.len() {
                table::each_mark(process.pid, &mut left, |id| carried.extend(by_id.get(id).into_iter().flatten()));
            }
            carried.into_iter().for_each(|family: usize| carriers[family].push(at));
        }
        carriers
    }

    /// The members of a family, starting from those known to belong to it.
    fn members(&self, leader: c_int, carriers: Vec<usize>) -> Members {
        let mut waiting = carriers;
        waiting.extend(self.by_pid.get(&leader));
        waiting.extend(self.by_session.get(&leader).into_iter().flatten());
        let mut ours: HashSet<usize> = waiting.iter().copied().collect();
        let mut sessions: HashSet<c_int> = HashSet::new();
        sessions.insert(leader);
        while let Some(at) = waiting.pop() {
            let Process { pid, session, .. } = self.processes[at];
            if self.is_others(session, leader) {
                continue;
            }
            let mut relatives: Vec<usize> = self.by_parent.get(&pid).cloned().unwrap_or_default();
            // 0 is a session that is not visible here. A session whose leader is gone was created by one of ours.
            let own = self.by_pid.get(&session).map_or(true, |maker| ours.contains(maker));
            if session > 1 && session != self.me && own && sessions.insert(session) {
                relatives.extend(self.by_session.get(&session).into_iter().flatten());
            }
            for relative in relatives {
                if !self.is_others(self.processes[relative].session, leader) && ours.insert(relative) {
                    waiting.push(relative);
                }
            }
        }
        let ours = || ours.iter().map(|at| &self.processes[*at]);
        let mut living: Vec<c_int> = ours().filter(|process| !process.dead).map(|process| process.pid).collect();
        living.sort_unstable();
        // A group lies within a session.
        let grouped = ours().filter(|process| sessions.contains(&process.session));
        let groups = grouped.map(|process| process.group).chain([leader]).collect();
        Members { living, groups }
    }

    /// Whether a session is another running command's.
    fn is_others(&self, session: c_int, leader: c_int) -> bool {
        session != leader && (self.is_leader)(session)
    }
}

/// What a scan found of a family.
#[derive(Default)]
pub struct Members {
    pub living: Vec<c_int>,
    /// The process groups that are all its own.
    groups: HashSet<c_int>,
}

/// The members of each family, all from one scan.
pub fn members(families: &[Family], is_leader: IsLeader) -> Vec<Members> {
    let look = Look::new(is_leader);
    let carriers = look.carriers(families);
    let each = families.iter().zip(carriers);
    each.map(|(family, carriers)| look.members(look.leader(family), carriers)).collect()
}

/// Sends SIGTERM to all members. A stopped one must be continued to receive it.
pub fn terminate(members: &[c_int]) {
    send(members, SIGTERM);
    send(members, SIGCONT);
}

pub fn send(members: &[c_int], number: c_int) {
    for pid in members {
        signal::kill(*pid, number);
    }
}

/// Sends SIGKILL, beginning with the members `found`, until a scan finds nobody new: a killed process can no longer
/// fork, and what it forked before is found by the next scan, or by a later call if scans take long. Returns for each
/// family whether the last scan found nobody.
pub fn exterminate(families: &[Family], is_leader: IsLeader, mut found: Vec<Members>) -> Vec<bool> {
    let until = Instant::now() + LONGEST;
    let mut killed = HashSet::new();
    for _ in 0..PASSES {
        let mut fresh = false;
        for members in &found {
            // First whole groups, at once: of those that fork and exit quickly, a scan sees only some that are gone.
            for group in members.groups.iter().filter(|group| **group != NOBODY) {
                signal::kill(-group, SIGKILL);
            }
            for pid in &members.living {
                signal::kill(*pid, SIGKILL);
                fresh |= killed.insert(*pid);
            }
        }
        if !fresh || Instant::now() >= until {
            // They are dying, or cannot die, or there are always more: the caller scans again later.
            break;
        }
        std::thread::sleep(Duration::from_micros(200));
        found = members(families, is_leader);
    }
    found.iter().map(|members| members.living.is_empty()).collect()
}
