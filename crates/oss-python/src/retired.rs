//! Python memory that a worker was the last to hold.
//!
//! PyO3 keeps an object that is dropped without the GIL in a list behind a lock, for whoever takes the GIL next. A
//! process that forks while a worker holds that lock has a child in which it is never let go: the first thread there
//! that drops an object waits for ever. So what workers give back is kept here, in a list of each process's own.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use oss_client::fork::ForkCell;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Of each process. What the parent's workers held is not the child's to free.
static LISTS: ForkCell<Mutex<Vec<Py<PyBytes>>>> = ForkCell::new();
static IS_ANY: AtomicBool = AtomicBool::new(false);

/// Keeps an object until [`free`]; the GIL need not be held.
pub(crate) fn keep(object: Py<PyBytes>) {
    let Some(list) = LISTS.get(Mutex::default) else {
        // Deeper in forks than anything works: better lost than waited for.
        return mem::forget(object);
    };
    list.lock().unwrap_or_else(PoisonError::into_inner).push(object);
    IS_ANY.store(true, Ordering::Release);
}

/// Frees what was kept.
pub(crate) fn free(_py: Python<'_>) {
    // Looked at first: this is called for every object that is asked for.
    if !IS_ANY.load(Ordering::Relaxed) || !IS_ANY.swap(false, Ordering::AcqRel) {
        return;
    }
    if let Some(list) = LISTS.peek() {
        let kept = mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner));
        drop(kept);
    }
}
