//! Waiting that can be broken off: by Ctrl-C, by a deadline, from the thread that waits.
//!
//! A thread of Python must look for signals every few milliseconds (`faults.md`, 2.8), and a request
//! blocks for longer. So the request runs on a thread of its own and borrows what it needs; the caller
//! waits beside it in slices, calls back between them, and cancels the request when told to. It never
//! returns before the request has ended, so nothing it lent is in use afterwards.

use std::time::{Duration, Instant};

use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::error::Error;
use crate::panics;
use crate::sync::{self, Condvar, Mutex};

/// The longest wait between two looks around: 50 ms.
pub const SLICE: Duration = Duration::from_millis(50);

/// Looks for a reason to stop waiting, such as a signal, at least every [`SLICE`]; its error ends the call.
pub type Watch<'a> = &'a mut dyn FnMut() -> Result<(), Error>;

/// What a request came to, and what broke the wait off.
#[derive(Debug)]
pub struct Ran<T> {
    /// What the request returned: it may have succeeded in the moment it was cancelled.
    pub result: Result<T, Error>,
    /// The error of the watch, if it asked to stop.
    pub interrupt: Option<Error>,
}

impl<T> Ran<T> {
    /// The result, unless the wait was broken off: then that error.
    ///
    /// # Errors
    /// The interrupt's, or the request's.
    pub fn or_interrupt(self) -> Result<T, Error> {
        match self.interrupt {
            Some(interrupt) => Err(interrupt),
            None => self.result,
        }
    }

    /// The result if there is one, although the wait was broken off in that moment; for what stays done.
    ///
    /// # Errors
    /// The interrupt's, or the request's.
    pub fn even_if_interrupted(self) -> Result<T, Error> {
        self.result.map_err(|error| self.interrupt.unwrap_or(error))
    }
}

/// Runs `body` on a thread of its own until it ends, `watch` fails or `limit` passes.
///
/// The last two cancel it, which it notices within milliseconds; this call still waits for its end. If
/// no thread can be made, `body` runs here.
pub fn run<T: Send>(
    name: &str,
    limit: Option<Instant>,
    clock: &dyn Clock,
    watch: Watch<'_>,
    body: impl FnOnce(&Cancel) -> Result<T, Error> + Send,
) -> Ran<T> {
    if let Err(interrupt) = watch() {
        return Ran { result: Err(Error::cancelled("wait")), interrupt: Some(interrupt) };
    }
    let cancel = Cancel::new();
    let slot = Mutex::new((Some(body), None));
    let ended = Condvar::new();
    let work = || {
        let body = slot.lock().0.take();
        if let Some(body) = body {
            let result = panics::as_error("request", || body(&cancel));
            slot.lock().1 = Some(result);
        }
        ended.notify_all();
    };
    let interrupt = sync::scope(|scope| {
        let Ok(thread) = sync::spawn_scoped(scope, name, work) else {
            work();
            return None;
        };
        let mut interrupt = None;
        loop {
            let slot = slot.lock();
            let done = slot.1.is_some() || thread.is_finished();
            if done {
                break;
            }
            drop(ended.wait_for(slot, SLICE));
            if interrupt.is_none() {
                interrupt = watch().err();
            }
            if interrupt.is_some() || limit.is_some_and(|limit| clock.now() >= limit) {
                cancel.cancel();
            }
        }
        let _ = thread.join();
        interrupt
    });
    let result =
        slot.into_inner().1.unwrap_or_else(|| Err(Error::internal("request", "its thread ended early")));
    Ran { result, interrupt }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::error::ErrorKind;

    fn until_cancelled(cancel: &Cancel) -> Result<u32, Error> {
        cancel.wait_until(SystemClock.now() + Duration::from_secs(60), &SystemClock);
        Err(Error::cancelled("GetObject"))
    }

    #[test]
    fn the_result_comes_back() {
        let text = "borrowed".to_owned();
        let ran = run("test", None, &SystemClock, &mut || Ok(()), |_| Ok(text.len()));
        assert_eq!(ran.or_interrupt().expect("a result"), 8);
    }

    #[test]
    fn an_interrupt_cancels_and_is_handed_on() {
        let mut looks = 0;
        let mut watch = || {
            looks += 1;
            if looks > 2 {
                Err(Error::new(ErrorKind::Internal, "signal", "KeyboardInterrupt"))
            } else {
                Ok(())
            }
        };
        let ran = run("test", None, &SystemClock, &mut watch, until_cancelled);
        assert_eq!(ran.result.expect_err("cancelled").kind, ErrorKind::Cancelled);
        assert_eq!(ran.interrupt.expect("the signal").operation, "signal");
    }

    #[test]
    fn a_limit_cancels_without_an_interrupt() {
        let ran = run("test", Some(SystemClock.now()), &SystemClock, &mut || Ok(()), until_cancelled);
        assert_eq!(ran.or_interrupt().expect_err("cancelled").kind, ErrorKind::Cancelled);
    }

    #[test]
    fn test_f95_a_panic_is_an_error_of_this_request_alone() {
        let ran: Ran<u32> = run("test", None, &SystemClock, &mut || Ok(()), |_| panic!("on purpose"));
        assert_eq!(ran.or_interrupt().expect_err("a bug").kind, ErrorKind::Internal);
    }
}
