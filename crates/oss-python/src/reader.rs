//! Random access to one object.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::Duration;

use memchr::memchr;
use oss_client::error::{Error, ErrorKind};
use oss_client::fork;
use oss_client::interrupt::{SLICE, Watch};
use oss_client::lend::Lend;
use oss_client::read::object::ObjectReader;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::buffer::{LentMemory, WritableView};
use crate::errors::OrRaise;
use crate::waiting::without_gil;

/// Random access and read-ahead over one pinned version of one object.
#[pyclass(frozen, module = "osstorchconnector._native")]
pub(crate) struct Reader {
    uri: String,
    inner: Mutex<Option<ObjectReader>>,
    /// Which thread works with the reader, by the address of a variable of its own; 0 = none.
    holder: AtomicUsize,
    /// In which generation of forks the lock was last taken.
    held_in: AtomicU32,
    /// Somebody closes it: what another thread waits for ends.
    is_closing: AtomicBool,
}

/// How often, and how far apart, a child looks again at a lock that seems to be held by a thread of its parent: one of
/// its own may have taken it this moment.
const LOOKS: u32 = 20;
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

/// The first pause of a thread that waits for its turn; it doubles up to [`BETWEEN_LOOKS`].
const FIRST_PAUSE: Duration = Duration::from_micros(20);

thread_local! {
    static OWN: u8 = const { 0 };
}

/// A number that no other living thread has; never 0.
fn this_thread() -> usize {
    OWN.with(|own| std::ptr::from_ref(own).addr())
}

/// The reader, while one thread works with it.
struct Held<'a> {
    guard: MutexGuard<'a, Option<ObjectReader>>,
    holder: &'a AtomicUsize,
}

impl Deref for Held<'_> {
    type Target = Option<ObjectReader>;

    fn deref(&self) -> &Self::Target {
        &self.guard
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.guard
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.holder.store(0, Ordering::Release);
    }
}

impl Reader {
    pub(crate) fn new(reader: ObjectReader) -> Self {
        Self {
            uri: reader.uri().to_string(),
            inner: Mutex::new(Some(reader)),
            holder: AtomicUsize::new(0),
            held_in: AtomicU32::new(fork::generation()),
            is_closing: AtomicBool::new(false),
        }
    }

    /// Runs `work` on the open reader without the GIL; other threads wait their turn.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut ObjectReader, Watch<'_>) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        self.refuse_reentry()?;
        without_gil(py, |watch| {
            let mut guard = self.lock(watch)?;
            let reader = guard.as_mut().ok_or_else(|| self.closed_error())?;
            let mut watch = || {
                if self.is_closing() {
                    return Err(self.closed_error());
                }
                watch()
            };
            // What a closing interrupts comes back as what the watch said, or as a request that was cancelled.
            work(reader, &mut watch)
                .map_err(|error| if self.is_closing() { self.closed_error() } else { error })
        })
    }

    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// To be called without the GIL: who holds the lock takes the GIL now and then, to look for signals.
    ///
    /// The holder may be in a read that takes as long as its deadline, so whoever waits looks for signals as well.
    ///
    /// # Errors
    /// `Forked` if a thread of the parent held it when this process was forked: it will never let go. The watch's.
    fn lock(&self, watch: Watch<'_>) -> Result<Held<'_>, Error> {
        let (mut looks, mut pause, mut unwatched) = (0, FIRST_PAUSE, Duration::ZERO);
        let guard = loop {
            match self.inner.try_lock() {
                Ok(guard) => break guard,
                Err(TryLockError::Poisoned(poisoned)) => break poisoned.into_inner(),
                Err(TryLockError::WouldBlock)
                    if self.held_in.load(Ordering::Acquire) == fork::generation() =>
                {
                    if unwatched >= SLICE {
                        watch()?;
                        unwatched = Duration::ZERO;
                    }
                    thread::sleep(pause);
                    unwatched += pause;
                    pause = (pause * 2).min(BETWEEN_LOOKS);
                }
                Err(TryLockError::WouldBlock) if looks < LOOKS => {
                    looks += 1;
                    thread::sleep(BETWEEN_LOOKS);
                }
                Err(TryLockError::WouldBlock) => return Err(self.forked_error()),
            }
        };
        self.held_in.store(fork::generation(), Ordering::Release);
        self.holder.store(this_thread(), Ordering::Release);
        Ok(Held { guard, holder: &self.holder })
    }

    /// Refuses a signal handler that uses the very reader its thread waits for, as Python's own files do.
    fn refuse_reentry(&self) -> PyResult<()> {
        if self.holder.load(Ordering::Acquire) == this_thread() {
            return Err(PyRuntimeError::new_err(format!(
                "reentrant call: a signal handler used the reader of {} while it reads; use another reader there",
                self.uri
            )));
        }
        Ok(())
    }

    fn forked_error(&self) -> Error {
        let text = "another thread used the reader when the process forked; open it again in this process";
        Error::new(ErrorKind::Forked, "read", text).with_uri(&self.uri)
    }

    fn closed_error(&self) -> Error {
        Error::new(ErrorKind::Closed, "read", "the reader was closed; open it again").with_uri(&self.uri)
    }

    /// Answers a small read from memory, without letting go of the GIL; None if it needs a request.
    fn read_buffered(&self, py: Python<'_>, size: usize) -> Option<Py<PyBytes>> {
        let mut guard = self.inner.try_lock().ok()?;
        let reader = guard.as_mut()?;
        let bytes = reader.buffered().get(..size)?;
        let result = PyBytes::new(py, bytes).unbind();
        reader.advance(size);
        Some(result)
    }

    /// At most `size` bytes; `likely` of them are there, unless the object was replaced.
    fn read_small(&self, py: Python<'_>, size: u64, likely: u64) -> PyResult<Py<PyBytes>> {
        let most = usize::try_from(size).unwrap_or(usize::MAX);
        let bytes = Vec::with_capacity(usize::try_from(likely).unwrap_or(0));
        let bytes = self.run(py, |reader, watch| {
            reader.all_or_nothing(|reader| read_up_to(reader, bytes, most, watch))
        })?;
        Ok(PyBytes::new(py, &bytes).unbind())
    }

    /// Exactly `size` bytes; None if that many are no longer there (see `read_into`).
    fn read_large(&self, py: Python<'_>, size: u64) -> PyResult<Option<Py<PyBytes>>> {
        let memory = LentMemory::bytes(py, usize::try_from(size).unwrap_or(usize::MAX))?;
        let Some(memory) = self.read_into(py, memory)? else { return Ok(None) };
        let bytes = memory.into_bytes();
        let bytes = bytes.ok_or_else(|| Error::internal("read", "a lent bytes object came back as a view"));
        bytes.or_raise(py).map(Some)
    }

    /// Fills `memory` from the position on; None if the object was replaced before anything of it was told, or if
    /// another thread read meanwhile and fewer bytes are left.
    fn read_into(&self, py: Python<'_>, mut memory: LentMemory) -> PyResult<Option<LentMemory>> {
        self.run(py, |reader, watch| {
            if reader.remaining(watch)? < memory.memory().len() as u64 {
                return Ok(None);
            }
            match reader.read_into(memory, watch) {
                Err(error) if reader.begins_again(&error) => Ok(None),
                outcome => outcome.map(Some),
            }
        })
    }

    /// Bytes between the position and the end of the version that is pinned now.
    fn remaining(&self, py: Python<'_>) -> PyResult<u64> {
        self.run(py, ObjectReader::remaining)
    }
}

#[pymethods]
impl Reader {
    #[getter]
    fn uri(&self) -> &str {
        &self.uri
    }

    /// The object's size; asks OSS when it is not known yet.
    #[getter]
    fn size(&self, py: Python<'_>) -> PyResult<u64> {
        self.run(py, ObjectReader::size)
    }

    /// The pinned version's ETag, once it is known.
    #[getter]
    fn etag(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.refuse_reentry()?;
        without_gil(py, |watch| {
            Ok(self.lock(watch)?.as_ref().and_then(|reader| reader.etag().map(str::to_owned)))
        })
    }

    #[getter]
    fn closed(&self, py: Python<'_>) -> PyResult<bool> {
        self.refuse_reentry()?;
        without_gil(py, |watch| Ok(self.lock(watch)?.is_none()))
    }

    /// At most `size` bytes from the position on, all that remain if it is negative; short only at the end.
    #[pyo3(signature = (size = -1), text_signature = "($self, size=-1)")]
    fn read(&self, py: Python<'_>, size: i64) -> PyResult<Py<PyBytes>> {
        if let Some(bytes) = usize::try_from(size).ok().and_then(|size| self.read_buffered(py, size)) {
            return Ok(bytes);
        }
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        loop {
            let (likely, is_direct) = self.run(py, |reader, watch| {
                let likely = size.min(reader.remaining(watch)?);
                Ok((likely, reader.is_direct(likely)))
            })?;
            if !is_direct {
                return self.read_small(py, size, likely);
            }
            if let Some(bytes) = self.read_large(py, likely)? {
                return Ok(bytes);
            }
        }
    }

    /// Fills `buffer` from the position on; returns the number of bytes, 0 at the end.
    fn readinto(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let view = WritableView::of(buffer)?;
        loop {
            let remaining = self.remaining(py)?;
            let size_bytes = view.size_bytes().min(usize::try_from(remaining).unwrap_or(usize::MAX));
            if size_bytes == 0 || self.read_into(py, LentMemory::view(&view, size_bytes))?.is_some() {
                return Ok(size_bytes);
            }
        }
    }

    /// Fills each buffer of `(offset, buffer)` with the bytes from its offset on, all in parallel; the position stays.
    /// Returns the CRC-64 of each buffer.
    fn readinto_ranges(&self, py: Python<'_>, ranges: &Bound<'_, PyAny>) -> PyResult<Vec<u64>> {
        let wanted = ranges.try_iter()?.map(|item| range_of(&item?)).collect::<PyResult<Vec<_>>>()?;
        WritableView::refuse_shared(wanted.iter().map(|(_, view)| view.as_ref()))?;
        loop {
            let lend = |(offset, view): &(u64, Arc<WritableView>)| {
                (*offset, LentMemory::view(view, view.size_bytes()))
            };
            let targets = wanted.iter().map(lend).collect();
            let filled = self.run(py, |reader, watch| match reader.read_ranges(targets, watch) {
                Err(error) if reader.begins_again(&error) => Ok(None),
                outcome => outcome.map(Some),
            })?;
            if let Some(filled) = filled {
                return Ok(filled.into_iter().map(|(_, crc64)| crc64).collect());
            }
        }
    }

    /// The bytes up to and with the next line end, at most `size`.
    #[pyo3(signature = (size = -1), text_signature = "($self, size=-1)")]
    fn readline(&self, py: Python<'_>, size: i64) -> PyResult<Py<PyBytes>> {
        let most = usize::try_from(size).unwrap_or(usize::MAX);
        let line =
            self.run(py, |reader, watch| reader.all_or_nothing(|reader| read_line(reader, most, watch)))?;
        Ok(PyBytes::new(py, &line).unbind())
    }

    /// Moves the position; beyond the end is allowed.
    #[pyo3(signature = (offset, whence = 0))]
    fn seek(&self, py: Python<'_>, offset: i64, whence: i32) -> PyResult<u64> {
        let base = match whence {
            0 => 0,
            1 => self.tell(py)?,
            2 => self.size(py)?,
            _ => return Err(PyValueError::new_err(format!("whence is 0, 1 or 2, not {whence}"))),
        };
        let position = base.checked_add_signed(offset).ok_or_else(|| {
            PyValueError::new_err(format!(
                "cannot seek to {}: before the start",
                i128::from(base) + i128::from(offset)
            ))
        })?;
        self.run(py, |reader, _| {
            reader.seek(position);
            Ok(position)
        })
    }

    fn tell(&self, py: Python<'_>) -> PyResult<u64> {
        self.run(py, |reader, _| Ok(reader.position()))
    }

    /// Gives everything back; a read that another thread waits for ends with `ClosedError`.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.refuse_reentry()?;
        self.is_closing.store(true, Ordering::Release);
        without_gil(py, |watch| {
            drop(self.lock(watch)?.take());
            Ok(())
        })
    }
}

/// One `(offset, buffer)` of `readinto_ranges`, the buffer exported.
fn range_of(item: &Bound<'_, PyAny>) -> PyResult<(u64, Arc<WritableView>)> {
    let (offset, buffer): (i64, Bound<'_, PyAny>) = item.extract()?;
    let offset = u64::try_from(offset)
        .map_err(|_| PyValueError::new_err(format!("an offset is not negative, as {offset} is")))?;
    Ok((offset, WritableView::of(&buffer)?))
}

/// Reads until `bytes` has `most` or the object ends.
fn read_up_to(
    reader: &mut ObjectReader,
    mut bytes: Vec<u8>,
    most: usize,
    watch: Watch<'_>,
) -> Result<Vec<u8>, Error> {
    while bytes.len() < most {
        reader.fill(watch)?;
        let buffered = reader.buffered();
        let taken = buffered.len().min(most - bytes.len());
        if taken == 0 {
            break;
        }
        bytes.extend_from_slice(&buffered[..taken]);
        reader.advance(taken);
    }
    Ok(bytes)
}

/// Reads up to and with the next line end, at most `most` bytes.
fn read_line(reader: &mut ObjectReader, most: usize, watch: Watch<'_>) -> Result<Vec<u8>, Error> {
    let mut line = Vec::new();
    while line.len() < most {
        reader.fill(watch)?;
        let buffered = reader.buffered();
        let within = &buffered[..buffered.len().min(most - line.len())];
        if within.is_empty() {
            break;
        }
        let end = memchr(b'\n', within).map(|at| at + 1);
        let taken = end.unwrap_or(within.len());
        line.extend_from_slice(&within[..taken]);
        reader.advance(taken);
        if end.is_some() {
            break;
        }
    }
    Ok(line)
}
