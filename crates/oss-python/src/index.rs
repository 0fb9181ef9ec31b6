//! Index files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oss_client::clock::SystemClock;
use oss_client::index::{Patience, Row, build_from_rows, pack, unpack};
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

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

type PyRow = (String, Option<u64>, Option<String>, String);

#[pymethods]
impl Index {
    /// Maps the index file at `path`.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        Self::load(py, &path)
    }

    /// Writes `rows` of (uri, size or None, etag or None, label) to `path` unless it is there; opens it.
    ///
    /// The rows are taken before the file is written, as that waits for other processes without the GIL.
    #[staticmethod]
    fn build(py: Python<'_>, path: PathBuf, rows: &Bound<'_, PyAny>) -> PyResult<Self> {
        let rows = rows
            .try_iter()?
            .map(|row| {
                row?.extract::<PyRow>()
                    .and_then(|(uri, size, etag, label)| Ok((object_uri(py, &uri)?, size, etag, label)))
            })
            .collect::<PyResult<Vec<_>>>()?;
        without_gil(py, |watch| {
            let mut patience = Patience { clock: &SystemClock, deadline: BUILD_PATIENCE, watch };
            build_from_rows(
                &path,
                &mut patience,
                rows.iter().map(|(uri, size, etag, label)| {
                    Ok(Row {
                        bucket: &uri.bucket,
                        key: &uri.key,
                        range: None,
                        size: *size,
                        etag: etag.as_deref(),
                        label,
                    })
                }),
            )
        })?;
        Self::load(py, &path)
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
        if position >= self.inner.rows() {
            return Err(PyIndexError::new_err(format!(
                "position {position} is outside of the index's {} rows",
                self.inner.rows()
            )));
        }
        let row = self.inner.row(position).or_raise(py)?;
        let path = format!("/{}/{}", row.bucket, row.key);
        Ok((path, row.size, row.etag.map(str::to_owned), row.label.to_owned()))
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
    pub(crate) fn load(py: Python<'_>, path: &Path) -> PyResult<Self> {
        let inner = py.detach(|| oss_client::index::Index::open(path)).or_raise(py)?;
        Ok(Self { inner: Arc::new(inner) })
    }
}
