//! The end of the interpreter, and threads of ours that run Python code then.
//!
//! A native thread that wants the GIL back after Python began to shut down is ended by Python in the middle of our
//! frames, and the process aborts. So threads enter here before they call into Python, and the exit hook lets nobody
//! in any more and waits for those inside.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use oss_client::fork;
use pyo3::prelude::*;

/// How long an exit waits for those inside: 2 s, as for everything else. Who stays longer hangs in a call of its own.
const PATIENCE: Duration = Duration::from_secs(2);
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

static IS_LEAVING: AtomicBool = AtomicBool::new(false);
/// The generation of forks in the high half: whom a parent had inside is not in its child. Their number in the low.
static INSIDE: AtomicU64 = AtomicU64::new(0);

/// Being inside; dropped when the GIL was given back.
pub(crate) struct Visit;

/// Lets a thread that is not Python's call into Python; None when Python shuts down.
pub(crate) fn enter() -> Option<Visit> {
    change(1);
    let visit = Visit;
    (!IS_LEAVING.load(Ordering::SeqCst)).then_some(visit)
}

impl Drop for Visit {
    fn drop(&mut self) {
        change(-1);
    }
}

fn change(by: i64) {
    let _ = INSIDE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |inside| {
        Some(
            u64::from(fork::generation()) << 32
                | (count(inside).wrapping_add_signed(by) & u64::from(u32::MAX)),
        )
    });
}

/// How many of this process are inside.
fn count(inside: u64) -> u64 {
    if inside >> 32 == u64::from(fork::generation()) { inside & u64::from(u32::MAX) } else { 0 }
}

/// Lets nobody in any more, and waits for those inside. Called once, at exit.
#[pyfunction]
pub(crate) fn leave(py: Python<'_>) {
    IS_LEAVING.store(true, Ordering::SeqCst);
    py.detach(|| {
        let end = now() + PATIENCE;
        while count(INSIDE.load(Ordering::SeqCst)) > 0 && now() < end {
            thread::sleep(BETWEEN_LOOKS);
        }
    });
}

#[expect(clippy::disallowed_methods, reason = "a bound on the exit, which no clock of a test replaces")]
fn now() -> Instant {
    Instant::now()
}
