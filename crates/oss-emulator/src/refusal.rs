//! An error answer of the service: what it says in status, XML and headers.

use std::fmt;
use std::ops::Deref;

/// Why the emulator refuses a request. One pointer in size, because most results hold none.
#[derive(Clone, Debug)]
pub(crate) struct Refusal(Box<Details>);

/// What a [`Refusal`] says.
#[derive(Clone, Debug)]
pub(crate) struct Details {
    /// HTTP status.
    pub(crate) status: u16,
    /// OSS error code, as `NoSuchKey`.
    pub(crate) code: String,
    /// What OSS would say to a person.
    pub(crate) message: String,
    /// OSS's fine-grained error number, as `0026-00000001`.
    pub(crate) ec: String,
    /// Further elements of the XML body, in order.
    pub(crate) fields: Vec<(&'static str, String)>,
    /// Further headers of the answer.
    pub(crate) headers: Vec<(String, String)>,
}

impl Deref for Refusal {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.code, self.message)
    }
}

impl Refusal {
    /// Makes a refusal with the usual error number of its code.
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self(Box::new(Details {
            status,
            code: code.to_owned(),
            message: message.into(),
            ec: ec_of(code).to_owned(),
            fields: Vec::new(),
            headers: Vec::new(),
        }))
    }

    /// Adds an element to the XML body.
    pub(crate) fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.fields.push((name, value.into()));
        self
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sets another error number.
    pub(crate) fn ec(mut self, ec: &str) -> Self {
        ec.clone_into(&mut self.0.ec);
        self
    }

    /// 400 InvalidArgument.
    pub(crate) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidArgument", message)
    }

    /// 404 NoSuchBucket.
    pub(crate) fn no_such_bucket(bucket: &str) -> Self {
        Self::new(404, "NoSuchBucket", "The specified bucket does not exist.").field("BucketName", bucket)
    }

    /// 404 NoSuchKey.
    pub(crate) fn no_such_key(key: &str) -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.").field("Key", key)
    }

    /// 404 NoSuchUpload.
    pub(crate) fn no_such_upload(upload_id: &str) -> Self {
        let message = "The specified upload does not exist. \
                       The upload ID may be invalid, or the upload may have been aborted or completed.";
        Self::new(404, "NoSuchUpload", message).field("UploadId", upload_id)
    }

    /// 412 PreconditionFailed, naming the condition.
    pub(crate) fn precondition(condition: &str) -> Self {
        let message = "At least one of the pre-conditions you specified did not hold.";
        Self::new(412, "PreconditionFailed", message).field("Condition", condition)
    }

    /// 500 InternalError: the emulator's own trouble, as a full disk.
    pub(crate) fn internal(error: &dyn fmt::Display) -> Self {
        Self::new(500, "InternalError", format!("The emulator could not do that: {error}"))
    }
}

/// Error numbers that the vendor's pages give for these codes; diagnostic only.
fn ec_of(code: &str) -> &'static str {
    match code {
        "AccessDenied" => "0003-00000001",
        "EntityTooSmall" => "0042-00000213",
        "FileAlreadyExists" => "0026-00000002",
        "InvalidAccessKeyId" => "0002-00000902",
        "MissingContentLength" => "0017-00000701",
        "NoSuchBucket" => "0015-00000101",
        "NoSuchKey" => "0026-00000001",
        "NoSuchUpload" => "0042-00000203",
        "NotSymlink" => "0043-00000101",
        "QpsLimitExceeded" => "0004-00000301",
        "RequestTimeTooSkewed" => "0002-00000504",
        "SecurityTokenExpired" => "0002-00000007",
        "SignatureDoesNotMatch" => "0002-00000040",
        _ => "0000-00000000",
    }
}

/// The code OSS commonly sends with a status, for rules that name the status alone.
pub(crate) fn usual_code(status: u16) -> &'static str {
    match status {
        400 => "InvalidArgument",
        401 | 403 => "AccessDenied",
        404 => "NoSuchKey",
        405 => "MethodNotAllowed",
        408 => "RequestTimeout",
        409 => "Conflict",
        411 => "MissingContentLength",
        412 => "PreconditionFailed",
        416 => "InvalidRange",
        429 => "QpsLimitExceeded",
        501 => "NotImplemented",
        502 => "BadGateway",
        503 => "ServiceUnavailable",
        504 => "GatewayTimeout",
        _ => "InternalError",
    }
}
