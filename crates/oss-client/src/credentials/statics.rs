//! Credentials given as values.

use oss_protocol::sign::Credentials;

use super::{CredentialsProvider, Fetched};
use crate::asker::Asker;
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
    fn fetch_unless(&self, _asker: &Asker<'_>) -> Result<Fetched, Error> {
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

/// Refuses what no key has: a line break would end a header, a blank would only spoil the signature.
pub(super) fn check_characters(credentials: &Credentials, source: &str) -> Result<(), Error> {
    let token = credentials.security_token.as_ref().map_or("", |token| token.expose());
    let parts = [
        ("access key id", credentials.access_key_id.as_str()),
        ("access key secret", credentials.access_key_secret.expose()),
        ("security token", token),
    ];
    match parts.iter().find(|(_, text)| !text.bytes().all(|byte| byte.is_ascii_graphic())) {
        None => Ok(()),
        Some((name, _)) => Err(broken(
            source,
            &format!("the {name} has a blank, a line break or another character that no key has; remove it"),
        )),
    }
}

/// A `Credentials` error about `source`.
pub(super) fn broken(source: &str, what: &str) -> Error {
    Error::new(ErrorKind::Credentials, "credentials", format!("{source}: {what}"))
}

#[cfg(test)]
mod tests {
    use oss_protocol::sign::Secret;

    use super::*;

    #[test]
    fn what_would_break_out_of_a_header_is_refused_and_not_shown() {
        let token = |text: &str| Some(Secret::new(text));
        for (credentials, named) in [
            (Credentials::new("canary\n", "s", None), "access key id"),
            (Credentials::new("i", " canary", None), "access key secret"),
            (Credentials::new("i", "s", token("canary\r\nX-Oss-Acl: public-read")), "security token"),
        ] {
            let error = check_characters(&credentials, "the source").expect_err(named).to_string();
            assert!(error.contains(named) && !error.contains("canary"), "{error}");
        }
        assert!(check_characters(&Credentials::new("i", "s/+=", token("CAIS+/=")), "it").is_ok());
    }

    #[test]
    fn half_a_pair_is_refused_and_nothing_is_shown() {
        let half = Credentials::new("id-canary", "", None);
        let error = StaticProvider::new(half).expect_err("no secret").to_string();
        assert!(error.contains("access key secret is empty") && !error.contains("canary"));
        let whole = StaticProvider::new(Credentials::new("id", "secret-canary", None)).expect("complete");
        assert!(!format!("{whole:?}").contains("secret-canary"));
    }
}
