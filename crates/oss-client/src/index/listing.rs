//! An index of everything below a prefix, from one listing.

use std::path::Path;

use oss_protocol::uri::ObjectUri;

use super::build::{Patience, build};
use super::builder::{BuildOutcome, Builder};
use super::format::Row;
use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::Error;
use crate::interrupt;
use crate::list::ListOptions;
use crate::operations::{ListPage, ListedObject};

/// Lists all keys that begin with `uri.key` into the index file `path`, unless it is there already.
///
/// Rows have the byte order of their keys. Zero-byte objects are left out and counted; `include_empty`
/// takes those whose key does not end with `/` (the rest are markers for directories). One process of a
/// node lists; the others wait for it.
///
/// # Errors
/// Those of the listing, and of [`build`].
pub fn build_from_listing(
    client: &Client,
    uri: &ObjectUri,
    path: &Path,
    include_empty: bool,
    patience: &mut Patience<'_>,
) -> Result<BuildOutcome, Error> {
    build(path, patience, |builder, patience| {
        let list = |cancel: &Cancel| {
            let mut left_out_empty = 0;
            for page in client.list_objects(uri, ListOptions::default(), cancel) {
                left_out_empty += push_page(builder, &uri.bucket, &page?, include_empty)?;
            }
            Ok(left_out_empty)
        };
        interrupt::run("oss-list", None, patience.clock, patience.watch, list).or_interrupt()
    })
}

/// Adds the objects of a page; returns how many it left out.
fn push_page(
    builder: &mut Builder,
    bucket: &str,
    page: &ListPage,
    include_empty: bool,
) -> Result<u64, Error> {
    let mut left_out = 0;
    for object in &page.objects {
        if !is_sample(object, include_empty) {
            left_out += 1;
            continue;
        }
        builder.push(&Row {
            bucket,
            key: &object.key,
            range: None,
            size: Some(object.size),
            etag: Some(&object.etag).filter(|etag| !etag.is_empty()).map(String::as_str),
            label: "",
        })?;
    }
    Ok(left_out)
}

fn is_sample(object: &ListedObject, include_empty: bool) -> bool {
    object.size > 0 || (include_empty && !object.key.ends_with('/'))
}
