//! Bytes on their way into one object.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::Duration;

use oss_client::client::Client;
use oss_client::clock::{Clock as _, SystemClock};
use oss_client::error::{Error, ErrorKind};
use oss_client::fork;
use oss_client::interrupt::Watch;
use oss_client::write::{Timings, Upload, UploadOptions};
use oss_protocol::uri::ObjectUri;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

use crate::buffer::with_bytes;
use crate::waiting::{show_news, without_gil};

/// How long a finaliser waits for a thread that is in a call of the writer: 2 s, what an exit may take.
const ABANDON: Duration = Duration::from_secs(2);

/// Between two tries to have one's turn: 2 ms. Two threads rarely use one writer.
const TURN: Duration = Duration::from_millis(2);

/// Bytes on their way into one object; visible only by `publish`.
#[pyclass(frozen, module = "osstorchconnector._native")]
pub(crate) struct Writer {
    uri: String,
    /// The process that opened it. Outside of the lock: a thread of the parent may have held that at the fork.
    generation: u32,
    /// Another thread gives up: the call that is under way ends at its next look around.
    given_up: AtomicBool,
    inner: Mutex<Upload>,
}

impl Writer {
    pub(crate) fn open(client: &Client, uri: ObjectUri, options: UploadOptions) -> Self {
        Self {
            uri: uri.to_string(),
            generation: fork::generation(),
            given_up: AtomicBool::new(false),
            inner: Mutex::new(Upload::new(client, uri, options)),
        }
    }

    /// Runs `work` on the upload without the GIL; other threads wait their turn.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Upload, Watch<'_>) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        let _use = InUse::by_this_thread(self)?;
        self.run_in_use(py, work)
    }

    /// As `run`, of a thread that has entered its call.
    fn run_in_use<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Upload, Watch<'_>) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        without_gil(py, |watch| {
            if self.is_forked() {
                let text = "the writer was opened in the parent process; open it in this one";
                return Err(Error::new(ErrorKind::Forked, "write", text).with_uri(&self.uri));
            }
            work(&mut *self.turn(watch)?, watch)
        })
    }

    /// As `run`, but ends when another thread gives up.
    fn run_until_given_up<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Upload, Watch<'_>) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        self.run(py, |upload, watch| {
            let mut watching = || {
                watch()?;
                if self.given_up.load(Ordering::Relaxed) { Err(self.aborted()) } else { Ok(()) }
            };
            work(upload, &mut watching)
        })
    }

    fn aborted(&self) -> Error {
        let text = "this writer was aborted by another thread; open a new one";
        Error::new(ErrorKind::Closed, "write", text).with_uri(&self.uri)
    }

    /// What `look` sees of the upload; `dead` in a forked child.
    fn look<T: Send>(&self, py: Python<'_>, dead: T, look: impl FnOnce(&Upload) -> T + Send) -> PyResult<T> {
        if self.is_forked() {
            return Ok(dead);
        }
        let _use = InUse::by_this_thread(self)?;
        without_gil(py, |watch| Ok(look(&*self.turn(watch)?)))
    }

    /// Waits until no other thread is in a call of this writer, watching: that call may take long.
    fn turn(&self, watch: Watch<'_>) -> Result<MutexGuard<'_, Upload>, Error> {
        loop {
            match self.inner.try_lock() {
                Ok(upload) => return Ok(upload),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => watch()?,
            }
            SystemClock.sleep_until(SystemClock.now() + TURN);
        }
    }

    /// Publishes; the ETag of what is visible now, if the service said it.
    pub(crate) fn published(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.run_until_given_up(py, |upload, watch| upload.publish(watch).map(|written| written.etag))
    }

    fn is_forked(&self) -> bool {
        self.generation != fork::generation()
    }
}

thread_local! {
    /// The writers that this thread is in a call of. More than one, if a handler that runs meanwhile writes too.
    static IN_USE: RefCell<Vec<*const Writer>> = const { RefCell::new(Vec::new()) };
}

/// A call of a writer, for as long as it lives.
struct InUse;

impl InUse {
    /// Enters a call; refuses one from a signal or log handler inside another, which would wait for itself.
    fn by_this_thread(writer: &Writer) -> PyResult<Self> {
        IN_USE.with_borrow_mut(|writers| {
            if writers.contains(&std::ptr::from_ref(writer)) {
                let text =
                    "reentrant call: this thread is in a call of the writer, and a handler called it again";
                return Err(PyRuntimeError::new_err(text));
            }
            writers.push(writer);
            Ok(InUse)
        })
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        IN_USE.with_borrow_mut(|writers| writers.pop());
    }
}

#[pymethods]
impl Writer {
    #[getter]
    fn uri(&self) -> &str {
        &self.uri
    }

    /// Bytes taken so far.
    #[getter]
    fn bytes_accepted(&self, py: Python<'_>) -> PyResult<u64> {
        self.look(py, 0, Upload::accepted_bytes)
    }

    /// CRC-64 of the bytes taken so far.
    #[getter]
    fn crc64(&self, py: Python<'_>) -> PyResult<u64> {
        self.look(py, 0, Upload::crc64)
    }

    /// Size and CRC-64 of each part, once all are sent.
    #[getter]
    fn parts(&self, py: Python<'_>) -> PyResult<Vec<(u64, u64)>> {
        self.look(py, Vec::new(), |upload| upload.parts().to_vec())
    }

    /// Seconds of the stages so far: serialise, upload, settle.
    #[getter]
    fn timings(&self, py: Python<'_>) -> PyResult<(f64, f64, f64)> {
        let Timings { serialise, upload, settle } = self.look(py, Timings::default(), Upload::timings)?;
        Ok((serialise.as_secs_f64(), upload.as_secs_f64(), settle.as_secs_f64()))
    }

    /// Where the upload is, in one word.
    #[getter]
    fn state(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.look(py, "aborted", |upload| upload.stage().as_str())
    }

    /// True in a child process that inherited this writer.
    #[getter]
    fn forked(&self) -> bool {
        self.is_forked()
    }

    /// Bytes that were not sent, as OSS had them of an earlier try.
    #[getter]
    fn reused_bytes(&self, py: Python<'_>) -> PyResult<u64> {
        self.look(py, 0, Upload::reused_bytes)
    }

    /// Begins the multipart upload and returns its id; None for an object of one part.
    fn begin(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.run_until_given_up(py, |upload, watch| Ok(upload.begin(watch)?.map(str::to_owned)))
    }

    /// Goes on with an upload that was begun before; false if it cannot be.
    fn go_on_with(&self, py: Python<'_>, upload_id: &str) -> PyResult<bool> {
        self.run_until_given_up(py, |upload, watch| upload.go_on_with(upload_id, watch))
    }

    /// Leaves what OSS has there when it is given up, for a later `go_on_with`.
    fn keep_parts(&self, py: Python<'_>) -> PyResult<()> {
        self.run(py, |upload, _| {
            upload.keep_parts();
            Ok(())
        })
    }

    /// Accepts all of `data`; blocks without the GIL while the window is full.
    pub(crate) fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        with_bytes(data, |py, bytes| {
            self.run_until_given_up(py, |upload, watch| upload.write(bytes, watch))?;
            // A writer that never waits has lines for the log all the same.
            show_news(py)?;
            Ok(bytes.len())
        })
    }

    /// Accepts no more bytes; nothing becomes visible.
    fn seal(&self, py: Python<'_>) -> PyResult<()> {
        self.run(py, |upload, _| upload.seal())
    }

    /// Makes the object visible, whole and verified, or raises.
    fn publish(&self, py: Python<'_>) -> PyResult<()> {
        self.published(py).map(drop)
    }

    /// Gives up: cancels, drains and aborts the upload; the previous object stays. Ends another thread's call.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        // Entered first: a handler that is refused must not end the call that it interrupts.
        let _use = InUse::by_this_thread(self)?;
        self.given_up.store(true, Ordering::Relaxed);
        self.run_in_use(py, |upload, watch| upload.abort(watch))
    }

    /// As `abort`, best effort and without raising.
    fn abandon(&self, py: Python<'_>) {
        if self.is_forked() {
            return;
        }
        py.detach(|| {
            let end = SystemClock.now() + ABANDON;
            let is_over = || SystemClock.now() >= end;
            let mut watch = || if is_over() { Err(Error::cancelled("abandon")) } else { Ok(()) };
            if let Ok(mut upload) = self.turn(&mut watch) {
                upload.abandon();
            }
        });
    }
}
