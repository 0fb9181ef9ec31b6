//! Credentials from a function of the user.

use std::fmt;

use super::statics::check_complete;
use super::{CredentialsProvider, Fetched};
use crate::error::Error;

type Callback = Box<dyn Fn() -> Result<Fetched, Error> + Send + Sync>;

/// Asks a function, which may block and may take its own locks; none of ours is held meanwhile.
pub struct CallbackProvider {
    name: String,
    callback: Callback,
}

impl CallbackProvider {
    /// Wraps `callback`; `name` is what errors call it, such as the class of the user's object.
    pub fn new(
        name: impl Into<String>,
        callback: impl Fn() -> Result<Fetched, Error> + Send + Sync + 'static,
    ) -> Self {
        CallbackProvider { name: name.into(), callback: Box::new(callback) }
    }
}

impl fmt::Debug for CallbackProvider {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CallbackProvider({})", self.name)
    }
}

impl CredentialsProvider for CallbackProvider {
    fn fetch(&self) -> Result<Fetched, Error> {
        let fetched = (self.callback)()?;
        if let Some(credentials) = &fetched.credentials {
            check_complete(credentials, &self.source())?;
        }
        Ok(fetched)
    }

    fn source(&self) -> String {
        format!("credentials provider {}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use oss_protocol::sign::Credentials;

    use super::*;

    #[test]
    fn an_incomplete_answer_is_an_error_that_names_the_provider() {
        let provider = CallbackProvider::new("my.Vault", || {
            Ok(Fetched { credentials: Some(Credentials::new("", "x", None)), expires_at: None })
        });
        let error = provider.fetch().expect_err("no id").to_string();
        assert!(error.contains("my.Vault") && error.contains("access key id"));
    }
}
