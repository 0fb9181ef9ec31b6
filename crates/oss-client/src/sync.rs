//! The door to threads and locks.
//!
//! Everything else takes its mutexes, condition variables and threads from here, so that a test can
//! replace them and so that three rules hold everywhere: a lock poisoned by a panic is still usable
//! (what it guards is made of whole values), a thread of ours never receives a signal (they belong to
//! Python's threads), and every thread has a name and a small stack.

use std::io;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use crate::clock::Clock;

pub use std::sync::{Arc, MutexGuard, OnceLock, Weak, atomic};
pub use std::thread::{JoinHandle, Scope, ScopedJoinHandle, scope};

/// Stack of a worker: 256 KiB. A worker's frames are small; its buffers are on the heap.
pub const STACK_BYTES: usize = 256 * 1024;

/// A mutex whose poisoning is not an error.
#[derive(Debug, Default)]
pub struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Mutex(std::sync::Mutex::new(value))
    }

    /// Locks, waiting if need be.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the value.
    pub fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A condition variable that waits until a moment of a [`Clock`].
#[derive(Debug, Default)]
pub struct Condvar(std::sync::Condvar);

impl Condvar {
    /// Makes a condition variable nobody waits for.
    pub const fn new() -> Self {
        Condvar(std::sync::Condvar::new())
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes every waiter.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }

    /// Waits for a notification, for `timeout` at most. Wakes without one are possible.
    pub fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
        self.0.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits for a notification, until `moment` at most. Wakes without one are possible.
    pub fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        moment: Instant,
        clock: &dyn Clock,
    ) -> MutexGuard<'a, T> {
        let left = clock.left_until(moment);
        if left.is_zero() { guard } else { self.wait_for(guard, left) }
    }
}

/// Starts a named thread with a small stack and all signals blocked from its first instruction.
///
/// # Errors
/// The system's, when no thread can be made; the caller then does the work itself.
pub fn spawn<T, F>(name: &str, body: F) -> io::Result<JoinHandle<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    let previous = set_signal_mask(None);
    let started = builder.spawn(body);
    set_signal_mask(Some(&previous));
    started
}

/// As [`spawn`], for a thread that borrows from its owner, who waits for it at the end of the scope.
///
/// # Errors
/// The system's, when no thread can be made; the caller then does the work itself.
pub fn spawn_scoped<'scope, 'env, T, F>(
    scope: &'scope Scope<'scope, 'env>,
    name: &str,
    body: F,
) -> io::Result<ScopedJoinHandle<'scope, T>>
where
    T: Send + 'scope,
    F: FnOnce() -> T + Send + 'scope,
{
    let builder = thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    let previous = set_signal_mask(None);
    let started = builder.spawn_scoped(scope, body);
    set_signal_mask(Some(&previous));
    started
}

/// Gives this thread `mask`, or blocks all signals; returns the previous mask. A new thread inherits it.
fn set_signal_mask(mask: Option<&libc::sigset_t>) -> libc::sigset_t {
    // SAFETY: the sets are local or borrowed for the call, sigfillset and pthread_sigmask only write to the
    // local ones, and a zeroed sigset_t is a valid (empty) set on every platform we build for.
    #[expect(unsafe_code, reason = "std has no way to block signals")]
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut previous: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, mask.unwrap_or(&all), &raw mut previous);
        previous
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_f95_a_poisoned_lock_is_still_usable() {
        let lock = Arc::new(Mutex::new(7));
        let other = Arc::clone(&lock);
        let ended = spawn("poisoner", move || {
            let _guard = other.lock();
            panic!("on purpose");
        })
        .expect("a thread")
        .join();
        assert!(ended.is_err());
        assert_eq!(*lock.lock(), 7);
    }

    #[test]
    fn threads_carry_their_name() {
        let name =
            spawn("oss-worker-3", || thread::current().name().map(str::to_owned)).expect("a thread").join();
        assert_eq!(name.expect("no panic").as_deref(), Some("oss-worker-3"));
    }
}
