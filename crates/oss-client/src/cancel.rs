//! Giving up: a flag, and `shutdown(2)` on the socket that is being waited for.
//!
//! A [`Cancel`] is given to an operation and may be triggered from any other thread. It wakes a blocked
//! `recv` at once and ends every pause of the operation. It never closes a descriptor: the number could
//! be reused (`faults.md`, 2.8).

use std::fmt;
use std::time::Instant;

use crate::clock::Clock;
use crate::fork;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Arc, Condvar, Mutex};

/// Something blocked that can be woken from another thread.
pub(crate) trait Interrupt: Send + Sync {
    /// Makes every present and future wait on it return.
    fn interrupt(&self);
}

#[derive(Default)]
struct Inner {
    flag: AtomicBool,
    /// What the operation is blocked on. Taken out before it is interrupted, so no lock is held across
    /// the system call and the operation can tell that its connection was shut down.
    blocked_on: Mutex<Option<Arc<dyn Interrupt>>>,
    wake: Condvar,
}

/// A handle to give an operation up; clones belong together.
#[derive(Clone, Default)]
pub struct Cancel {
    inner: Arc<Inner>,
    generation: Option<u32>,
}

impl fmt::Debug for Cancel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Cancel").field("cancelled", &self.is_cancelled()).finish()
    }
}

impl Cancel {
    /// A handle that was not triggered yet.
    pub fn new() -> Self {
        Cancel { inner: Arc::default(), generation: Some(fork::generation()) }
    }

    /// Gives the operation up: it ends with `Cancelled` as soon as it notices, within a few milliseconds
    /// when it waits for a socket. In a forked child of the process that made the handle, does nothing.
    pub fn cancel(&self) {
        if self.generation.is_some_and(|made| made != fork::generation()) {
            return;
        }
        self.inner.flag.store(true, Ordering::Release);
        let blocked_on = self.inner.blocked_on.lock().take();
        self.inner.wake.notify_all();
        if let Some(socket) = blocked_on {
            socket.interrupt();
        }
    }

    /// Whether [`Cancel::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.inner.flag.load(Ordering::Acquire)
    }

    /// Waits until `moment` or until cancelled; returns whether it was cancelled.
    pub(crate) fn wait_until(&self, moment: Instant, clock: &dyn Clock) -> bool {
        let mut guard = self.inner.blocked_on.lock();
        while !self.is_cancelled() && clock.now() < moment {
            guard = self.inner.wake.wait_until(guard, moment, clock);
        }
        drop(guard);
        self.is_cancelled()
    }

    /// Names what the operation is about to block on. False if it was cancelled already.
    pub(crate) fn attach(&self, socket: Arc<dyn Interrupt>) -> bool {
        let mut slot = self.inner.blocked_on.lock();
        if self.is_cancelled() {
            return false;
        }
        *slot = Some(socket);
        true
    }

    /// Takes the socket back. False if it was shut down meanwhile: it must not be used again.
    pub(crate) fn detach(&self) -> bool {
        self.inner.blocked_on.lock().take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;
    use crate::sync::spawn;

    #[derive(Default)]
    struct Seen(AtomicBool);

    impl Interrupt for Seen {
        fn interrupt(&self) {
            self.0.store(true, Ordering::Release);
        }
    }

    #[test]
    fn cancelling_interrupts_what_is_attached_and_nothing_else() {
        let cancel = Cancel::new();
        let (detached, attached) = (Arc::new(Seen::default()), Arc::new(Seen::default()));
        assert!(cancel.attach(Arc::clone(&detached) as Arc<dyn Interrupt>));
        assert!(cancel.detach());
        assert!(cancel.attach(Arc::clone(&attached) as Arc<dyn Interrupt>));
        cancel.cancel();
        assert!(attached.0.load(Ordering::Acquire) && !detached.0.load(Ordering::Acquire));
        assert!(!cancel.detach(), "the socket was shut down");
        assert!(!cancel.attach(detached), "nothing begins after a cancel");
    }

    #[test]
    fn cancelling_ends_a_pause() {
        let cancel = Cancel::new();
        let other = cancel.clone();
        let waiter = spawn("waiter", move || {
            let clock = SystemClock;
            other.wait_until(clock.now() + Duration::from_secs(60), &clock)
        })
        .expect("a thread");
        cancel.cancel();
        assert!(waiter.join().expect("no panic"));
    }
}
