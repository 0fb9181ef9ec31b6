//! An index of everything below a prefix, from one listing.

use std::path::Path;

use oss_protocol::uri::ObjectUri;

use super::build::{Patience, build};
use super::builder::{BuildOutcome, Builder};
use super::format::Row;
use crate::cancel::Cancel;
use crate::client::Client;
use crate::crew::Crew;
use crate::error::Error;
use crate::interrupt;
use crate::list::{Found, Progress, Sweep};

/// Lists all keys that begin with `uri.key` into the index file `path`, unless it is there already.
///
/// Rows have the byte order of their keys, over however many requests at a time they came
/// (`list_max_concurrency`). Zero-byte objects are left out and counted; `include_empty` takes those whose key does
/// not end with `/` (the rest are markers for directories). One process of a node lists; the others wait for it.
///
/// # Errors
/// Those of the listing, and of [`build`].
pub fn build_from_listing(
    client: &Client,
    uri: &ObjectUri,
    path: &Path,
    include_empty: bool,
    progress: &Progress,
    patience: &mut Patience<'_>,
) -> Result<BuildOutcome, Error> {
    let limits = &client.config().limits;
    let most = limits.list_max_concurrency.min(limits.max_concurrency);
    let max_concurrency = usize::try_from(most).unwrap_or(1).max(1);
    let crew = Crew::new(limits);
    build(path, patience, |builder, patience| {
        let list = |cancel: &Cancel| {
            let mut left_out_empty = 0;
            Sweep { uri, max_concurrency, crew: &crew, cancel, progress }.run(client, &mut |found| {
                if is_sample(found, include_empty) {
                    return push(builder, &uri.bucket, found);
                }
                left_out_empty += 1;
                Ok(())
            })?;
            Ok(left_out_empty)
        };
        interrupt::run("oss-list", None, patience.clock, patience.watch, list).or_interrupt()
    })
}

fn push(builder: &mut Builder, bucket: &str, found: &Found<'_>) -> Result<(), Error> {
    builder.push(&Row {
        bucket,
        key: found.key,
        range: None,
        size: Some(found.size),
        etag: Some(found.etag).filter(|etag| !etag.is_empty()),
        label: "",
    })
}

fn is_sample(found: &Found<'_>, include_empty: bool) -> bool {
    found.size > 0 || (include_empty && !found.key.ends_with('/'))
}
