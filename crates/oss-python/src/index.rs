//! Index files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oss_client::clock::SystemClock;
use oss_client::error::Error;
use oss_client::index::{Patience, Row, build, pack, unpack};
use oss_protocol::uri::ObjectUri;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyIterator, PyString};

use crate::arguments::object_uri;
use crate::errors::OrRaise;
use crate::waiting::without_gil;

/// The longest wait for another process that writes the same index and makes no progress.
const BUILD_PATIENCE: Duration = Duration::from_secs(180);

/// A read-only, memory-mapped index file: which objects, in which order.
#[pyclass(frozen, module = "osstorchconnector._native")]
pub(crate) struct Index {
    pub(crate) inner: Arc<oss_client::index::Index>,
}

/// The longest wait for another process whose user's code, a parser say, gives no rows: 30 minutes. It may have to
/// fetch them from somewhere slow.
const ROWS_PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Rows that are taken from Python while the GIL is held.
const ROWS_A_TURN: usize = 1000;

/// ("/bucket/key", size or None, etag or None, label)
pub(crate) type PyRow = (String, Option<u64>, Option<String>, String);

/// A row that came from Python.
struct GivenRow {
    uri: ObjectUri,
    size: Option<u64>,
    etag: Option<String>,
    label: String,
}

impl GivenRow {
    fn as_row(&self) -> Row<'_> {
        Row {
            bucket: &self.uri.bucket,
            key: &self.uri.key,
            range: None,
            size: self.size,
            etag: self.etag.as_deref(),
            label: &self.label,
        }
    }
}

/// Takes the next rows; fewer than [`ROWS_A_TURN`] at the end only.
fn take_rows(rows: &Bound<'_, PyIterator>) -> PyResult<Vec<GivenRow>> {
    let py = rows.py();
    let next = rows.clone().take(ROWS_A_TURN);
    next.map(|row| {
        let (uri, size, etag, label) = row?.extract::<PyRow>()?;
        Ok(GivenRow { uri: object_uri(py, &uri)?, size, etag, label })
    })
    .collect()
}

/// A row as Python sees it.
pub(crate) fn py_row(row: &Row<'_>) -> PyRow {
    let path = format!("/{}/{}", row.bucket, row.key);
    (path, row.size, row.etag.map(str::to_owned), row.label.to_owned())
}

/// What a delivered object is called: its path, and its label.
pub(crate) type PyNames = (Py<PyString>, Py<PyString>);

/// The names of a row, without the rest of it: every object that is delivered passes here.
pub(crate) fn py_names(py: Python<'_>, row: &Row<'_>) -> PyNames {
    let path = ["/", row.bucket, "/", row.key].concat();
    (PyString::new(py, &path).unbind(), PyString::new(py, row.label).unbind())
}

#[pymethods]
impl Index {
    /// Maps the index file at `path`.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Self::load(py, &path)
    }

    /// Writes `rows` of (uri, size or None, etag or None, label) to `path` unless it is there; opens it.
    ///
    /// The rows are taken a thousand at a time, with the GIL, and only if they are to be written: a manifest is
    /// parsed once a node, and costs no memory.
    #[staticmethod]
    fn build(py: Python<'_>, path: PathBuf, rows: &Bound<'_, PyAny>) -> PyResult<Self> {
        let rows = rows.try_iter()?.unbind();
        let mut raised = None;
        let built = without_gil(py, |watch| {
            let mut patience = Patience { clock: &SystemClock, deadline: ROWS_PATIENCE, watch };
            build(&path, &mut patience, |builder, patience| {
                loop {
                    let taken = Python::attach(|py| take_rows(rows.bind(py)));
                    let taken = taken.map_err(|exception| {
                        raised = Some(exception);
                        Error::cancelled("index")
                    })?;
                    taken.iter().try_for_each(|row| builder.push(&row.as_row()))?;
                    (patience.watch)()?;
                    if taken.len() < ROWS_A_TURN {
                        return Ok(0);
                    }
                }
            })
        });
        match raised {
            Some(exception) => Err(exception),
            None => built.and_then(|_| Self::load(py, &path)),
        }
    }

    /// Writes what `pack` returned to `path` unless it is there; opens it.
    #[staticmethod]
    fn unpack(py: Python<'_>, data: PyBackedBytes, path: PathBuf) -> PyResult<Self> {
        without_gil(py, |watch| {
            let mut patience = Patience { clock: &SystemClock, deadline: BUILD_PATIENCE, watch };
            unpack(&data, &path, &mut patience)
        })?;
        Self::load(py, &path)
    }

    /// The index in a form to send or store: front-coded and compressed.
    fn pack<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let packed = without_gil(py, |watch| pack(&self.inner, watch))?;
        Ok(PyBytes::new(py, &packed))
    }

    fn __len__(&self) -> usize {
        usize::try_from(self.inner.rows()).unwrap_or(usize::MAX)
    }

    /// The row at `position`: ("/bucket/key", size or None, etag or None, label).
    fn row(&self, py: Python<'_>, position: u64) -> PyResult<PyRow> {
        Ok(py_row(&self.at(py, position)?))
    }

    /// Path and label of the row at `position`: ("/bucket/key", label).
    fn names(&self, py: Python<'_>, position: u64) -> PyResult<PyNames> {
        Ok(py_names(py, &self.at(py, position)?))
    }

    /// A hash of all rows in their order, as 16 hexadecimal digits.
    #[getter]
    fn fingerprint(&self) -> String {
        format!("{:016x}", self.inner.fingerprint())
    }

    /// Zero-byte objects that the listing found and the index leaves out.
    #[getter]
    fn left_out_empty(&self) -> u64 {
        self.inner.left_out_empty()
    }
}

impl Index {
    fn at(&self, py: Python<'_>, position: u64) -> PyResult<Row<'_>> {
        if position >= self.inner.rows() {
            return Err(PyIndexError::new_err(format!(
                "position {position} is outside of the index's {} rows",
                self.inner.rows()
            )));
        }
        self.inner.row(position).or_raise(py)
    }

    pub(crate) fn load(py: Python<'_>, path: &Path) -> PyResult<Self> {
        let inner = py.detach(|| oss_client::index::Index::open(path)).or_raise(py)?;
        Ok(Self { inner: Arc::new(inner) })
    }
}
