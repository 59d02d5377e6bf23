//! Handles that know when what they name is gone.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::{Error, Result};

/// Names a sequence of one cache. It stays wrong for ever once the sequence is freed, and for every other
/// cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId {
    slot: u32,
    generation: u32,
    cache: u32,
}

impl SequenceId {
    pub(super) fn slot(self) -> u32 {
        self.slot
    }
}

/// Values by handle. A slot is used again with the next generation.
#[derive(Debug)]
pub(super) struct Slots<T> {
    cache: u32,
    values: Vec<(u32, Option<T>)>,
    vacant: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self { cache: NEXT.fetch_add(1, Ordering::Relaxed), values: Vec::new(), vacant: Vec::new() }
    }
}

impl<T> Slots<T> {
    pub(super) fn insert(&mut self, value: T) -> SequenceId {
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.values.push((0, None));
            self.values.len() as u32 - 1
        });
        let (generation, place) = &mut self.values[slot as usize];
        *place = Some(value);
        SequenceId { slot, generation: *generation, cache: self.cache }
    }

    pub(super) fn get(&self, op: &'static str, id: SequenceId) -> Result<&T> {
        match self.values.get(id.slot as usize) {
            Some((generation, Some(value))) if self.is_of(id, *generation) => Ok(value),
            _ => Err(stale(op, id)),
        }
    }

    pub(super) fn get_mut(&mut self, op: &'static str, id: SequenceId) -> Result<&mut T> {
        let cache = self.cache;
        match self.values.get_mut(id.slot as usize) {
            Some((generation, Some(value)))
                if id.cache == cache && id.generation == *generation =>
            {
                Ok(value)
            }
            _ => Err(stale(op, id)),
        }
    }

    pub(super) fn remove(&mut self, op: &'static str, id: SequenceId) -> Result<T> {
        self.get(op, id)?;
        let (generation, place) = &mut self.values[id.slot as usize];
        let value = place.take().ok_or_else(|| stale(op, id))?;
        // A slot whose generations have run out is not used again.
        if let Some(next) = generation.checked_add(1) {
            *generation = next;
            self.vacant.push(id.slot);
        }
        Ok(value)
    }

    fn is_of(&self, id: SequenceId, generation: u32) -> bool {
        id.cache == self.cache && id.generation == generation
    }
}

fn stale(op: &'static str, id: SequenceId) -> Error {
    let expected = "one of this cache that has not been freed";
    Error::Value { op, argument: "sequence", expected, found: f64::from(id.slot) }
}
