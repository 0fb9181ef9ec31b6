//! Panics of ours become errors of the one request that met them.

use std::panic::{self, AssertUnwindSafe};

use crate::error::Error;

/// Runs `work`; a panic in it is an `Internal` error of `operation`.
///
/// # Errors
/// Those of `work`, and `Internal`.
pub fn as_error<T>(operation: &'static str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|cause| {
        let text = cause
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| cause.downcast_ref::<&str>().copied())
            .unwrap_or("no text");
        Err(Error::internal(operation, format!("a worker panicked: {text}")))
    })
}
