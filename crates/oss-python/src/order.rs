//! Which row comes at which position of an epoch, and who reads which positions.

use std::collections::BTreeSet;
use std::sync::Arc;

use oss_client::index::order::{Order as Permutation, Ordered, Share as Places};
use oss_client::objects::ObjectSource;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;

/// The order of one epoch over an index: listed, or shuffled by fingerprint, seed and epoch.
#[pyclass(frozen, module = "osstorchconnector._native")]
pub(crate) struct Order {
    rows: u64,
    permutation: Permutation,
}

#[pymethods]
impl Order {
    /// Without a fingerprint the order is that of the index.
    #[new]
    #[pyo3(signature = (rows, fingerprint = None, seed = 0, epoch = 0))]
    fn new(rows: u64, fingerprint: Option<&str>, seed: u64, epoch: u64) -> PyResult<Self> {
        let permutation = match fingerprint {
            None => Permutation::Listed { rows },
            Some(digits) => Permutation::shuffled(rows, number(digits)?, seed, epoch),
        };
        Ok(Self { rows, permutation })
    }

    /// The row at `position`; positions beyond the last begin again at the first.
    fn row_at(&self, position: u64) -> PyResult<u64> {
        let within = position.checked_rem(self.rows);
        within
            .and_then(|within| self.permutation.row_at(within))
            .ok_or_else(|| PyIndexError::new_err("an order of no rows has no position"))
    }
}

impl Order {
    pub(crate) fn over(&self, source: Arc<dyn ObjectSource>) -> Arc<dyn ObjectSource> {
        Arc::new(Ordered::new(source, self.permutation))
    }
}

fn number(digits: &str) -> PyResult<u64> {
    u64::from_str_radix(digits, 16)
        .map_err(|_| PyValueError::new_err(format!("a fingerprint is 16 hexadecimal digits, not {digits:?}")))
}

/// The positions that one worker of one rank reads, as numbers and not as a list.
#[pyclass(frozen, module = "osstorchconnector._native")]
pub(crate) struct Share {
    places: Places,
    start: u64,
    stop: u64,
    without: BTreeSet<u64>,
}

#[pymethods]
impl Share {
    /// Places `start..stop` of the share, but those in `without`.
    #[new]
    #[pyo3(signature = (first, step, run, worker, workers, start, stop, without = None))]
    #[expect(clippy::too_many_arguments, reason = "five numbers name a share, three what of it is left")]
    fn new(
        first: u64,
        step: u64,
        run: u64,
        worker: u64,
        workers: u64,
        start: u64,
        stop: u64,
        without: Option<Vec<u64>>,
    ) -> PyResult<Self> {
        if run == 0 || workers == 0 {
            return Err(PyValueError::new_err("a share has workers, and runs of at least one position"));
        }
        let places = Places { first, step, run, worker, workers };
        Ok(Self { places, start, stop, without: without.unwrap_or_default().into_iter().collect() })
    }
}

impl Share {
    pub(crate) fn positions(&self) -> Box<dyn Iterator<Item = u64> + Send> {
        let (places, without) = (self.places.clone(), self.without.clone());
        let left = (self.start..self.stop).filter(move |place| !without.contains(place));
        Box::new(left.map(move |place| places.position_at(place)))
    }
}
