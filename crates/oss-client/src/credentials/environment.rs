//! Credentials from environment variables.

use oss_protocol::sign::{Credentials, Secret};

use super::statics::broken;
use super::{CredentialsProvider, Fetched};
use crate::config::environment_variable;
use crate::error::Error;

/// Which variables are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnvironmentPair {
    /// `OSS_ACCESS_KEY_ID`, `OSS_ACCESS_KEY_SECRET`, `OSS_SESSION_TOKEN`.
    Oss,
    /// `ALIBABA_CLOUD_ACCESS_KEY_ID`, `ALIBABA_CLOUD_ACCESS_KEY_SECRET`, `ALIBABA_CLOUD_SECURITY_TOKEN`.
    AlibabaCloud,
}

impl EnvironmentPair {
    /// Id, secret and token variable.
    pub fn names(self) -> [&'static str; 3] {
        match self {
            EnvironmentPair::Oss => ["OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "OSS_SESSION_TOKEN"],
            EnvironmentPair::AlibabaCloud => [
                "ALIBABA_CLOUD_ACCESS_KEY_ID",
                "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
                "ALIBABA_CLOUD_SECURITY_TOKEN",
            ],
        }
    }
}

/// Reads one family of variables at every refresh.
#[derive(Clone, Copy)]
pub struct EnvironmentProvider {
    pair: EnvironmentPair,
    variable: fn(&str) -> Option<String>,
}

impl std::fmt::Debug for EnvironmentProvider {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "EnvironmentProvider({:?})", self.pair)
    }
}

impl EnvironmentProvider {
    /// Reads the variables of `pair` from the process environment.
    pub fn new(pair: EnvironmentPair) -> Self {
        EnvironmentProvider { pair, variable: environment_variable }
    }

    /// Reads them from somewhere else; for tests.
    pub fn with_lookup(pair: EnvironmentPair, variable: fn(&str) -> Option<String>) -> Self {
        EnvironmentProvider { pair, variable }
    }

    /// Whether either half of the pair is set.
    pub fn is_configured(&self) -> bool {
        let [id, secret, _token] = self.pair.names();
        (self.variable)(id).is_some() || (self.variable)(secret).is_some()
    }
}

impl CredentialsProvider for EnvironmentProvider {
    fn fetch(&self) -> Result<Fetched, Error> {
        let [id_name, secret_name, token_name] = self.pair.names();
        let get = |name: &'static str| {
            (self.variable)(name)
                .ok_or_else(|| broken(&self.source(), &format!("{name} is not set; both halves are needed")))
        };
        let (id, secret) = (get(id_name)?, get(secret_name)?);
        let token = (self.variable)(token_name).map(Secret::new);
        let credentials = Credentials::new(id, Secret::new(secret), token);
        Ok(Fetched { credentials: Some(credentials), expires_at: None })
    }

    fn source(&self) -> String {
        let [id, secret, _token] = self.pair.names();
        format!("environment {id} and {secret}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "OSS_ACCESS_KEY_ID" => Some("id".to_owned()),
            "OSS_ACCESS_KEY_SECRET" => Some("secret".to_owned()),
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET" => Some("half".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn a_pair_is_read_and_half_a_pair_is_an_error() {
        let oss = EnvironmentProvider::with_lookup(EnvironmentPair::Oss, lookup);
        let fetched = oss.fetch().expect("a pair").credentials.expect("credentials");
        assert_eq!((fetched.access_key_id.as_str(), fetched.security_token.is_none()), ("id", true));
        let half = EnvironmentProvider::with_lookup(EnvironmentPair::AlibabaCloud, lookup);
        assert!(half.is_configured());
        let error = half.fetch().expect_err("half a pair").to_string();
        assert!(error.contains("ALIBABA_CLOUD_ACCESS_KEY_ID is not set"));
    }
}
