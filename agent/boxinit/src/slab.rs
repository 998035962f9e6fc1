//! A table whose keys go stale: the key of a removed entry never finds the one that took its place.

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub index: u16,
    pub generation: u32,
}

pub struct Slab<T> {
    slots: Vec<(u32, Option<T>)>,
    free: Vec<u16>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { slots: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// None if all 65,536 slots are taken.
    pub fn insert(&mut self, value: T) -> Option<Key> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() > u16::MAX as usize => return None,
            None => {
                self.slots.push((0, None));
                (self.slots.len() - 1) as u16
            }
        };
        let slot = &mut self.slots[index as usize];
        slot.0 = slot.0.wrapping_add(1);
        slot.1 = Some(value);
        self.len += 1;
        Some(Key { index, generation: slot.0 })
    }

    /// The key that the next `insert` will return, if nothing is inserted or removed before. None if all slots are
    /// taken.
    pub fn next_key(&self) -> Option<Key> {
        match self.free.last() {
            Some(index) => Some(Key { index: *index, generation: self.slots[*index as usize].0.wrapping_add(1) }),
            None if self.slots.len() > u16::MAX as usize => None,
            None => Some(Key { index: self.slots.len() as u16, generation: 1 }),
        }
    }

    pub fn get(&self, key: Key) -> Option<&T> {
        match self.slots.get(key.index as usize) {
            Some((generation, value)) if *generation == key.generation => value.as_ref(),
            _ => None,
        }
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slots.get_mut(key.index as usize) {
            Some((generation, value)) if *generation == key.generation => value.as_mut(),
            _ => None,
        }
    }

    pub fn remove(&mut self, key: Key) -> Option<T> {
        match self.slots.get_mut(key.index as usize) {
            Some((generation, value)) if *generation == key.generation && value.is_some() => {
                self.len -= 1;
                self.free.push(key.index);
                value.take()
            }
            _ => None,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn keys(&self) -> Vec<Key> {
        let live = self.slots.iter().enumerate().filter(|(_, slot)| slot.1.is_some());
        live.map(|(index, slot)| Key { index: index as u16, generation: slot.0 }).collect()
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.1.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::default();
        let first = slab.insert("a").expect("room");
        assert_eq!(slab.remove(first), Some("a"));
        let second = slab.insert("b").expect("room");
        assert_eq!(first.index, second.index);
        assert_eq!(slab.get(first), None);
        assert_eq!(slab.remove(first), None);
        assert_eq!(slab.get(second), Some(&"b"));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn the_next_key_is_known_before_its_entry() {
        let mut slab = Slab::default();
        for _ in 0..2 {
            let next = slab.next_key();
            let first = slab.insert("a");
            assert_eq!(first, next);
            let next = slab.next_key();
            assert_eq!(slab.insert("b"), next);
            slab.remove(first.expect("room"));
        }
        for _ in slab.len()..=u16::MAX as usize {
            slab.insert("c").expect("room");
        }
        assert_eq!(slab.next_key(), None);
    }
}
