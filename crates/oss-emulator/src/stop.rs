//! The end of the emulator, and pauses that end with it.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::locks::lock;

/// A flag that is raised once, and that sleeping threads notice at once.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Raises the flag.
    pub(crate) fn raise(&self) {
        *lock(&self.raised) = true;
        self.changed.notify_all();
    }

    /// Says whether the flag is up.
    pub(crate) fn is_raised(&self) -> bool {
        *lock(&self.raised)
    }

    /// Sleeps that long, or until the flag is raised; says whether it is.
    pub(crate) fn pause(&self, duration: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(lock(&self.raised), duration, |raised| !*raised);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Sleeps until the flag is raised.
    pub(crate) fn wait(&self) {
        let waited = self.changed.wait_while(lock(&self.raised), |raised| !*raised);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}
