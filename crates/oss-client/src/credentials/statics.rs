//! Credentials given as values.

use oss_protocol::sign::Credentials;

use super::{CredentialsProvider, Fetched};
use crate::error::{Error, ErrorKind};

/// Always the same credentials; their Debug shows no secret.
#[derive(Debug)]
pub struct StaticProvider {
    credentials: Credentials,
}

impl StaticProvider {
    /// Takes the values.
    ///
    /// # Errors
    /// `Credentials` when the id or the secret is empty.
    pub fn new(credentials: Credentials) -> Result<Self, Error> {
        check_complete(&credentials, "the given credentials")?;
        Ok(StaticProvider { credentials })
    }
}

impl CredentialsProvider for StaticProvider {
    fn fetch(&self) -> Result<Fetched, Error> {
        Ok(Fetched { credentials: Some(self.credentials.clone()), expires_at: None })
    }

    fn source(&self) -> String {
        "the given credentials".to_owned()
    }

    fn is_static(&self) -> bool {
        true
    }
}

/// Refuses half a pair, naming `source` and the missing half, never a value.
pub(super) fn check_complete(credentials: &Credentials, source: &str) -> Result<(), Error> {
    let missing = if credentials.access_key_id.is_empty() {
        "the access key id"
    } else if credentials.access_key_secret.expose().is_empty() {
        "the access key secret"
    } else {
        return Ok(());
    };
    Err(broken(source, &format!("{missing} is empty")))
}

/// A `Credentials` error about `source`.
pub(super) fn broken(source: &str, what: &str) -> Error {
    Error::new(ErrorKind::Credentials, "credentials", format!("{source}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_pair_is_refused_and_nothing_is_shown() {
        let half = Credentials::new("id-canary", "", None);
        let error = StaticProvider::new(half).expect_err("no secret").to_string();
        assert!(error.contains("access key secret is empty") && !error.contains("canary"));
        let whole = StaticProvider::new(Credentials::new("id", "secret-canary", None)).expect("complete");
        assert!(!format!("{whole:?}").contains("secret-canary"));
    }
}
