//! One method per OSS operation.
//!
//! Each method says what one request looks like and what its answer means; signing, sending, repeating
//! and resuming are the transport's.

mod values;

pub use values::{
    BodySink, GetObject, GotObject, ListPage, ListPageRequest, ListedObject, ListedPart, ListedUpload,
    ObjectInfo, OnAmbiguous, PutOptions, UploadPart, UploadedPart, UploadsPage, Written,
};

use oss_protocol::uri::ObjectUri;

use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::Error;

fn later<T>(operation: &'static str) -> Result<T, Error> {
    Err(Error::internal(operation, "not built yet"))
}

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
        let _ = (sink, cancel);
        later(get.operation)
    }

    /// Asks for an object's size, version and metadata.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, or what the transport gave up with.
    pub fn head_object(&self, uri: &ObjectUri, cancel: &Cancel) -> Result<ObjectInfo, Error> {
        let _ = (uri, cancel);
        later("HeadObject")
    }

    /// Asks for one page of a listing, at most 1000 keys, in byte order.
    ///
    /// # Errors
    /// `NotFound` (bucket), `Protocol` (not a listing), or what the transport gave up with.
    pub fn list_objects_page(&self, page: &ListPageRequest<'_>, cancel: &Cancel) -> Result<ListPage, Error> {
        let _ = (page, cancel);
        later("ListObjectsV2")
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
        let _ = (uri, body, options, cancel);
        later("PutObject")
    }

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
        let _ = (uri, options, cancel);
        later("InitiateMultipartUpload")
    }

    /// Uploads one part; a part whose CRC-64 comes back different is sent again, three times at most.
    ///
    /// # Errors
    /// `NotFound` (the upload is gone), `Integrity`, or what the transport gave up with.
    pub fn upload_part(&self, part: &UploadPart<'_>, cancel: &Cancel) -> Result<UploadedPart, Error> {
        let _ = (part, cancel);
        later("UploadPart")
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
        let _ = (uri, upload_id, parts, options, cancel);
        later("CompleteMultipartUpload")
    }

    /// Drops an upload and the parts the service has by now. An upload that is gone is success.
    ///
    /// # Errors
    /// What the transport gave up with.
    pub fn abort_multipart_upload(
        &self,
        uri: &ObjectUri,
        upload_id: &str,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let _ = (uri, upload_id, cancel);
        later("AbortMultipartUpload")
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
        let _ = (uri, upload_id, cancel);
        later("ListParts")
    }

    /// Asks for one page of the uploads whose keys begin with `uri.key`; `after` is the `next` of the last page.
    ///
    /// # Errors
    /// What the transport gave up with.
    pub fn list_multipart_uploads(
        &self,
        uri: &ObjectUri,
        after: Option<&(String, String)>,
        cancel: &Cancel,
    ) -> Result<UploadsPage, Error> {
        let _ = (uri, after, cancel);
        later("ListMultipartUploads")
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
        let _ = (uri, version_id, cancel);
        later("DeleteObject")
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
        let _ = (source, target, options, cancel);
        later("CopyObject")
    }

    /// Asks in which region a bucket is, without the `oss-` prefix.
    ///
    /// # Errors
    /// What the transport gave up with.
    pub fn get_bucket_location(&self, bucket: &str, cancel: &Cancel) -> Result<String, Error> {
        let _ = (bucket, cancel);
        later("GetBucketLocation")
    }
}
