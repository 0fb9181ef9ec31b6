//! Objects fetched ahead, into `bytes` that Python will read.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use oss_client::error::Error;
use oss_client::interrupt::SLICE;
use oss_client::read::prefetch::{Body, Next};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyBytes;

use crate::buffer::LentMemory;
use crate::errors::{OrRaise, to_python};
use crate::retired;

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

/// Objects in the order of the positions asked for, each whole and verified.
#[pyclass(frozen, module = "osstorchconnector._native")]
pub(crate) struct Prefetch {
    state: Mutex<State>,
}

struct State {
    engine: Engine,
    failures: Failures,
    waited: Duration,
    is_closed: bool,
}

/// An exception on its way, whether Python's own or one of the engine's.
struct Raised(PyErr);

impl From<Error> for Raised {
    fn from(error: Error) -> Self {
        Raised(Python::attach(|py| to_python(py, &error)))
    }
}

impl Prefetch {
    pub(crate) fn new(engine: Engine, failures: Failures) -> Self {
        Self { state: Mutex::new(State { engine, failures, waited: Duration::ZERO, is_closed: false }) }
    }

    /// The bytes of the next object; None at the end, and for a missing object.
    pub(crate) fn next_bytes(&self, py: Python<'_>) -> PyResult<Option<Py<PyBytes>>> {
        match self.with(py, |state| state.next(py))? {
            Some((_, body)) => into_bytes(py, body.or_raise(py)?),
            None => Ok(None),
        }
    }

    /// Locks the state, without the GIL while another thread holds it.
    fn with<R>(&self, py: Python<'_>, work: impl FnOnce(&mut State) -> R) -> R {
        work(&mut self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl Prefetch {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Item>> {
        self.with(py, |state| match state.next(py)? {
            Some((position, body)) => Ok(Some((position, state.item(py, body)?))),
            None => Ok(None),
        })
    }

    /// Seconds the consumer waited for data so far.
    #[getter]
    fn wait_seconds(&self, py: Python<'_>) -> f64 {
        self.with(py, |state| state.waited.as_secs_f64())
    }

    /// Objects asked for and not yet delivered.
    #[getter]
    fn in_flight(&self, py: Python<'_>) -> usize {
        self.with(py, |state| state.engine.ahead())
    }

    /// Cancels what is in flight and gives its memory back; within 200 ms.
    fn close(&self, py: Python<'_>) {
        self.with(py, |state| {
            state.is_closed = true;
            let engine = &mut state.engine;
            py.detach(move || engine.close(PATIENCE));
            retired::free(py);
        });
    }
}

impl State {
    fn item(&self, py: Python<'_>, body: Outcome) -> PyResult<Py<PyAny>> {
        match body {
            Err(error) if self.failures == Failures::Yield => {
                Ok(to_python(py, &error).into_value(py).into_any())
            }
            body => Ok(into_bytes(py, body.or_raise(py)?)?.map_or_else(|| py.None(), Py::into_any)),
        }
    }

    fn next(&mut self, py: Python<'_>) -> PyResult<Option<(u64, Outcome)>> {
        if self.is_closed {
            return Ok(None);
        }
        self.top_up(py)?;
        let mut waiting_since = None;
        loop {
            match self.engine.try_next() {
                Next::Ready(position, body) => {
                    self.waited += waiting_since.map_or(Duration::ZERO, elapsed);
                    return Ok(Some((position, body)));
                }
                Next::End => return Ok(None),
                Next::Pending => {
                    waiting_since.get_or_insert_with(now);
                    let engine = &mut self.engine;
                    py.detach(move || engine.wait(SLICE));
                    py.check_signals()?;
                    self.top_up(py)?;
                }
            }
        }
    }

    fn top_up(&mut self, py: Python<'_>) -> PyResult<()> {
        let lent = self.engine.top_up(|size_bytes| LentMemory::bytes(py, size_bytes).map_err(Raised));
        lent.map_err(|Raised(exception)| exception)
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
