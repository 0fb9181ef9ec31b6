//! Refusals, with the codes, texts and numbers of the service.

use std::fmt;

/// Why a request is refused; all that the error document of the service needs.
#[derive(Clone, PartialEq, Eq)]
pub struct SignatureProblem {
    /// HTTP status, 400 or 403.
    pub status: u16,
    /// Code of the service.
    pub code: &'static str,
    /// One line for the user.
    pub message: String,
    /// Diagnostic number of the service, "" where none is known.
    pub ec: &'static str,
    /// The key id the request named.
    pub access_key_id: Option<String>,
    /// For `SignatureDoesNotMatch`: what the server signed.
    pub string_to_sign: Option<String>,
    /// For `SignatureDoesNotMatch` of V4: what the server hashed.
    pub canonical_request: Option<String>,
    /// For `SignatureDoesNotMatch`: the signature the request carried.
    pub signature_provided: Option<String>,
}

/// Without the texts that were signed: they may hold a token.
impl fmt::Debug for SignatureProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignatureProblem")
            .field("status", &self.status)
            .field("code", &self.code)
            .field("message", &self.message)
            .field("ec", &self.ec)
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for SignatureProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for SignatureProblem {}

pub(super) type Refused = Box<SignatureProblem>;

impl SignatureProblem {
    fn new(status: u16, code: &'static str, ec: &'static str, message: impl Into<String>) -> Refused {
        Box::new(Self {
            status,
            code,
            message: message.into(),
            ec,
            access_key_id: None,
            string_to_sign: None,
            canonical_request: None,
            signature_provided: None,
        })
    }

    /// Something in the marks of the signature is malformed.
    pub(super) fn malformed(ec: &'static str, message: impl Into<String>) -> Refused {
        Self::new(400, "InvalidArgument", ec, message)
    }

    /// The scope names another region than the server's.
    pub(super) fn wrong_region(ec: &'static str, message: &str) -> Refused {
        Self::new(403, "InvalidArgument", ec, message)
    }

    pub(super) fn access_denied(ec: &'static str, message: impl Into<String>) -> Refused {
        Self::new(403, "AccessDenied", ec, message)
    }

    pub(super) fn skewed() -> Refused {
        let message = "The difference between the request time and the current time is too large.";
        Self::new(403, "RequestTimeTooSkewed", "0002-00000504", message)
    }

    pub(super) fn expired_url() -> Refused {
        Self::access_denied("", "Request has expired.")
    }

    pub(super) fn unknown_key(access_key_id: &str) -> Refused {
        let message = "The OSS Access Key Id you provided does not exist in our records.";
        let mut problem = Self::new(403, "InvalidAccessKeyId", "0002-00000902", message);
        problem.access_key_id = Some(access_key_id.to_owned());
        problem
    }

    pub(super) fn expired_token(access_key_id: &str) -> Refused {
        let message = "The security token you provided has expired.";
        let mut problem = Self::new(403, "SecurityTokenExpired", "0002-00000007", message);
        problem.access_key_id = Some(access_key_id.to_owned());
        problem
    }

    pub(super) fn wrong_token(access_key_id: &str) -> Refused {
        let message = "The security token you provided is invalid.";
        let mut problem = Self::new(403, "InvalidSecurityToken", "", message);
        problem.access_key_id = Some(access_key_id.to_owned());
        problem
    }

    /// The signature is another one than the server's; `canonical_request` is there for V4.
    pub(super) fn mismatch(
        access_key_id: &str,
        provided: &str,
        string_to_sign: String,
        canonical_request: Option<String>,
    ) -> Refused {
        let message = "The request signature we calculated does not match the signature you provided. \
                       Check your key and signing method.";
        let ec = if canonical_request.is_some() { "0002-00000201" } else { "0002-00000040" };
        let mut problem = Self::new(403, "SignatureDoesNotMatch", ec, message);
        problem.access_key_id = Some(access_key_id.to_owned());
        problem.string_to_sign = Some(string_to_sign);
        problem.canonical_request = canonical_request;
        problem.signature_provided = Some(provided.to_owned());
        problem
    }
}
