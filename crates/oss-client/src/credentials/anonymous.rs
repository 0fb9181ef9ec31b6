//! No credentials, by explicit request.

use super::{CredentialsProvider, Fetched};
use crate::asker::Asker;
use crate::error::Error;

/// Sends requests unsigned: for public buckets.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnonymousProvider;

impl CredentialsProvider for AnonymousProvider {
    fn fetch_unless(&self, _asker: &Asker<'_>) -> Result<Fetched, Error> {
        Ok(Fetched { credentials: None, expires_at: None })
    }

    fn source(&self) -> String {
        "anonymous access".to_owned()
    }

    fn is_static(&self) -> bool {
        true
    }
}
