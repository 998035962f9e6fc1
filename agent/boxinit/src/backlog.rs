//! Bytes queued for a reader slower than their source. Memory is freed as bytes are read, not only once the backlog is
//! empty, which may never happen.

/// Read bytes are kept up to this many, since moving the rest to the front takes time.
const READ_KEPT: usize = 64 * 1024;
/// Memory that an empty backlog keeps for later use.
const EMPTY_KEPT: usize = 256 * 1024;

#[derive(Default)]
pub struct Backlog {
    bytes: Vec<u8>,
    at: usize,
}

impl Backlog {
    pub fn len(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn waiting(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The first `count` bytes were read. Amortised, each byte is moved at most once per byte read.
    pub fn advance(&mut self, count: usize) {
        self.at += count;
        if self.is_empty() {
            self.bytes.clear();
            self.at = 0;
            if self.bytes.capacity() > EMPTY_KEPT {
                self.bytes = Vec::new();
            }
        } else if self.at >= READ_KEPT && self.at >= self.len() {
            self.bytes.drain(..self.at);
            self.at = 0;
        }
    }

    pub fn clear(&mut self) {
        *self = Backlog::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_that_is_never_empty_takes_a_small_multiple_of_its_content() {
        let mut backlog = Backlog::default();
        let mut numbers = (0..=255u8).cycle();
        let mut expected = numbers.clone();
        // One byte is always left.
        backlog.push(&[numbers.next().unwrap()]);
        for _ in 0..20_000 {
            let chunk: Vec<u8> = numbers.by_ref().take(1_000).collect();
            backlog.push(&chunk);
            assert!(backlog.waiting()[..1_000].iter().copied().eq(expected.by_ref().take(1_000)));
            backlog.advance(1_000);
            assert_eq!(backlog.len(), 1);
        }
        assert!(backlog.bytes.capacity() <= 4 * READ_KEPT, "{}", backlog.bytes.capacity());
    }

    #[test]
    fn the_memory_of_a_large_backlog_is_freed_with_it() {
        let mut backlog = Backlog::default();
        backlog.push(&[1; 4 * EMPTY_KEPT]);
        backlog.advance(4 * EMPTY_KEPT - 1);
        assert_eq!(backlog.waiting(), [1]);
        backlog.advance(1);
        assert!(backlog.is_empty() && backlog.bytes.capacity() <= EMPTY_KEPT);
    }
}
