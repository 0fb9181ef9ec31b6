//! Single objects: get, head, put, copy, delete.

use oss_protocol::operation::Operation;
use oss_protocol::uri::ObjectUri;

use super::copies::copy_source;
use super::{
    BodySink, GetObject, GotObject, ObjectInfo, PutOptions, Written, crc64, document, from_oss, http_date,
    owned, written,
};
use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::transport::{Answer, BadAnswer, Request};

impl Client {
    /// Reads an object, or a range of it, straight into `sink`.
    ///
    /// Repeats by policy and resumes in mid-body at the last byte received, on the same version. A whole
    /// object read by one call is compared with the service's CRC-64 before this returns.
    ///
    /// # Errors
    /// `NotFound`, `ObjectChanged` (the pinned version is gone), `Integrity`, `Protocol`, or what the
    /// transport gave up with. The sink's memory then holds unspecified bytes.
    pub fn get_object(
        &self,
        get: &GetObject<'_>,
        sink: &mut dyn BodySink,
        cancel: &Cancel,
    ) -> Result<GotObject, Error> {
        match self.transport(get.operation)?.fetch(get, sink, cancel) {
            Err(error) if error.status == Some(416) => self.settle_range(get, sink, cancel, error),
            outcome => outcome,
        }
    }

    /// A range that the object does not have: it is empty, or it shrank.
    fn settle_range(
        &self,
        get: &GetObject<'_>,
        sink: &mut dyn BodySink,
        cancel: &Cancel,
        refusal: Error,
    ) -> Result<GotObject, Error> {
        let info = self.head_object(get.uri, cancel)?;
        if info.size == 0 && get.first_range && get.size.is_none_or(|size| size == 0) {
            sink.begin(0)?;
            let ObjectInfo { etag, crc64, last_modified, content_type, .. } = info;
            let attempts = refusal.attempts + 1;
            let object_crc64 = crc64;
            return Ok(GotObject {
                etag,
                object_crc64,
                attempts,
                last_modified,
                content_type,
                ..GotObject::default()
            });
        }
        let text = format!("the object has {} bytes now, the range lies outside; list again", info.size);
        let mut error = Error::new(ErrorKind::ObjectChanged, get.operation, text)
            .with_uri(refusal.uri.clone())
            .with_effort(refusal.attempts + 1, refusal.elapsed_seconds);
        error.status = refusal.status;
        error.code.clone_from(&refusal.code);
        error.request_id.clone_from(&refusal.request_id);
        Err(error)
    }

    /// Asks for an object's size, version and metadata.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, or what the transport gave up with.
    pub fn head_object(&self, uri: &ObjectUri, cancel: &Cancel) -> Result<ObjectInfo, Error> {
        let request = on(Operation::HeadObject, "HEAD", uri);
        let accept = |answer: &Answer| object_info(answer);
        Ok(self.transport(request.label)?.execute(&request, cancel, accept)?.0)
    }

    /// Writes an object with one request. The previous object stays until the service has all bytes.
    ///
    /// The checksum of the answer is returned, not compared.
    ///
    /// # Errors
    /// `AlreadyExists` (with `if_absent`), or what the transport gave up with; `ambiguous` and `own_repeat`
    /// say what is known about the object.
    pub fn put_object(
        &self,
        uri: &ObjectUri,
        body: &[&[u8]],
        options: &PutOptions,
        cancel: &Cancel,
    ) -> Result<Written, Error> {
        let headers = options.headers();
        let signed = as_pairs(&headers);
        let mut request = on(Operation::PutObject, "PUT", uri);
        request.signed = &signed;
        request.body = body;
        request.on_ambiguous = options.on_ambiguous;
        let (_, answer) = self.transport(request.label)?.execute(&request, cancel, from_oss)?;
        Ok(written(&answer, None))
    }

    /// Copies an object within the region, at most 1 GB.
    ///
    /// # Errors
    /// `NotFound` (source), `AlreadyExists`, or what the transport gave up with.
    pub fn copy_object(
        &self,
        source: &ObjectUri,
        target: &ObjectUri,
        options: &PutOptions,
        cancel: &Cancel,
    ) -> Result<Written, Error> {
        let mut headers = options.headers();
        headers.retain(|(name, _)| name == "x-oss-forbid-overwrite" || name == "x-oss-storage-class");
        headers.push(("x-oss-copy-source".to_owned(), copy_source(source)));
        let signed = as_pairs(&headers);
        let mut request = on(Operation::CopyObject, "PUT", target);
        request.signed = &signed;
        request.on_ambiguous = options.on_ambiguous;
        let accept = |answer: &Answer| document::<oss_protocol::xml::CopyObjectResult>(answer);
        let (copied, answer) = self.transport(request.label)?.execute(&request, cancel, accept)?;
        Ok(written(&answer, Some(copied.etag)))
    }

    /// Deletes an object, or one version of it. An object that is not there is success.
    ///
    /// # Errors
    /// What the transport gave up with.
    pub fn delete_object(
        &self,
        uri: &ObjectUri,
        version_id: Option<&str>,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let query = version_id.map(|version| [("versionId", version)]);
        let mut request = on(Operation::DeleteObject, "DELETE", uri);
        request.query = query.as_ref().map_or(&[], |pairs| pairs.as_slice());
        self.transport(request.label)?.execute(&request, cancel, from_oss)?;
        Ok(())
    }
}

/// A request about one object.
pub(super) fn on<'a>(operation: Operation, method: &'static str, uri: &'a ObjectUri) -> Request<'a> {
    Request::new(operation, method, Some(&uri.bucket), Some(&uri.key))
}

/// Borrows a header list.
pub(super) fn as_pairs(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

impl PutOptions {
    /// The headers that these options mean; values are trimmed, as they are signed.
    pub(super) fn headers(&self) -> Vec<(String, String)> {
        let content_type = self.content_type.as_deref().unwrap_or("application/octet-stream");
        let mut headers = vec![("content-type".to_owned(), content_type.trim().to_owned())];
        if self.if_absent {
            headers.push(("x-oss-forbid-overwrite".to_owned(), "true".to_owned()));
        }
        if let Some(class) = &self.storage_class {
            headers.push(("x-oss-storage-class".to_owned(), class.trim().to_owned()));
        }
        for (name, value) in &self.metadata {
            headers.push((format!("x-oss-meta-{}", name.to_ascii_lowercase()), value.trim().to_owned()));
        }
        headers
    }
}

fn object_info(answer: &Answer) -> Result<ObjectInfo, BadAnswer> {
    from_oss(answer)?;
    let size = answer.header("content-length").and_then(|text| text.trim().parse().ok());
    let size =
        size.ok_or_else(|| BadAnswer::Protocol("the answer does not say the object's size".to_owned()))?;
    let metadata = answer.headers().filter_map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        Some((name.strip_prefix("x-oss-meta-")?.to_owned(), value.to_owned()))
    });
    Ok(ObjectInfo {
        size,
        etag: owned(answer, "etag"),
        crc64: crc64(answer),
        last_modified: http_date(answer, "last-modified"),
        content_type: owned(answer, "content-type"),
        storage_class: owned(answer, "x-oss-storage-class"),
        object_type: owned(answer, "x-oss-object-type"),
        version_id: owned(answer, "x-oss-version-id"),
        restore: owned(answer, "x-oss-restore"),
        metadata: metadata.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_headers() {
        let options = PutOptions {
            if_absent: true,
            storage_class: Some("IA".to_owned()),
            metadata: vec![("Epoch".to_owned(), " 7 ".to_owned())],
            ..PutOptions::default()
        };
        let headers = options.headers();
        assert_eq!(
            as_pairs(&headers),
            [
                ("content-type", "application/octet-stream"),
                ("x-oss-forbid-overwrite", "true"),
                ("x-oss-storage-class", "IA"),
                ("x-oss-meta-epoch", "7"),
            ]
        );
    }
}
