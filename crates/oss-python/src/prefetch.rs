//! Objects fetched ahead, into `bytes` that Python will read.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use oss_client::error::{Error, ErrorKind};
use oss_client::fork;
use oss_client::interrupt::SLICE;
use oss_client::panics;
use oss_client::read::prefetch::{Body, Next};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::arguments;
use crate::buffer::LentMemory;
use crate::errors::{OrRaise, to_python};
use crate::order::Order;
use crate::retired;
use crate::tail::Rows;
use crate::waiting::show_news;

/// How long `close` waits for memory to come back: well within the 200 ms of an interrupt.
const PATIENCE: Duration = Duration::from_millis(100);

/// A position, and what is there: bytes, None for a missing object that is to be skipped, or the error.
type Item = (u64, Py<PyAny>);

/// What a worker made of one object.
type Outcome = Result<Body<LentMemory>, Error>;

/// Where the error of one object goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failures {
    /// It is raised in the object's place; the next call goes on behind it.
    Raise,
    /// It is the item, so that the consumer knows the position it belongs to.
    Yield,
}

type Engine = oss_client::read::prefetch::Prefetch<LentMemory>;

/// How long a thread that finds the engine in use lets go of the GIL before it looks again.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// Objects in the order of the positions asked for, each whole and verified.
///
/// The engine is held for one step at a time, of [`SLICE`] at most, and never while Python code runs: signal handlers
/// and log handlers may use the very iterator that their thread waits in. What is asked about it lies beside the
/// engine, so whoever asks waits for nobody.
#[pyclass(frozen, module = "osstorchconnector._native")]
pub(crate) struct Prefetch {
    engine: Mutex<Engine>,
    failures: Failures,
    /// In which generation of forks it was made.
    generation: u32,
    waited_nanoseconds: AtomicU64,
    ahead: AtomicUsize,
    has_asked_all: AtomicBool,
    is_closed: AtomicBool,
}

/// What ends a step: an exception of Python's, or a failure of the engine's.
enum Failure {
    Exception(PyErr),
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Error(error)
    }
}

impl Failure {
    /// To be called when the engine was let go: this runs Python code.
    fn raise(self, py: Python<'_>) -> PyErr {
        match self {
            Failure::Exception(exception) => exception,
            Failure::Error(error) => to_python(py, &error),
        }
    }
}

impl Prefetch {
    pub(crate) fn new(engine: Engine, failures: Failures) -> Self {
        Self {
            engine: Mutex::new(engine),
            failures,
            generation: fork::generation(),
            waited_nanoseconds: AtomicU64::new(0),
            ahead: AtomicUsize::new(0),
            has_asked_all: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
        }
    }

    /// The bytes of the next object; None at the end, and for a missing object.
    pub(crate) fn next_bytes(&self, py: Python<'_>) -> PyResult<Option<Py<PyBytes>>> {
        match self.next(py)? {
            Some((_, body)) => into_bytes(py, body.or_raise(py)?),
            None => Ok(None),
        }
    }

    fn next(&self, py: Python<'_>) -> PyResult<Option<(u64, Outcome)>> {
        loop {
            let mut engine = self.lock(py)?;
            if self.is_closed.load(Ordering::Acquire) {
                return Ok(None);
            }
            // A panic of ours is this call's error, never the interpreter's.
            let step = panics::as_error("prefetch", || Ok(self.step(py, &mut engine)));
            drop(engine);
            match step.or_raise(py)?.map_err(|failure| failure.raise(py))? {
                Next::Ready(position, body) => return Ok(Some((position, body))),
                Next::End => return Ok(None),
                Next::Pending => {
                    py.check_signals()?;
                    show_news(py)?;
                }
            }
        }
    }

    /// Asks for more, and takes the next object or waits for it a little.
    fn step(&self, py: Python<'_>, engine: &mut Engine) -> Result<Next<LentMemory>, Failure> {
        engine.top_up(|size_bytes| LentMemory::bytes(py, size_bytes).map_err(Failure::Exception))?;
        let next = engine.try_next();
        self.ahead.store(engine.ahead(), Ordering::Relaxed);
        self.has_asked_all.store(engine.has_asked_all(), Ordering::Relaxed);
        if matches!(next, Next::Pending) {
            let since = now();
            py.detach(|| engine.wait(SLICE));
            let nanoseconds = u64::try_from(elapsed(since).as_nanos()).unwrap_or(u64::MAX);
            self.waited_nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        }
        Ok(next)
    }

    /// Takes the engine, without the GIL and feeling signals while another thread has it.
    fn lock(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, Engine>> {
        loop {
            match self.engine.try_lock() {
                Ok(engine) => return Ok(engine),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                // It may be a thread of the parent's that has it, and never lets go.
                Err(TryLockError::WouldBlock) if self.is_of_parent() => {
                    let text = "this iteration was begun in the parent process; iterate anew in this one";
                    return Err(to_python(py, &Error::new(ErrorKind::Forked, "prefetch", text)));
                }
                Err(TryLockError::WouldBlock) => {
                    py.detach(|| thread::sleep(BETWEEN_LOOKS));
                    py.check_signals()?;
                }
            }
        }
    }

    fn is_of_parent(&self) -> bool {
        self.generation != fork::generation()
    }

    fn item(&self, py: Python<'_>, body: Outcome) -> PyResult<Py<PyAny>> {
        match body {
            Err(error) if self.failures == Failures::Yield => {
                Ok(to_python(py, &error).into_value(py).into_any())
            }
            body => Ok(into_bytes(py, body.or_raise(py)?)?.map_or_else(|| py.None(), Py::into_any)),
        }
    }
}

#[pymethods]
impl Prefetch {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Item>> {
        match self.next(py)? {
            Some((position, body)) => Ok(Some((position, self.item(py, body)?))),
            None => Ok(None),
        }
    }

    /// Seconds the consumer waited for data so far.
    #[getter]
    fn wait_seconds(&self) -> f64 {
        Duration::from_nanos(self.waited_nanoseconds.load(Ordering::Relaxed)).as_secs_f64()
    }

    /// Objects asked for and not yet delivered.
    #[getter]
    fn in_flight(&self) -> usize {
        self.ahead.load(Ordering::Relaxed)
    }

    /// Whether all objects were asked for.
    #[getter]
    fn has_asked_all(&self) -> bool {
        self.has_asked_all.load(Ordering::Relaxed)
    }

    /// Goes on with objects of `index` at `positions` of `order`, behind those that there are, all of which were asked
    /// for.
    #[pyo3(signature = (index, positions, *, order = None))]
    fn extend(
        &self,
        py: Python<'_>,
        index: Rows<'_>,
        positions: &Bound<'_, PyAny>,
        order: Option<&Order>,
    ) -> PyResult<()> {
        let positions = arguments::positions(positions)?;
        let mut engine = self.lock(py)?;
        if self.is_closed.load(Ordering::Acquire) {
            return Ok(());
        }
        let outcome = engine.extend(index.ordered(order), positions);
        self.has_asked_all.store(engine.has_asked_all(), Ordering::Relaxed);
        drop(engine);
        outcome.or_raise(py)
    }

    /// Cancels what is in flight and gives its memory back; within 200 ms. Whoever waits for an object finds the end.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.is_closed.store(true, Ordering::Release);
        if self.is_of_parent() {
            return Ok(());
        }
        let mut engine = self.lock(py)?;
        let held = &mut *engine;
        let closed = panics::as_error("prefetch", || {
            py.detach(|| held.close(PATIENCE));
            Ok(())
        });
        self.ahead.store(engine.ahead(), Ordering::Relaxed);
        drop(engine);
        retired::free(py);
        closed.or_raise(py)
    }
}

fn into_bytes(py: Python<'_>, body: Body<LentMemory>) -> PyResult<Option<Py<PyBytes>>> {
    Ok(match body {
        Body::Lent(memory) => memory.into_bytes(),
        Body::Native(bytes) => Some(PyBytes::new(py, &bytes).unbind()),
        Body::Missing => None,
    })
}

#[expect(clippy::disallowed_methods, reason = "a stopwatch for stats, nothing is decided by it")]
fn now() -> Instant {
    Instant::now()
}

fn elapsed(since: Instant) -> Duration {
    now().saturating_duration_since(since)
}
