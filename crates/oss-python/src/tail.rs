//! An index that is still being listed.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use oss_client::index::Row;
use oss_client::objects::ObjectSource;
use pyo3::exceptions::PyIndexError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;

use crate::errors::OrRaise;
use crate::index::{Index, PyNames, PyRow, py_names, py_row};
use crate::order::Order;
use crate::waiting::without_gil;

/// The rows that a listing has written so far, whichever process lists.
#[pyclass(frozen, module = "osstorchconnector._native")]
pub(crate) struct Tail(Mutex<oss_client::index::Tail>);

#[pymethods]
impl Tail {
    /// Reads along with whoever writes the index file `path`, a listing of `bucket`; None if nobody does. Pieces end
    /// with a round of so many rows.
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf, bucket: &str, rows_of_round: u64) -> PyResult<Option<Self>> {
        let opened = oss_client::index::Tail::open(&path, bucket, rows_of_round).or_raise(py)?;
        Ok(opened.map(|tail| Self(Mutex::new(tail))))
    }

    /// The rows that came since the last piece; None if there are none.
    fn next_piece(&self, py: Python<'_>) -> PyResult<Option<Piece>> {
        let mut guard = self.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let tail = &mut *guard;
        let piece = without_gil(py, |_| tail.next_piece())?;
        Ok((piece.rows() > 0).then(|| Piece { inner: Arc::new(piece) }))
    }

    /// Whether the rows read so far are the first ones of `index`.
    fn is_beginning_of(&self, py: Python<'_>, index: &Index) -> PyResult<bool> {
        let guard = self.0.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let tail = &*guard;
        without_gil(py, |_| tail.is_beginning_of(&index.inner))
    }
}

/// Some rows of an index that is still being listed.
#[pyclass(frozen, module = "osstorchconnector._native")]
pub(crate) struct Piece {
    inner: Arc<oss_client::index::Piece>,
}

#[pymethods]
impl Piece {
    /// How many rows of the index are known with this piece: the position behind its last row.
    #[getter]
    fn end(&self) -> u64 {
        self.inner.count()
    }

    /// The row at `position` of the index: ("/bucket/key", size or None, etag or None, label).
    fn row(&self, position: u64) -> PyResult<PyRow> {
        Ok(py_row(&self.at(position)?))
    }

    /// Path and label of the row at `position` of the index: ("/bucket/key", label).
    fn names(&self, py: Python<'_>, position: u64) -> PyResult<PyNames> {
        Ok(py_names(py, &self.at(position)?))
    }
}

impl Piece {
    fn at(&self, position: u64) -> PyResult<Row<'_>> {
        self.inner.row(position).ok_or_else(|| {
            let (first, end) = (self.inner.first(), self.inner.count());
            PyIndexError::new_err(format!("position {position} is outside of this piece, {first}..{end}"))
        })
    }
}

/// Where objects are fetched ahead from.
#[derive(FromPyObject)]
pub(crate) enum Rows<'py> {
    /// All of a prefix.
    Index(PyRef<'py, Index>),
    /// Some of it.
    Piece(PyRef<'py, Piece>),
}

impl Rows<'_> {
    /// The rows at the places of `order`, or in their own.
    pub(crate) fn ordered(&self, order: Option<&Order>) -> Arc<dyn ObjectSource> {
        let source: Arc<dyn ObjectSource> = match self {
            Rows::Index(index) => Arc::<oss_client::index::Index>::clone(&index.inner),
            Rows::Piece(piece) => Arc::<oss_client::index::Piece>::clone(&piece.inner),
        };
        order.map_or_else(|| Arc::clone(&source), |order| order.over(Arc::clone(&source)))
    }
}
