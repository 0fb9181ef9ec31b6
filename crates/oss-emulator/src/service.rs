//! What all operations stand on.

use crate::accounts::Accounts;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::rules::action::TokenFault;
use crate::store::Store;

/// The account everything belongs to.
pub(crate) const OWNER_ID: &str = "1000000000000000";

/// The service behind the wire: its objects, its accounts and its name.
#[derive(Debug)]
pub(crate) struct Service {
    /// Buckets and objects.
    pub(crate) store: Store,
    /// Who may sign.
    pub(crate) accounts: Accounts,
    /// Region that signatures must name, without `oss-`.
    pub(crate) region: String,
    /// Scheme, host and port, for answers that name the endpoint. OSS names hosts alone; with the
    /// scheme a client that was told of a bucket reaches it, whatever scheme it would try first.
    pub(crate) endpoint: String,
}

/// How a rule bends an operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Quirks {
    /// The Range header is not seen.
    pub(crate) ignore_range: bool,
    /// How a listing goes wrong.
    pub(crate) token: Option<TokenFault>,
}

/// One request to one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    /// The service.
    pub(crate) service: &'a Service,
    /// The request.
    pub(crate) request: &'a Request,
    /// What a rule asks for.
    pub(crate) quirks: Quirks,
}

impl Call<'_> {
    /// The objects.
    pub(crate) fn store(&self) -> &Store {
        &self.service.store
    }

    /// The service's clock, unix milliseconds.
    pub(crate) fn now_ms(&self) -> i64 {
        self.store().clock().unix_millis()
    }

    /// Says whether listings shall be url-encoded.
    ///
    /// # Errors
    /// 400 InvalidArgument for another encoding.
    pub(crate) fn encoding_url(&self) -> Result<bool, Refusal> {
        match self.request.parameter("encoding-type") {
            None | Some("") => Ok(false),
            Some("url") => Ok(true),
            Some(_) => Err(Refusal::invalid_argument("Invalid Encoding Method specified in Request.")),
        }
    }
}
