//! ListParts and ListMultipartUploads.

use std::collections::BTreeMap;

use oss_protocol::time::UtcTime;
use oss_protocol::xml::{Document, ListMultipartUploadsResult, ListPartsResult, ListedPart, ListedUpload};

use crate::operations::list_objects::{count, text};
use crate::operations::multipart::upload_id;
use crate::operations::pages::{Query, group_of};
use crate::refusal::Refusal;
use crate::response::Response;
use crate::service::Call;
use crate::store::upload::{Part, Upload};

/// Most entries of a page, and as many if the client names no number.
const MAX_ENTRIES: u32 = 1000;

/// ListParts.
///
/// # Errors
/// 404 NoSuchUpload; 400 InvalidArgument.
pub(crate) fn list_parts(call: &Call<'_>) -> Result<Response, Refusal> {
    let request = call.request;
    let (name, key) = request.place();
    let max_parts = count(request, "max-parts", MAX_ENTRIES, MAX_ENTRIES)?;
    let marker = request.parameter("part-number-marker").filter(|text| !text.is_empty());
    let bad = |_| Refusal::invalid_argument("part-number-marker must be an integer between 0 and 10000.");
    let marker: u32 = marker.map_or(Ok(0), str::parse).map_err(bad)?;
    let place = (key.to_owned(), upload_id(request).to_owned());
    let mut result = ListPartsResult {
        bucket: name.to_owned(),
        key: key.to_owned(),
        upload_id: place.1.clone(),
        encoding_url: call.encoding_url()?,
        part_number_marker: Some(marker),
        max_parts: Some(max_parts),
        ..ListPartsResult::default()
    };
    call.store().with(name, |bucket| {
        let upload = bucket.uploads.get(&place).filter(|upload| upload.is_visible());
        let upload = upload.ok_or_else(|| Refusal::no_such_upload(&place.1))?;
        let mut parts = upload.parts.range(marker.saturating_add(1)..);
        result.storage_class = Some(upload.template.storage_class.clone());
        result.parts = parts.by_ref().take(max_parts as usize).map(listed_part).collect();
        result.is_truncated = parts.next().is_some();
        result.next_part_number_marker = Some(result.parts.last().map_or(marker, |part| part.part_number));
        Ok(Response::xml(result.encode()))
    })?
}

fn listed_part((number, part): (&u32, &Part)) -> ListedPart {
    ListedPart {
        part_number: *number,
        last_modified: iso(part.modified_ms),
        etag: part.received.etag(),
        hash_crc64: Some(part.received.crc64),
        size: part.received.body.size_bytes(),
    }
}

/// ListMultipartUploads: by key, the uploads of a key by their id.
///
/// # Errors
/// 404 NoSuchBucket; 400 InvalidArgument.
pub(crate) fn list_uploads(call: &Call<'_>) -> Result<Response, Refusal> {
    let request = call.request;
    let max_uploads = count(request, "max-uploads", MAX_ENTRIES, MAX_ENTRIES)?;
    let key_marker = text(request, "key-marker")?;
    let query = Query {
        prefix: text(request, "prefix")?,
        delimiter: text(request, "delimiter")?,
        after: key_marker,
        max: max_uploads as usize,
    };
    let mut result = ListMultipartUploadsResult {
        bucket: request.bucket_name().to_owned(),
        prefix: query.prefix.to_owned(),
        delimiter: query.delimiter.to_owned(),
        encoding_url: call.encoding_url()?,
        key_marker: key_marker.to_owned(),
        upload_id_marker: request.parameter("upload-id-marker").unwrap_or_default().to_owned(),
        max_uploads: Some(max_uploads),
        ..ListMultipartUploadsResult::default()
    };
    call.store().with(request.bucket_name(), |bucket| fill(&mut result, &bucket.uploads, &query))?;
    Ok(Response::xml(result.encode()))
}

fn fill(
    result: &mut ListMultipartUploadsResult,
    uploads: &BTreeMap<(String, String), Upload>,
    query: &Query<'_>,
) {
    for ((key, id), upload) in uploads.iter().filter(|(_, upload)| upload.is_visible()) {
        let begins_later = match result.upload_id_marker.as_str() {
            "" => key.as_str() > query.after,
            marker => (key.as_str(), id.as_str()) > (query.after, marker),
        };
        if !key.starts_with(query.prefix) || !begins_later {
            continue;
        }
        let group = group_of(key, query);
        let is_known = |group| result.common_prefixes.last().is_some_and(|last| last == group);
        if group.is_some_and(|group| is_known(group) || group == query.after) {
            continue;
        }
        if result.uploads.len() + result.common_prefixes.len() == query.max {
            result.is_truncated = true;
            return;
        }
        match group {
            Some(group) => {
                result.common_prefixes.push(group.to_owned());
                group.clone_into(&mut result.next_key_marker);
                result.next_upload_id_marker.clear();
            }
            None => {
                result.uploads.push(listed_upload(key, id, upload));
                result.next_key_marker.clone_from(key);
                result.next_upload_id_marker.clone_from(id);
            }
        }
    }
}

fn listed_upload(key: &str, id: &str, upload: &Upload) -> ListedUpload {
    ListedUpload {
        key: key.to_owned(),
        upload_id: id.to_owned(),
        initiated: iso(upload.initiated_ms),
        storage_class: upload.template.storage_class.clone(),
    }
}

fn iso(unix_ms: i64) -> String {
    UtcTime(unix_ms.div_euclid(1000)).to_iso_extended_millis()
}
