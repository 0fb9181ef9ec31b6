//! Rust errors as Python exceptions.
//!
//! The classes live in `osstorchconnector.errors`; this is the one look upward. The match is exhaustive, so a new
//! kind does not compile until it has a class.

use oss_client::error::{Error, ErrorKind};
use pyo3::exceptions::{PyMemoryError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

fn class_name(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Config => "ConfigError",
        ErrorKind::Credentials => "CredentialsError",
        ErrorKind::PermissionDenied => "PermissionDeniedError",
        ErrorKind::NotFound => "NotFoundError",
        ErrorKind::AlreadyExists => "AlreadyExistsError",
        ErrorKind::EmptyDataset => "EmptyDatasetError",
        ErrorKind::ObjectChanged => "ObjectChangedError",
        ErrorKind::ObjectArchived => "ObjectArchivedError",
        ErrorKind::Throttled => "ThrottledError",
        ErrorKind::RequestTimeout => "RequestTimeoutError",
        ErrorKind::ConnectionFailed => "ConnectionFailedError",
        ErrorKind::Integrity => "IntegrityError",
        ErrorKind::Protocol => "ProtocolError",
        ErrorKind::Listing => "ListingError",
        ErrorKind::Format => "FormatError",
        ErrorKind::Upload { .. } => "UploadError",
        ErrorKind::Closed => "ClosedError",
        ErrorKind::Forked => "ForkedHandleError",
        ErrorKind::Internal | ErrorKind::Cancelled => "InternalError",
        ErrorKind::Service => "ServiceError",
        ErrorKind::OutOfMemory => "MemoryError",
    }
}

/// Makes the exception for `error`; a failure to do so is an exception as well.
pub(crate) fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    if error.kind == ErrorKind::OutOfMemory {
        return PyMemoryError::new_err(error.to_string());
    }
    let origin = error.origin.as_ref().and_then(|origin| origin.downcast_ref::<PyErr>());
    if let Some(wrong) = origin.filter(|origin| origin.is_instance_of::<PyTypeError>(py)) {
        return wrong.clone_ref(py);
    }
    exception(py, error, origin).unwrap_or_else(|failure| failure)
}

/// Whether `raised` is of our own classes, whose texts hold nothing secret.
pub(crate) fn is_ours(py: Python<'_>, raised: &PyErr) -> bool {
    errors(py).and_then(|module| module.getattr("OssError")).is_ok_and(|class| raised.is_instance(py, &class))
}

/// Looks at the classes now. A fork in the middle of a first look would leave it half done in the child, whose first
/// error would then wait for ever.
pub(crate) fn prepare(py: Python<'_>) -> PyResult<()> {
    errors(py).map(drop)
}

fn errors(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    let import = || py.import("osstorchconnector.errors").map(Bound::unbind);
    Ok(ERRORS.get_or_try_init(py, import)?.bind(py))
}

fn exception(py: Python<'_>, error: &Error, origin: Option<&PyErr>) -> PyResult<PyErr> {
    let module = errors(py)?;
    let class = module.getattr(class_name(&error.kind))?;
    let fields = PyDict::new(py);
    fields.set_item("operation", error.operation)?;
    fields.set_item("uri", without_range(&error.uri))?;
    fields.set_item("errno", error.errno)?;
    fields.set_item("elapsed_seconds", error.elapsed_seconds)?;
    if let ErrorKind::Upload { state, upload_id } = &error.kind {
        fields.set_item("state", state.as_str())?;
        fields.set_item("upload_id", upload_id)?;
    }
    let exception = PyErr::from_value(class.call((error.to_string(),), Some(&fields))?);
    if let Some(raised) = origin.and_then(|origin| origin.cause(py)) {
        exception.set_cause(py, Some(raised));
    } else if !error.causes.is_empty() {
        exception.set_cause(py, Some(earlier(module, &error.causes)?));
    }
    Ok(exception)
}

/// The object's URI, without the `[start..end)` that the text shows.
fn without_range(uri: &str) -> &str {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let range = uri.strip_suffix(')').and_then(|open| open.rsplit_once('['));
    let range = range
        .filter(|(_, range)| range.split_once("..").is_some_and(|(start, end)| number(start) && number(end)));
    range.map_or(uri, |(object, _)| object)
}

/// What the attempts before failed with, as the cause of the error: Python prints it above, so that the last line
/// of a traceback is the error itself with its remedy. (A note would be printed below.)
fn earlier(module: &Bound<'_, PyModule>, causes: &[String]) -> PyResult<PyErr> {
    let text = format!("earlier attempts: {}", causes.join("; then "));
    Ok(PyErr::from_value(module.getattr("OssError")?.call1((text,))?))
}

/// Turns results of the engines into results of Python.
pub(crate) trait OrRaise<T> {
    /// The value, or the exception.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for Result<T, Error> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| to_python(py, &error))
    }
}
