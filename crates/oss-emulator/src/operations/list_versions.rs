//! ListObjectVersions.

use std::sync::Arc;

use oss_protocol::time::UtcTime;
use oss_protocol::xml::Writer;

use crate::operations::attributes::restore_header;
use crate::operations::list_objects::{count, text};
use crate::operations::pages::{Entry, Query, page};
use crate::refusal::Refusal;
use crate::response::Response;
use crate::service::{Call, OWNER_ID};
use crate::store::object::Object;
use crate::store::slot::{Content, Slot, Version};

/// One line of the listing.
enum Line {
    Version { key: String, version: Version, is_latest: bool },
    CommonPrefix(String),
}

/// ListObjectVersions: keys in byte order, the versions of a key newest first.
///
/// # Errors
/// 404 NoSuchBucket; 400 InvalidArgument.
pub(crate) fn list_versions(call: &Call<'_>) -> Result<Response, Refusal> {
    let request = call.request;
    let max = count(request, "max-keys", 100, 1000)?;
    let key_marker = text(request, "key-marker")?;
    let version_marker = text(request, "version-id-marker")?;
    let (prefix, delimiter) = (text(request, "prefix")?, text(request, "delimiter")?);
    let encoding_url = call.encoding_url()?;
    let query = Query { prefix, delimiter, after: key_marker, max: usize::MAX };
    let mut lines = call.store().with(request.bucket_name(), |bucket| {
        let mut lines = Vec::new();
        if let Some(slot) = bucket.slots.get(key_marker).filter(|_| !version_marker.is_empty()) {
            lines.extend(lines_of(key_marker, slot, Some(version_marker)));
        }
        for entry in page(&bucket.slots, &query, |_| true).entries {
            match entry {
                Entry::Key(key, slot) => lines.extend(lines_of(&key, slot, None)),
                Entry::CommonPrefix(prefix) => lines.push(Line::CommonPrefix(prefix)),
            }
        }
        lines
    })?;
    let is_truncated = lines.len() > max as usize;
    lines.truncate(max as usize);
    let mut writer = Writer::new("ListVersionsResult");
    writer.text("Name", request.bucket_name());
    writer.encoding_type(encoding_url);
    writer.coded("Prefix", prefix);
    writer.coded("KeyMarker", key_marker);
    writer.text("VersionIdMarker", version_marker);
    writer.number("MaxKeys", u64::from(max));
    writer.coded("Delimiter", delimiter);
    writer.flag("IsTruncated", is_truncated);
    if is_truncated {
        write_markers(&mut writer, lines.last());
    }
    lines.iter().for_each(|line| write_line(&mut writer, line, call.now_ms()));
    Ok(Response::xml(writer.finish()))
}

fn lines_of(key: &str, slot: &Slot, after: Option<&str>) -> Vec<Line> {
    let newest_first = slot.versions().iter().rev();
    let at = after.and_then(|id| newest_first.clone().position(|version| version.id == id));
    let skip = match (after, at) {
        (None, _) => 0,
        (Some(_), Some(at)) => at + 1,
        (Some(_), None) => slot.versions().len(),
    };
    let numbered = newest_first.enumerate().skip(skip);
    let line = |(n, version): (usize, &Version)| Line::Version {
        key: key.to_owned(),
        version: version.clone(),
        is_latest: n == 0,
    };
    numbered.map(line).collect()
}

fn write_markers(writer: &mut Writer, last: Option<&Line>) {
    match last {
        Some(Line::Version { key, version, .. }) => {
            writer.coded("NextKeyMarker", key);
            writer.text("NextVersionIdMarker", &version.id);
        }
        Some(Line::CommonPrefix(prefix)) => writer.coded("NextKeyMarker", prefix),
        None => {}
    }
}

fn write_line(writer: &mut Writer, line: &Line, now_ms: i64) {
    match line {
        Line::CommonPrefix(prefix) => {
            writer.group("CommonPrefixes", |writer| writer.coded("Prefix", prefix));
        }
        Line::Version { key, version, is_latest } => match &version.content {
            Content::Object(object) => writer.group("Version", |writer| {
                write_head(writer, key, &version.id, *is_latest, object.modified());
                write_object(writer, object, now_ms);
                write_owner(writer);
            }),
            Content::DeleteMarker(at_ms) => writer.group("DeleteMarker", |writer| {
                write_head(writer, key, &version.id, *is_latest, UtcTime(at_ms.div_euclid(1000)));
                write_owner(writer);
            }),
        },
    }
}

fn write_head(writer: &mut Writer, key: &str, id: &str, is_latest: bool, modified: UtcTime) {
    writer.coded("Key", key);
    writer.text("VersionId", id);
    writer.flag("IsLatest", is_latest);
    writer.text("LastModified", &modified.to_iso_extended_millis());
}

fn write_object(writer: &mut Writer, object: &Arc<Object>, now_ms: i64) {
    writer.text("ETag", &object.etag);
    writer.text("Type", object.kind.name());
    writer.number("Size", object.body.size_bytes());
    writer.text("StorageClass", &object.storage_class);
    writer.optional("RestoreInfo", restore_header(object, now_ms).as_deref());
}

fn write_owner(writer: &mut Writer) {
    writer.group("Owner", |writer| {
        writer.text("ID", OWNER_ID);
        writer.text("DisplayName", OWNER_ID);
    });
}
