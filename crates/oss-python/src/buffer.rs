//! Python memory lent to the engines, and Python buffers read by them.
//!
//! A lent `bytes` object was made uninitialised and no other Python code has seen it; a lent view is a caller's
//! buffer whose export the loan itself holds, so its owner can neither resize nor free it. In both cases the loan
//! is moved into the engine and comes back before Python goes on.

use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

use oss_client::lend::Lend;
use pyo3::PyTypeInfo;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::retired;

/// Where memory of a live Python object starts; used only by the one holder of a loan.
#[derive(Clone, Copy, Debug)]
struct Address(NonNull<u8>);

#[expect(unsafe_code, reason = "a plain number that happens to be an address")]
// SAFETY: an address gives no access by itself; whoever dereferences it argues for that.
unsafe impl Send for Address {}
#[expect(unsafe_code, reason = "a plain number that happens to be an address")]
// SAFETY: as above.
unsafe impl Sync for Address {}

/// What keeps lent memory alive and in place.
enum Owner {
    /// None once it was taken.
    Bytes(Option<Py<PyBytes>>),
    View {
        _held: Arc<WritableView>,
    },
}

/// Memory of a Python object, lent to an engine.
pub(crate) struct LentMemory {
    start: Address,
    size_bytes: usize,
    owner: Owner,
}

impl fmt::Debug for LentMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LentMemory").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

impl LentMemory {
    /// Makes a `bytes` object of `size_bytes` that only the engine sees until it is filled.
    ///
    /// # Errors
    /// `MemoryError`.
    pub(crate) fn bytes(py: Python<'_>, size_bytes: usize) -> PyResult<Self> {
        assert!(size_bytes > 0, "the empty bytes object is shared by all of Python");
        retired::free(py);
        let size = ffi::Py_ssize_t::try_from(size_bytes).unwrap_or(ffi::Py_ssize_t::MAX);
        #[expect(unsafe_code, reason = "PyO3 offers no bytes object without initialising it")]
        // SAFETY: with a null source CPython makes a new object with `size` uninitialised bytes, which we own
        // alone; its payload starts at `PyBytes_AsString` and does not move.
        let (owner, start) = unsafe {
            let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size);
            let owner = Bound::from_owned_ptr_or_err(py, object)?.cast_into_unchecked::<PyBytes>();
            (owner, ffi::PyBytes_AsString(object).cast::<u8>())
        };
        let start = Address(NonNull::new(start).unwrap_or(NonNull::dangling()));
        Ok(Self { start, size_bytes, owner: Owner::Bytes(Some(owner.unbind())) })
    }

    /// Lends the first `size_bytes` of a caller's writable buffer.
    pub(crate) fn view(view: &Arc<WritableView>, size_bytes: usize) -> Self {
        assert!(size_bytes <= view.size_bytes, "a loan lies inside its buffer");
        Self { start: view.start, size_bytes, owner: Owner::View { _held: Arc::clone(view) } }
    }

    /// The filled `bytes` object; None for a view.
    pub(crate) fn into_bytes(mut self) -> Option<Py<PyBytes>> {
        match &mut self.owner {
            Owner::Bytes(bytes) => bytes.take(),
            Owner::View { .. } => None,
        }
    }
}

impl Drop for LentMemory {
    fn drop(&mut self) {
        if let Owner::Bytes(bytes) = &mut self.owner
            && let Some(bytes) = bytes.take()
        {
            // Most likely on a worker, which has no GIL.
            retired::keep(bytes);
        }
    }
}

impl Lend for LentMemory {
    fn memory(&mut self) -> &mut [MaybeUninit<u8>] {
        #[expect(unsafe_code, reason = "the lent memory as a slice")]
        // SAFETY: `start..start + size_bytes` is one live allocation that `owner` keeps in place, and the holder
        // of the loan is the only one to touch it; MaybeUninit needs no initialised bytes.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.0.as_ptr().cast(), self.size_bytes)
        }
    }
}

/// A writable, contiguous buffer of the caller, exported for as long as this lives.
#[derive(Debug)]
pub(crate) struct WritableView {
    start: Address,
    size_bytes: usize,
    _export: PyUntypedBuffer,
}

impl WritableView {
    /// Exports the memory of `object`.
    ///
    /// # Errors
    /// `TypeError` if it has no buffer, `BufferError` if it is read-only or not contiguous.
    pub(crate) fn of(object: &Bound<'_, PyAny>) -> PyResult<Arc<Self>> {
        let export = PyUntypedBuffer::get(object)?;
        if export.readonly() || !export.is_c_contiguous() {
            return Err(PyBufferError::new_err("reading needs a writable, C-contiguous buffer"));
        }
        let start = Address(NonNull::new(export.buf_ptr().cast()).unwrap_or(NonNull::dangling()));
        Ok(Arc::new(Self { start, size_bytes: export.len_bytes(), _export: export }))
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Makes sure that no byte is lent twice: several threads would write to it.
    ///
    /// # Errors
    /// `ValueError` if two views have memory in common.
    pub(crate) fn refuse_shared<'a>(views: impl Iterator<Item = &'a Self>) -> PyResult<()> {
        let mut places: Vec<(usize, usize)> = views
            .filter(|view| view.size_bytes > 0)
            .map(|view| (view.start.0.addr().get(), view.size_bytes))
            .collect();
        places.sort_unstable();
        if places.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
            return Err(PyValueError::new_err("two of the buffers share memory; give each its own"));
        }
        Ok(())
    }
}

/// Calls `read` with the bytes of `object`, which stays exported meanwhile.
///
/// A buffer that is not C-contiguous is copied in C order first. `read` may let go of the GIL; a program that
/// changes the buffer from another thread at that time uploads a mixture, as with any file.
///
/// # Errors
/// `TypeError` if `object` has no buffer.
pub(crate) fn with_bytes<R>(
    object: &Bound<'_, PyAny>,
    read: impl FnOnce(Python<'_>, &[u8]) -> PyResult<R>,
) -> PyResult<R> {
    let py = object.py();
    let export = PyUntypedBuffer::get(object)?;
    if !export.is_c_contiguous() {
        let copy = PyBytes::type_object(py).call1((object,))?;
        return read(py, copy.cast::<PyBytes>()?.as_bytes());
    }
    let start = NonNull::new(export.buf_ptr().cast::<u8>()).unwrap_or(NonNull::dangling());
    #[expect(unsafe_code, reason = "an exported Python buffer as a slice")]
    // SAFETY: the export keeps these `len_bytes` bytes alive and in place until it is dropped below.
    let bytes = unsafe { std::slice::from_raw_parts(start.as_ptr(), export.len_bytes()) };
    let result = read(py, bytes);
    export.release(py);
    result
}
