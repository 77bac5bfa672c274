//! Whose turn it is: what several threads must do one after the other, in a fixed order.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Lets the holders of tickets 0, 1, 2 … pass in that order.
#[derive(Debug, Default)]
pub(super) struct Turn {
    next: Mutex<u64>,
    moved: Condvar,
}

/// The right to pass once, after all lower numbers. Dropping it passes too, so that nobody waits
/// for ever for one who failed.
pub(super) struct Ticket<'a> {
    turn: &'a Turn,
    number: u64,
}

impl Turn {
    /// The ticket with this number; there must be one for each number, from 0 on.
    pub(super) fn ticket(&self, number: u64) -> Ticket<'_> {
        Ticket { turn: self, number }
    }
}

impl Ticket<'_> {
    /// Waits for its turn, runs `act` alone, and passes the turn on.
    pub(super) fn pass<T>(self, act: impl FnOnce() -> T) -> T {
        self.wait();
        act()
    }

    fn wait(&self) {
        let mut next = lock(&self.turn.next);
        while *next < self.number {
            next = self
                .turn
                .moved
                .wait(next)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.wait();
        *lock(&self.turn.next) += 1;
        self.turn.moved.notify_all();
    }
}

fn lock(next: &Mutex<u64>) -> MutexGuard<'_, u64> {
    next.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::thread;

    use super::*;

    #[test]
    fn numbers_pass_in_order_whoever_comes_first() {
        let turn = Turn::default();
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for number in [2, 0, 3, 1] {
                let (turn, order) = (&turn, &order);
                scope.spawn(move || {
                    turn.ticket(number)
                        .pass(|| order.lock().unwrap().push(number));
                });
            }
        });
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn one_who_gives_up_does_not_hold_the_others() {
        let turn = Turn::default();
        thread::scope(|scope| {
            scope.spawn(|| turn.ticket(1).pass(|| ()));
            scope.spawn(|| drop(turn.ticket(0)));
        });
    }
}
