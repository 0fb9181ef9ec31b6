//! What this process is doing, for whoever asks from outside or inside of it.

use oss_client::telling::{self, trace};
use pyo3::prelude::*;

/// Says where this process and its children can be asked; the first call counts.
#[pyfunction]
pub(crate) fn answer_at(prefix: String) {
    telling::answer_at(prefix);
}

/// Says what this process is, such as `DataLoader worker 3`.
#[pyfunction]
pub(crate) fn set_role(role: String) {
    telling::set_role(role);
}

/// Tells what every client of this process is doing now, as JSON.
#[pyfunction]
pub(crate) fn state() -> String {
    telling::report().to_string()
}

/// Keeps the requests of this process from now on; False if that is done already.
#[pyfunction]
pub(crate) fn start_trace(requests: usize) -> bool {
    trace::start(requests)
}

/// Keeps none any more; returns those that were kept, as JSON in the trace event format.
#[pyfunction]
pub(crate) fn stop_trace(py: Python<'_>) -> String {
    py.detach(|| trace::stop().to_string())
}
