//! Uploads that were begun and never ended.

use std::time::Duration;

use oss_client::read::engine::ReadEngine;
use oss_client::write::abandoned_uploads;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::arguments::{object_uri, prefix_uri};
use crate::waiting::without_gil;

/// (uri, upload id, begun at, age in seconds, parts, bytes, whose by its shape)
pub(crate) type Row = (String, String, f64, u64, usize, u64, &'static str);

/// Lists them below a prefix.
pub(crate) fn find(
    py: Python<'_>,
    engine: &ReadEngine,
    prefix: &str,
    older_than_seconds: f64,
) -> PyResult<Vec<Row>> {
    let prefix = prefix_uri(py, prefix)?;
    let older_than = Duration::try_from_secs_f64(older_than_seconds)
        .map_err(|error| PyValueError::new_err(format!("older_than_seconds: {error}")))?;
    let found = without_gil(py, |watch| {
        engine.call(watch, move |client, cancel| abandoned_uploads(client, &prefix, older_than, cancel))
    })?;
    #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch are far below 2^52")]
    let row = |upload: oss_client::write::AbandonedUpload| {
        (
            upload.uri.to_string(),
            upload.upload_id,
            upload.initiated.0 as f64,
            upload.age_seconds,
            upload.part_count,
            upload.size_bytes,
            upload.shape.as_str(),
        )
    };
    Ok(found.into_iter().map(row).collect())
}

/// Drops one.
pub(crate) fn remove(py: Python<'_>, engine: &ReadEngine, uri: &str, upload_id: String) -> PyResult<()> {
    let uri = object_uri(py, uri)?;
    without_gil(py, |watch| {
        engine.call(watch, move |client, cancel| {
            client.abort_multipart_upload(&uri, &upload_id, cancel).map(drop)
        })
    })
}
