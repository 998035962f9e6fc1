//! The last bytes of an endless output, by absolute offset. Grows on demand up to its capacity, then overwrites the
//! oldest.

use std::cell::Cell;
use std::rc::Rc;

const FIRST_BYTES: usize = 4 * 1024;
/// Every ring may have this much; more counts against the budget.
pub const MIN_BYTES: usize = 64 * 1024;
/// For all rings of a sandbox, beyond their first 64 KiB each: boxinit lives on the sandbox's own memory.
const BUDGET_BYTES: usize = 64 * 1024 * 1024;

#[derive(Clone)]
pub struct Budget(Rc<Cell<usize>>);

impl Default for Budget {
    fn default() -> Budget {
        Budget(Rc::new(Cell::new(BUDGET_BYTES)))
    }
}

impl Budget {
    fn take(&self, bytes: usize) -> bool {
        let left = self.0.get();
        if left < bytes {
            return false;
        }
        self.0.set(left - bytes);
        true
    }
}

pub struct Ring {
    bytes: Vec<u8>,
    capacity: usize,
    /// Total bytes written.
    written: u64,
    budget: Budget,
    borrowed: usize,
}

impl Ring {
    pub fn new(capacity: usize, budget: Budget) -> Ring {
        Ring { bytes: Vec::new(), capacity: capacity.max(MIN_BYTES), written: 0, budget, borrowed: 0 }
    }

    pub fn written(&self) -> u64 {
        self.written
    }

    /// Its capacity.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Offset of the oldest byte kept.
    pub fn start(&self) -> u64 {
        self.written.saturating_sub(self.bytes.len() as u64)
    }

    /// Space for the next bytes, at least one and at most `max`. Follow with `commit`.
    pub fn room(&mut self, max: usize) -> &mut [u8] {
        self.grow();
        let at = (self.written % self.bytes.len() as u64) as usize;
        let end = self.bytes.len().min(at + max.max(1));
        &mut self.bytes[at..end]
    }

    /// `count` bytes of the space from `room` were filled.
    pub fn commit(&mut self, count: usize) {
        self.written += count as u64;
    }

    /// Enlarges the memory while nothing has been overwritten, so that offset and index are the same.
    fn grow(&mut self) {
        let size = self.bytes.len();
        if size >= self.capacity || self.written < size as u64 || self.written > size as u64 {
            return;
        }
        let wanted = if size == 0 { FIRST_BYTES } else { size * 4 }.min(self.capacity);
        let borrow = wanted.saturating_sub(MIN_BYTES) - self.borrowed;
        if borrow > 0 && !self.budget.take(borrow) {
            self.capacity = size.max(MIN_BYTES);
            if wanted > self.capacity && size < self.capacity {
                self.bytes.resize(self.capacity, 0);
            }
            return;
        }
        self.borrowed += borrow;
        let mut larger = vec![0; wanted];
        larger[..size].copy_from_slice(&self.bytes);
        self.bytes = larger;
    }

    /// Frees the memory. Everything written counts as overwritten.
    pub fn forget(&mut self) {
        self.bytes = Vec::new();
        self.budget.0.set(self.budget.0.get() + std::mem::take(&mut self.borrowed));
    }

    /// Contiguous bytes from `offset` on, at most `max`. Empty at the end, or for an offset not kept.
    pub fn slice(&self, offset: u64, max: usize) -> &[u8] {
        if offset >= self.written || offset < self.start() {
            return &[];
        }
        let size = self.bytes.len();
        let at = (offset % size as u64) as usize;
        let len = max.min((self.written - offset) as usize).min(size - at);
        &self.bytes[at..at + len]
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.budget.0.set(self.budget.0.get() + self.borrowed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(ring: &mut Ring, mut data: &[u8]) {
        while !data.is_empty() {
            let room = ring.room(data.len());
            let count = room.len().min(data.len());
            room[..count].copy_from_slice(&data[..count]);
            ring.commit(count);
            data = &data[count..];
        }
    }

    fn all(ring: &Ring) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = ring.start();
        while at < ring.written() {
            let slice = ring.slice(at, 1000);
            out.extend_from_slice(slice);
            at += slice.len() as u64;
        }
        out
    }

    #[test]
    fn keeps_the_last_bytes() {
        for capacity in [MIN_BYTES, 100_000, 1 << 20] {
            let budget = Budget::default();
            let mut ring = Ring::new(capacity, budget.clone());
            let data: Vec<u8> = (0..3_000_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
            let mut at = 0;
            for step in (1..).map(|i| i * 37 % 9001 + 1) {
                let end = (at + step).min(data.len());
                put(&mut ring, &data[at..end]);
                at = end;
                assert!(ring.written() - ring.start() <= capacity as u64);
                if at == data.len() {
                    break;
                }
            }
            assert_eq!(ring.written(), data.len() as u64);
            assert_eq!(all(&ring), data[ring.start() as usize..]);
            assert_eq!(ring.written() - ring.start(), capacity as u64);
            ring.forget();
            assert_eq!(ring.start(), ring.written());
            drop(ring);
            assert_eq!(budget.0.get(), BUDGET_BYTES);
        }
    }

    #[test]
    fn without_budget_it_stays_small_and_correct() {
        let budget = Budget(Rc::new(Cell::new(10)));
        let mut ring = Ring::new(1 << 20, budget);
        let data: Vec<u8> = (0..500_000u32).map(|i| (i % 251) as u8).collect();
        put(&mut ring, &data);
        assert_eq!(all(&ring), data[ring.start() as usize..]);
        assert_eq!(ring.written() - ring.start(), MIN_BYTES as u64);
    }
}
