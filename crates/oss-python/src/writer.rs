//! Bytes on their way into one object.

use std::sync::{Mutex, PoisonError};

use oss_client::client::Client;
use oss_client::error::{Error, ErrorKind};
use oss_client::fork;
use oss_client::interrupt::Watch;
use oss_client::write::{Upload, UploadOptions};
use oss_protocol::uri::ObjectUri;
use pyo3::prelude::*;

use crate::buffer::with_bytes;
use crate::waiting::without_gil;

/// Bytes on their way into one object; visible only by `publish`.
#[pyclass(frozen, module = "osstorchconnector._native")]
pub(crate) struct Writer {
    uri: String,
    /// The process that opened it. Outside of the lock: a thread of the parent may have held that at the fork.
    generation: u32,
    inner: Mutex<Upload>,
}

impl Writer {
    pub(crate) fn open(client: &Client, uri: ObjectUri, options: UploadOptions) -> Self {
        Self {
            uri: uri.to_string(),
            generation: fork::generation(),
            inner: Mutex::new(Upload::new(client, uri, options)),
        }
    }

    /// Runs `work` on the upload without the GIL; other threads wait their turn.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&mut Upload, Watch<'_>) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        without_gil(py, |watch| {
            if self.is_forked() {
                let text = "the writer was opened in the parent process; open it in this one";
                return Err(Error::new(ErrorKind::Forked, "write", text).with_uri(&self.uri));
            }
            work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner), watch)
        })
    }

    /// What `look` sees of the upload; `dead` in a forked child.
    fn look<T: Send>(&self, py: Python<'_>, dead: T, look: impl FnOnce(&Upload) -> T + Send) -> T {
        if self.is_forked() {
            return dead;
        }
        py.detach(|| look(&self.inner.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Publishes; the ETag of what is visible now, if the service said it.
    pub(crate) fn published(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.run(py, |upload, watch| upload.publish(watch).map(|written| written.etag))
    }

    fn is_forked(&self) -> bool {
        self.generation != fork::generation()
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
    fn bytes_accepted(&self, py: Python<'_>) -> u64 {
        self.look(py, 0, Upload::accepted_bytes)
    }

    /// CRC-64 of the bytes taken so far.
    #[getter]
    fn crc64(&self, py: Python<'_>) -> u64 {
        self.look(py, 0, Upload::crc64)
    }

    /// Where the upload is, in one word.
    #[getter]
    fn state(&self, py: Python<'_>) -> &'static str {
        self.look(py, "aborted", |upload| upload.stage().as_str())
    }

    /// True in a child process that inherited this writer.
    #[getter]
    fn forked(&self) -> bool {
        self.is_forked()
    }

    /// Accepts all of `data`; blocks without the GIL while the window is full.
    pub(crate) fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        with_bytes(data, |py, bytes| {
            self.run(py, |upload, watch| upload.write(bytes, watch))?;
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

    /// Gives up: cancels, drains and aborts the upload; the previous object stays.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self.run(py, |upload, watch| upload.abort(watch))
    }

    /// As `abort`, best effort and without raising.
    fn abandon(&self, py: Python<'_>) {
        if !self.is_forked() {
            py.detach(|| self.inner.lock().unwrap_or_else(PoisonError::into_inner).abandon());
        }
    }
}
