//! A directory's names in byte order, within a memory limit: of a larger directory, the first ones. Kept as sorted runs
//! of a few thousand, so that no step takes long.

use std::cell::Cell;
use std::rc::Rc;

/// Names per run, sorted in one step.
const RUN_NAMES: usize = 4096;
/// Limit for the names of one directory: about 200,000 of usual length.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Limit for the names of all directories. boxinit lives on the sandbox's own memory.
const ROOM_BYTES: usize = 16 * 1024 * 1024;

/// The memory still available for names.
#[derive(Clone)]
pub struct Room(Rc<Cell<usize>>);

impl Default for Room {
    fn default() -> Room {
        Room(Rc::new(Cell::new(ROOM_BYTES)))
    }
}

#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    /// Where each name ends.
    ends: Vec<u32>,
}

impl Run {
    fn len(&self) -> usize {
        self.ends.len()
    }

    fn name(&self, at: usize) -> &[u8] {
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.bytes[start as usize..self.ends[at] as usize]
    }

    fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len() as u32);
    }

    fn sorted(&self) -> Run {
        let mut names: Vec<&[u8]> = (0..self.len()).map(|at| self.name(at)).collect();
        names.sort_unstable();
        let mut run = Run { bytes: Vec::with_capacity(self.bytes.len()), ends: Vec::with_capacity(names.len()) };
        names.into_iter().for_each(|name| run.push(name));
        run
    }

    /// In a sorted run: how many names are not after this one.
    fn up_to(&self, name: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.name(middle) <= name {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len);
        self.bytes.truncate(self.ends.last().map_or(0, |end| *end as usize));
        self.ends.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }

    fn memory(&self) -> usize {
        self.bytes.len() + self.ends.len() * std::mem::size_of::<u32>()
    }
}

pub struct SortedNames {
    runs: Vec<Run>,
    /// In order of arrival, not sorted yet.
    coming: Run,
    /// Only names after this one are kept.
    after: Vec<u8>,
    /// Names after this one were dropped for lack of room.
    last: Option<Vec<u8>>,
    /// This many are kept regardless of room.
    least: usize,
    room: Room,
    taken: usize,
}

impl SortedNames {
    pub fn new(after: &[u8], least: usize, room: Room) -> SortedNames {
        let (runs, coming) = (Vec::new(), Run::default());
        SortedNames { runs, coming, after: after.to_vec(), last: None, least, room, taken: 0 }
    }

    pub fn add(&mut self, name: &[u8]) {
        if name > self.after.as_slice() && self.last.as_ref().map_or(true, |last| name <= last.as_slice()) {
            self.coming.push(name);
            if self.coming.len() >= RUN_NAMES {
                self.end_run();
            }
        }
    }

    /// No more will come.
    pub fn end(&mut self) {
        self.end_run();
    }

    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.coming);
        if run.len() > 0 {
            self.runs.push(run.sorted());
        }
        while !self.fits() && self.len() > self.least {
            self.leave_out_last();
        }
    }

    fn len(&self) -> usize {
        self.runs.iter().map(Run::len).sum()
    }

    /// Reserves the memory it needs, or returns the excess.
    fn fits(&mut self) -> bool {
        let needed: usize = self.runs.iter().map(Run::memory).sum();
        let left = self.room.0.get() + self.taken;
        let fits = needed <= MAX_BYTES && needed <= left;
        self.taken = needed.min(left);
        self.room.0.set(left - self.taken);
        fits
    }

    /// Drops about the last half, but keeps the required minimum. Each call leaves fewer.
    fn leave_out_last(&mut self) {
        // Of two in the middle the first, so that the second is after it.
        let middle = |len: usize| len.saturating_sub(1) / 2;
        let mut middles: Vec<&[u8]> = self.runs.iter().map(|run| run.name(middle(run.len()))).collect();
        middles.sort_unstable();
        let cut = match middles.get(middle(middles.len())) {
            Some(cut) => cut.to_vec(),
            None => return,
        };
        let cut = if self.up_to(&cut) < self.least { self.nth(self.least) } else { Some(cut) };
        match cut.filter(|cut| self.up_to(cut) < self.len()) {
            Some(cut) => {
                for run in self.runs.iter_mut() {
                    run.truncate(run.up_to(&cut));
                }
                self.runs.retain(|run| run.len() > 0);
                self.last = Some(cut);
            }
            // Only names that were reported more than once can lie like this.
            None => self.merge(),
        }
    }

    fn up_to(&self, name: &[u8]) -> usize {
        self.runs.iter().map(|run| run.up_to(name)).sum()
    }

    /// One run, with each name once.
    fn merge(&mut self) {
        let mut merged = Run::default();
        self.behind(b"").for_each(|name| merged.push(name));
        self.runs = vec![merged];
    }

    fn nth(&self, number: usize) -> Option<Vec<u8>> {
        self.behind(b"").nth(number.checked_sub(1)?).map(<[u8]>::to_vec)
    }

    /// The last of these, if later names were dropped for lack of room.
    pub fn cut_behind(&self) -> Option<&[u8]> {
        self.last.as_deref()
    }

    pub fn room(&self) -> Room {
        self.room.clone()
    }

    /// The names after this one, in order, each once: a directory that changes while it is read may report a name
    /// twice.
    pub fn behind<'a>(&'a self, name: &[u8]) -> impl Iterator<Item = &'a [u8]> + 'a {
        let mut heads: Vec<(&Run, usize)> = self.runs.iter().map(|run| (run, run.up_to(name))).collect();
        std::iter::from_fn(move || {
            let names = heads.iter().filter(|(run, at)| *at < run.len()).map(|(run, at)| run.name(*at));
            let next = names.min()?;
            for (run, at) in heads.iter_mut() {
                while *at < run.len() && run.name(*at) == next {
                    *at += 1;
                }
            }
            Some(next)
        })
    }
}

impl Drop for SortedNames {
    fn drop(&mut self) {
        self.room.0.set(self.room.0.get() + self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in an arbitrary but fixed order.
    fn shuffled(count: usize, length: usize) -> Vec<String> {
        (0..count).map(|i| format!("{:0length$}", (i * 7919) % count, length = length)).collect()
    }

    fn of(names: &[String], after: &str, least: usize, room: &Room) -> SortedNames {
        let mut sorted = SortedNames::new(after.as_bytes(), least, room.clone());
        names.iter().for_each(|name| sorted.add(name.as_bytes()));
        sorted.end();
        sorted
    }

    fn names_after(sorted: &SortedNames, after: &str) -> Vec<String> {
        sorted.behind(after.as_bytes()).map(|name| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn every_name_comes_once_and_in_order() {
        let room = Room::default();
        let mut names = shuffled(20_000, 8);
        names.extend_from_within(..5_000);
        let sorted = of(&names, "", 10, &room);
        names.sort();
        names.dedup();
        assert!(sorted.cut_behind().is_none());
        assert_eq!(names_after(&sorted, ""), names);
        assert_eq!(names_after(&sorted, "00012345"), names[12_346..]);
        assert_eq!(names_after(&of(&names, "00012345", 10, &room), ""), names[12_346..]);
        drop(sorted);
        assert_eq!(room.0.get(), ROOM_BYTES);
    }

    #[test]
    fn of_too_many_names_the_first_are_kept() {
        let room = Room::default();
        let mut names = shuffled(300_000, 60);
        let sorted = of(&names, "", 10, &room);
        names.sort();
        assert!(sorted.cut_behind().is_some());
        let kept = names_after(&sorted, "");
        assert_eq!(kept, names[..kept.len()]);
        assert!(kept.len() > 10_000 && sorted.taken <= MAX_BYTES && room.0.get() == ROOM_BYTES - sorted.taken);
    }

    /// Names are dropped step by step down to the minimum, and each step drops some.
    fn leave_out(runs: &[&[String]], least: usize) {
        let mut sorted = SortedNames::new(b"", least, Room::default());
        for run in runs {
            run.iter().for_each(|name| sorted.add(name.as_bytes()));
            sorted.end();
        }
        let mut names = runs.concat();
        names.sort();
        names.dedup();
        while sorted.len() > least {
            let before = sorted.len();
            sorted.leave_out_last();
            assert!(sorted.len() < before, "{} names stay", before);
        }
        let kept = names_after(&sorted, "");
        assert!(!kept.is_empty() && kept == names[..kept.len()]);
        assert_eq!(sorted.cut_behind().is_some(), kept.len() < names.len());
    }

    #[test]
    fn names_can_be_dropped_however_they_lie_in_their_runs() {
        let mut names = shuffled(RUN_NAMES + 2, 8);
        names.sort();
        let (most, last) = names.split_at(RUN_NAMES);
        for least in [1, 2, 1001, RUN_NAMES] {
            leave_out(&[most, last], least);
            leave_out(&[most, &last[..1]], least);
            leave_out(&[last, most], least);
            leave_out(&[&names[..1], &names[1..2], most, &last[..1], &last[1..]], least);
        }
    }

    #[test]
    fn names_reported_repeatedly_can_be_dropped() {
        let names = shuffled(1000, 8);
        for least in [1, 600, 1001] {
            leave_out(&[&names, &names], least);
            leave_out(&[&names, &names[..1], &names[..1], &names[..1]], least);
            leave_out(&[&[&names[..], &names[..], &names[..3]].concat()], least);
        }
    }

    #[test]
    fn without_room_the_minimum_is_kept() {
        let room = Room(Rc::new(Cell::new(100)));
        let mut names = shuffled(20_000, 60);
        let sorted = of(&names, "", 1001, &room);
        names.sort();
        assert!(sorted.cut_behind().is_some());
        let kept = names_after(&sorted, "");
        assert!((1001..=RUN_NAMES).contains(&kept.len()));
        assert_eq!(kept, names[..kept.len()]);
    }
}
