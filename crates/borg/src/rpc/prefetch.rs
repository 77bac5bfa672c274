//! Objects that are asked for before they are needed.
//!
//! Over a line with a delay, reading one object after the other takes a round trip for each. Who
//! knows what it will read says so; so many of these are on their way at any time, bounded in
//! number and bytes. What nobody comes for (a file was given up) is thrown away when it has
//! become old, so that it cannot fill the line.

use std::collections::{HashMap, VecDeque};

use crate::Id;

/// Objects that were asked for and not taken yet.
const COUNT_MAX: usize = 64;

/// Bytes of those.
const BYTES_MAX: usize = 32 * 1024 * 1024;

/// An object whose size is not known counts so much.
const SIZE_GUESS: usize = 512 * 1024;

/// An object is thrown away when so many that were named after it have been taken.
const AGE_MAX: u64 = 4 * COUNT_MAX as u64;

/// What is to be read, and what of it is on its way as `T`.
pub(super) struct Prefetch<T> {
    named: VecDeque<(Id, usize)>,
    coming: HashMap<Id, VecDeque<Coming<T>>>,
    count: usize,
    bytes: usize,
    next_number: u64,
}

struct Coming<T> {
    answer: T,
    size: usize,
    /// In the order in which they were asked for.
    number: u64,
}

impl<T> Default for Prefetch<T> {
    fn default() -> Self {
        Self {
            named: VecDeque::new(),
            coming: HashMap::new(),
            count: 0,
            bytes: 0,
            next_number: 0,
        }
    }
}

impl<T> Prefetch<T> {
    /// Names an object that will be read, after all that were named before.
    pub(super) fn name(&mut self, id: Id, csize: Option<usize>) {
        self.named.push_back((id, csize.unwrap_or(SIZE_GUESS)));
    }

    /// Takes an object that is on its way.
    pub(super) fn take(&mut self, id: &Id) -> Option<T> {
        let waiting = self.coming.get_mut(id);
        let Some(found) = waiting.and_then(VecDeque::pop_front) else {
            // Asked for out of order: the place of the oldest is better used for others.
            self.forget_oldest();
            return None;
        };
        self.remove_empty(id);
        self.count -= 1;
        self.bytes -= found.size;
        while self
            .oldest()
            .is_some_and(|(_, number)| number.saturating_add(AGE_MAX) < found.number)
        {
            self.forget_oldest();
        }
        Some(found.answer)
    }

    /// Asks for what is next, as long as there is room.
    pub(super) fn fill<E>(&mut self, mut ask: impl FnMut(&Id) -> Result<T, E>) -> Result<(), E> {
        while self.count < COUNT_MAX && self.bytes < BYTES_MAX {
            let Some((id, size)) = self.named.pop_front() else {
                return Ok(());
            };
            let coming = Coming {
                answer: ask(&id)?,
                size,
                number: self.next_number,
            };
            self.next_number += 1;
            self.count += 1;
            self.bytes += size;
            self.coming.entry(id).or_default().push_back(coming);
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.count >= COUNT_MAX || self.bytes >= BYTES_MAX
    }

    fn oldest(&self) -> Option<(Id, u64)> {
        let fronts = self.coming.iter();
        fronts
            .filter_map(|(id, coming)| Some((*id, coming.front()?.number)))
            .min_by_key(|(_, number)| *number)
    }

    fn forget_oldest(&mut self) {
        if !self.is_full() && self.named.is_empty() {
            return;
        }
        if let Some((id, _)) = self.oldest()
            && let Some(old) = self.coming.get_mut(&id).and_then(VecDeque::pop_front)
        {
            self.remove_empty(&id);
            self.count -= 1;
            self.bytes -= old.size;
        }
    }

    fn remove_empty(&mut self, id: &Id) {
        if self.coming.get(id).is_some_and(VecDeque::is_empty) {
            self.coming.remove(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> Id {
        Id([number; 32])
    }

    fn filled(names: impl Iterator<Item = u8>, size: usize) -> (Prefetch<u8>, Vec<u8>) {
        let mut prefetch = Prefetch::default();
        for name in names {
            prefetch.name(id(name), Some(size));
        }
        let mut asked = Vec::new();
        ask(&mut prefetch, &mut asked);
        (prefetch, asked)
    }

    fn ask(prefetch: &mut Prefetch<u8>, asked: &mut Vec<u8>) {
        let _ = prefetch.fill(|id| {
            asked.push(id.0[0]);
            Ok::<_, ()>(id.0[0])
        });
    }

    #[test]
    fn so_many_are_on_their_way_and_no_more() {
        let (_, asked) = filled(0..200, 10);
        assert_eq!(asked.len(), COUNT_MAX);
        let (_, asked) = filled(0..200, BYTES_MAX / 4);
        assert_eq!(asked, [0, 1, 2, 3]);
    }

    #[test]
    fn what_is_taken_makes_room_for_the_next() {
        let (mut prefetch, mut asked) = filled(0..200, 10);
        for name in 0..200 {
            assert_eq!(prefetch.take(&id(name)), Some(name));
            ask(&mut prefetch, &mut asked);
        }
        assert_eq!(asked, (0..200).collect::<Vec<_>>());
        assert_eq!((prefetch.count, prefetch.bytes), (0, 0));
    }

    #[test]
    fn one_object_may_be_wanted_twice() {
        let (mut prefetch, _) = filled([1, 1].into_iter(), 10);
        assert_eq!(prefetch.take(&id(1)), Some(1));
        assert_eq!(prefetch.take(&id(1)), Some(1));
        assert_eq!(prefetch.take(&id(1)), None);
    }

    #[test]
    fn what_nobody_takes_does_not_stop_the_rest() {
        let (mut prefetch, mut asked) = filled(0..=255, 10);
        // Of the first, nobody wants any: each that is read directly takes the place of one.
        for name in 100..=255 {
            assert_eq!(prefetch.take(&id(name)), None);
            ask(&mut prefetch, &mut asked);
        }
        assert_eq!(asked.len(), COUNT_MAX + 156);
    }
}
