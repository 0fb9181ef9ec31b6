//! Uploads in parts.

use oss_protocol::operation::Operation;
use oss_protocol::time::UtcTime;
use oss_protocol::uri::ObjectUri;
use oss_protocol::xml::{
    CompleteMultipartUpload, CompleteMultipartUploadResult, CompletedPart, Document,
    InitiateMultipartUploadResult, ListMultipartUploadsResult, ListPartsResult,
};

use super::objects::{as_pairs, on};
use super::{
    ListedPart, ListedUpload, PutOptions, UploadPart, UploadedPart, UploadsPage, Written, crc64, document,
    from_oss, owned, written,
};
use crate::cancel::Cancel;
use crate::client::Client;
use crate::config::Verify;
use crate::error::{Error, ErrorKind};
use crate::transport::{Answer, BadAnswer, Request};

/// Pages of a parts listing: 10,000 parts at 1000 a page, with room for a service that gives fewer.
const MAX_PAGES: usize = 10_000;

impl Client {
    /// Begins a multipart upload and returns its id.
    ///
    /// # Errors
    /// What the transport gave up with.
    pub fn initiate_multipart_upload(
        &self,
        uri: &ObjectUri,
        options: &PutOptions,
        cancel: &Cancel,
    ) -> Result<String, Error> {
        let headers = options.headers();
        let signed = as_pairs(&headers);
        let mut request = on(Operation::InitiateMultipartUpload, "POST", uri);
        request.query = &[("uploads", "")];
        request.signed = &signed;
        let accept = |answer: &Answer| {
            let begun: InitiateMultipartUploadResult = document(answer)?;
            if begun.upload_id.is_empty() {
                return Err(BadAnswer::Protocol("the answer names no upload".to_owned()));
            }
            Ok(begun.upload_id)
        };
        Ok(self.transport(request.label)?.execute(&request, cancel, accept)?.0)
    }

    /// Uploads one part; a part whose CRC-64 comes back different is sent again, three times at most.
    ///
    /// # Errors
    /// `NotFound` (the upload is gone), `Integrity`, or what the transport gave up with.
    pub fn upload_part(&self, part: &UploadPart<'_>, cancel: &Cancel) -> Result<UploadedPart, Error> {
        let number = part.part_number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", part.upload_id)];
        let mut request = on(Operation::UploadPart, "PUT", part.uri);
        request.query = &query;
        request.body = part.body;
        let transport = self.transport(request.label)?;
        let verify = self.config().verify;
        let accept = |answer: &Answer| {
            let etag = owned(answer, "etag").filter(|etag| !etag.is_empty());
            let etag = etag.ok_or_else(|| BadAnswer::Protocol("the answer has no ETag".to_owned()))?;
            let theirs = crc64(answer);
            check_part(part, theirs, verify)?;
            Ok((etag, theirs))
        };
        let ((etag, theirs), answer) = transport.execute(&request, cancel, accept)?;
        transport.count_crc(theirs.is_some() && verify != Verify::Off);
        Ok(UploadedPart { part_number: part.part_number, etag, crc64: theirs, attempts: answer.attempts })
    }

    /// Makes the uploaded parts one object. Of `options`, `if_absent` and `on_ambiguous` matter here.
    ///
    /// # Errors
    /// As [`Client::put_object`]; also a 200 whose body is an error, as that error with `ambiguous` set.
    pub fn complete_multipart_upload(
        &self,
        uri: &ObjectUri,
        upload_id: &str,
        parts: &[UploadedPart],
        options: &PutOptions,
        cancel: &Cancel,
    ) -> Result<Written, Error> {
        let mut parts: Vec<_> = parts.iter().map(completed).collect();
        parts.sort_by_key(|part| part.part_number);
        let body = CompleteMultipartUpload { parts }.encode();
        let query = [("uploadId", upload_id)];
        let mut signed = vec![("content-type", "application/xml")];
        if options.if_absent {
            signed.push(("x-oss-forbid-overwrite", "true"));
        }
        let mut request = on(Operation::CompleteMultipartUpload, "POST", uri);
        let pieces = [body.as_slice()];
        request.query = &query;
        request.signed = &signed;
        request.body = &pieces;
        request.on_ambiguous = options.on_ambiguous;
        let accept = |answer: &Answer| document::<CompleteMultipartUploadResult>(answer);
        let (result, answer) = self.transport(request.label)?.execute(&request, cancel, accept)?;
        Ok(written(&answer, Some(result.etag).filter(|etag| !etag.is_empty())))
    }

    /// Drops an upload and the parts the service has by now. An upload that is gone is success.
    ///
    /// True if this dropped it: it had not become an object, and no request can make it one any more. False if it
    /// was gone, be it by an earlier attempt of this very call.
    ///
    /// # Errors
    /// What the transport gave up with.
    pub fn abort_multipart_upload(
        &self,
        uri: &ObjectUri,
        upload_id: &str,
        cancel: &Cancel,
    ) -> Result<bool, Error> {
        let query = [("uploadId", upload_id)];
        let mut request = on(Operation::AbortMultipartUpload, "DELETE", uri);
        request.query = &query;
        match self.transport(request.label)?.execute(&request, cancel, from_oss) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lists all parts of an upload, page by page.
    ///
    /// # Errors
    /// `NotFound` (the upload is gone), `Listing`, or what the transport gave up with.
    pub fn list_parts(
        &self,
        uri: &ObjectUri,
        upload_id: &str,
        cancel: &Cancel,
    ) -> Result<Vec<ListedPart>, Error> {
        let mut parts: Vec<ListedPart> = Vec::new();
        let mut marker = String::new();
        for _ in 0..MAX_PAGES {
            let query =
                [("max-parts", "1000"), ("uploadId", upload_id), ("part-number-marker", marker.as_str())];
            let mut request = on(Operation::ListParts, "GET", uri);
            request.query = &query[..if marker.is_empty() { 2 } else { 3 }];
            let accept = |answer: &Answer| document::<ListPartsResult>(answer);
            let page = self.transport(request.label)?.execute(&request, cancel, accept)?.0;
            let last = parts.last().map_or(0, |part| part.part_number);
            parts.extend(page.parts.into_iter().map(|part| ListedPart {
                part_number: part.part_number,
                etag: part.etag,
                size: part.size,
                crc64: part.hash_crc64,
            }));
            if !page.is_truncated {
                return Ok(parts);
            }
            let next = page.next_part_number_marker.unwrap_or(0);
            if next <= last {
                break;
            }
            marker = next.to_string();
        }
        let text = "the listing of parts runs in a circle; something between us and OSS changes listings";
        Err(Error::new(ErrorKind::Listing, "ListParts", text).with_uri(uri.to_string()))
    }

    /// Asks for one page of the uploads whose keys begin with `uri.key`; `after` is the `next` of the last page.
    ///
    /// # Errors
    /// `Listing` when the page says that there is more but not where, or what the transport gave up with.
    pub fn list_multipart_uploads(
        &self,
        uri: &ObjectUri,
        after: Option<&(String, String)>,
        cancel: &Cancel,
    ) -> Result<UploadsPage, Error> {
        let mut query = vec![
            ("encoding-type", "url"),
            ("max-uploads", "1000"),
            ("prefix", uri.key.as_str()),
            ("uploads", ""),
        ];
        if let Some((key, upload_id)) = after {
            query.extend([("key-marker", key.as_str()), ("upload-id-marker", upload_id.as_str())]);
        }
        let mut request = Request::new(Operation::ListMultipartUploads, "GET", Some(&uri.bucket), None);
        request.query = &query;
        request.body_limit = ListMultipartUploadsResult::MAX_BYTES;
        let accept = |answer: &Answer| document::<ListMultipartUploadsResult>(answer);
        let page = self.transport(request.label)?.execute(&request, cancel, accept)?.0;
        let next = page.is_truncated.then_some((page.next_key_marker, page.next_upload_id_marker));
        if next.as_ref().is_some_and(|next| next.0.is_empty() || Some(next) == after) {
            let text = "a page of uploads says that there is more, but not where";
            return Err(Error::new(ErrorKind::Listing, request.label, text).with_uri(uri.to_string()));
        }
        let uploads = page.uploads.into_iter().map(|upload| ListedUpload {
            key: upload.key,
            upload_id: upload.upload_id,
            initiated: UtcTime::parse_iso8601(&upload.initiated).ok(),
        });
        Ok(UploadsPage { uploads: uploads.collect(), next })
    }
}

fn completed(part: &UploadedPart) -> CompletedPart {
    CompletedPart { part_number: part.part_number, etag: part.etag.clone() }
}

/// Compares the service's checksum of a part with ours.
fn check_part(part: &UploadPart<'_>, theirs: Option<u64>, verify: Verify) -> Result<(), BadAnswer> {
    match theirs {
        Some(theirs) if theirs != part.crc64 && verify != Verify::Off => Err(BadAnswer::Integrity(format!(
            "part {} arrived with CRC-64 {theirs}, ours is {}; something damages data on the way",
            part.part_number, part.crc64
        ))),
        None if verify == Verify::Require => Err(BadAnswer::Integrity(
            "the service sent no CRC-64 for a part, and verify=\"require\" asks for one".to_owned(),
        )),
        _ => Ok(()),
    }
}
