//! The buckets of an account.

use oss_client::read::engine::ReadEngine;
use pyo3::prelude::*;

use crate::waiting::without_gil;

/// (name, region, created at, storage class, public endpoint, endpoint inside the region)
pub(crate) type Row = (String, String, Option<f64>, String, String, String);

/// Lists them all.
pub(crate) fn list(py: Python<'_>, engine: &ReadEngine) -> PyResult<Vec<Row>> {
    let found =
        without_gil(py, |watch| engine.call(watch, move |client, cancel| client.list_buckets(cancel)))?;
    #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch are far below 2^52")]
    let row = |bucket: oss_client::operations::ListedBucket| {
        (
            bucket.name,
            bucket.region,
            bucket.created.map(|created| created.0 as f64),
            bucket.storage_class,
            bucket.extranet_endpoint,
            bucket.intranet_endpoint,
        )
    };
    Ok(found.into_iter().map(row).collect())
}
