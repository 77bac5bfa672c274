//! Putting batches that were read at the same time back in line.
//!
//! Batches are numbered in the order of the walk. Each has a place in the line, where its steps
//! gather; steps are handed on from the first place only. The line has so many places, so that
//! whoever is quick cannot run away from whoever is slow.
//!
//! The permission to deal with objects that have several names goes along the line, too: a batch
//! has it when all batches before it have dealt with theirs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::memory::{Memory, Turn};
use crate::Step;

#[derive(Debug)]
pub(super) struct Line {
    state: Mutex<State>,
    /// Number of the first place, as in the state.
    first: AtomicU64,
    stopped: AtomicBool,
    /// The first place has steps, or all is over.
    ready: Condvar,
    /// Places are free. One thread at most waits for that: the one that has the walk.
    free: Condvar,
    /// A permission went on.
    permitted: Condvar,
    places_max: usize,
    memory: Arc<Memory>,
}

#[derive(Debug, Default)]
struct State {
    places: VecDeque<Place>,
    /// Batches that have dealt with their links, counted from the first without a gap.
    linked: u64,
    /// Set when no more batches come.
    ended: bool,
    /// Whether the one who hands on waits.
    is_hungry: bool,
    /// Whether the one who enters waits.
    is_full: bool,
    /// How many wait for their permission.
    unpermitted: usize,
}

#[derive(Debug, Default)]
struct Place {
    steps: Vec<Step>,
    linked: bool,
    done: bool,
}

/// The number of a batch.
pub(super) type Number = u64;

impl Line {
    pub(super) fn new(places_max: usize, memory: Arc<Memory>) -> Self {
        Self {
            state: Mutex::default(),
            first: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            ready: Condvar::new(),
            free: Condvar::new(),
            permitted: Condvar::new(),
            places_max,
            memory,
        }
    }

    /// Waits for a free place. `None` when all is over. One thread at a time.
    ///
    /// Whoever finds no place waits until half of them are free, so as not to be woken for each.
    pub(super) fn enter(&self) -> Option<Number> {
        let mut state = self.state();
        if state.places.len() >= self.places_max {
            while state.places.len() > self.places_max / 2 && !self.is_stopped() {
                state.is_full = true;
                state = wait(&self.free, state);
            }
            state.is_full = false;
        }
        if self.is_stopped() || state.ended {
            return None;
        }
        state.places.push_back(Place::default());
        Some(self.first.load(Ordering::SeqCst) + state.places.len() as u64 - 1)
    }

    /// Says that there is no batch for the place that was entered last, and none will come.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.places.pop_back();
        state.ended = true;
        drop(state);
        self.ready.notify_one();
    }

    /// Puts steps to those of a batch.
    pub(super) fn append(&self, number: Number, steps: &mut Vec<Step>) {
        if steps.is_empty() {
            return;
        }
        let mut state = self.state();
        if let Some(place) = self.place(&mut state, number) {
            if place.steps.is_empty() {
                std::mem::swap(&mut place.steps, steps);
            } else {
                place.steps.append(steps);
            }
        }
        self.tell(&state, number);
    }

    /// Says that all steps of a batch are there.
    pub(super) fn finish(&self, number: Number) {
        let mut state = self.state();
        if let Some(place) = self.place(&mut state, number) {
            place.done = true;
        }
        self.tell(&state, number);
    }

    fn tell(&self, state: &State, number: Number) {
        if state.is_hungry && self.first.load(Ordering::SeqCst) == number {
            self.ready.notify_one();
        }
    }

    /// Waits until all batches before this one have dealt with their links. False when all is over.
    pub(super) fn wait_for_links(&self, number: Number) -> bool {
        let mut state = self.state();
        state.unpermitted += 1;
        while state.linked != number && !self.is_stopped() {
            state = wait(&self.permitted, state);
        }
        state.unpermitted -= 1;
        !self.is_stopped()
    }

    /// Says that a batch has dealt with its links.
    pub(super) fn pass_links(&self, number: Number) {
        let mut state = self.state();
        if let Some(place) = self.place(&mut state, number) {
            place.linked = true;
        }
        let before = state.linked;
        loop {
            let next = state.linked;
            match self.place(&mut state, next) {
                Some(place) if place.linked => state.linked += 1,
                _ => break,
            }
        }
        if state.linked != before && state.unpermitted > 0 {
            self.permitted.notify_all();
        }
    }

    /// Waits for the next steps in line and swaps them with `steps`, which is empty. False when all
    /// steps have come, or reading has been stopped.
    pub(super) fn next(&self, steps: &mut Vec<Step>) -> bool {
        let mut state = self.state();
        loop {
            if self.is_stopped() {
                return false;
            }
            let ended = state.ended;
            match state.places.front_mut() {
                Some(place) if !place.steps.is_empty() => {
                    std::mem::swap(&mut place.steps, steps);
                    return true;
                }
                Some(place) if place.done => {
                    state.places.pop_front();
                    self.first.fetch_add(1, Ordering::SeqCst);
                    if state.is_full && state.places.len() <= self.places_max / 2 {
                        self.free.notify_one();
                    }
                    self.memory.wake();
                }
                None if ended => return false,
                _ => {
                    state.is_hungry = true;
                    state = wait(&self.ready, state);
                    state.is_hungry = false;
                }
            }
        }
    }

    /// Whether it is this batch that is handed on now; `None` when all is over.
    pub(super) fn turn(&self, number: Number) -> Option<Turn> {
        if self.is_stopped() {
            None
        } else if self.first.load(Ordering::SeqCst) == number {
            Some(Turn::Now)
        } else {
            Some(Turn::Later)
        }
    }

    /// Ends everything: nobody waits any more.
    pub(super) fn stop(&self) {
        let state = self.state();
        self.stopped.store(true, Ordering::SeqCst);
        drop(state);
        self.ready.notify_all();
        self.free.notify_all();
        self.permitted.notify_all();
        self.memory.wake();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    fn place<'s>(&self, state: &'s mut State, number: Number) -> Option<&'s mut Place> {
        let index = number.checked_sub(self.first.load(Ordering::SeqCst))?;
        state.places.get_mut(usize::try_from(index).ok()?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'s>(moved: &Condvar, state: MutexGuard<'s, State>) -> MutexGuard<'s, State> {
    moved.wait(state).unwrap_or_else(PoisonError::into_inner)
}
