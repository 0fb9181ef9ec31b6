//! The door to threads and locks.
//!
//! Everything else takes its mutexes, condition variables and threads from here, so that a test can
//! replace them and so that three rules hold everywhere: a lock poisoned by a panic is still usable
//! (what it guards is made of whole values), a thread of ours never receives a signal (they belong to
//! Python's threads), and every thread has a name and a small stack.
//!
//! Built with `--cfg shuttle` it leads to the primitives of a model checker, which runs one thread at a time and
//! chooses the next one: `models` has what is tried in that way.

use std::io;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

#[cfg(shuttle)]
use shuttle::{sync as primitives, thread};
#[cfg(not(shuttle))]
use std::{sync as primitives, thread};

use crate::clock::Clock;

pub use primitives::{Arc, MutexGuard, Weak, atomic};
pub use std::sync::OnceLock;
pub use thread::{JoinHandle, Scope, ScopedJoinHandle, scope};

/// Stack of a worker: 256 KiB. A worker's frames are small; its buffers are on the heap.
pub const STACK_BYTES: usize = 256 * 1024;

/// A mutex whose poisoning is not an error.
#[derive(Debug, Default)]
pub struct Mutex<T>(primitives::Mutex<T>);

impl<T> Mutex<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Mutex(primitives::Mutex::new(value))
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
pub struct Condvar(primitives::Condvar);

impl Condvar {
    /// Makes a condition variable nobody waits for.
    pub const fn new() -> Self {
        Condvar(primitives::Condvar::new())
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
    #[cfg(not(shuttle))]
    pub fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
        self.0.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
    }

    /// The same in a model, where no time passes: a short wait ends whenever the scheduler lets its timer run, a long
    /// one by a notification alone. So a notification that is lost shows, as a deadlock.
    #[cfg(shuttle)]
    pub fn wait_for<'a, T>(&self, guard: MutexGuard<'a, T>, timeout: Duration) -> MutexGuard<'a, T> {
        const SHORT: Duration = Duration::from_secs(1);
        let wait = |guard| self.0.wait(guard).unwrap_or_else(PoisonError::into_inner);
        if timeout > SHORT {
            return wait(guard);
        }
        let is_over = atomic::AtomicBool::new(false);
        scope(|timer| {
            timer.spawn(|| {
                while !is_over.load(atomic::Ordering::SeqCst) {
                    self.0.notify_all();
                    thread::yield_now();
                }
            });
            let guard = wait(guard);
            is_over.store(true, atomic::Ordering::SeqCst);
            guard
        })
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
    let previous = set_signal_mask(None);
    #[cfg(not(shuttle))]
    let started =
        thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn_scoped(scope, body);
    // Its builder makes no threads for scopes.
    #[cfg(shuttle)]
    let started = Ok((name, scope.spawn(body)).1);
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
