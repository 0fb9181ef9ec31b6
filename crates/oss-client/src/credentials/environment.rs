//! Credentials from environment variables.

use oss_protocol::sign::{Credentials, Secret};

use super::statics::broken;
use super::{CredentialsProvider, Fetched, Surroundings};
use crate::asker::Asker;
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
#[derive(Debug, Clone)]
pub struct EnvironmentProvider {
    pair: EnvironmentPair,
    around: Surroundings,
}

impl EnvironmentProvider {
    /// Reads the variables of `pair`.
    pub fn new(pair: EnvironmentPair, around: &Surroundings) -> Self {
        EnvironmentProvider { pair, around: around.clone() }
    }

    /// Whether either half of the pair is set.
    pub fn is_configured(&self) -> bool {
        let [id, secret, _token] = self.pair.names();
        self.around.variable(id).is_some() || self.around.variable(secret).is_some()
    }
}

impl CredentialsProvider for EnvironmentProvider {
    fn fetch_unless(&self, _asker: &Asker<'_>) -> Result<Fetched, Error> {
        let [id_name, secret_name, token_name] = self.pair.names();
        let get = |name: &'static str| {
            self.around
                .variable(name)
                .ok_or_else(|| broken(&self.source(), &format!("{name} is not set; both halves are needed")))
        };
        let (id, secret) = (get(id_name)?, get(secret_name)?);
        let token = self.around.variable(token_name).map(Secret::new);
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
        let around = Surroundings::with(lookup, "/nonexistent", None);
        let oss = EnvironmentProvider::new(EnvironmentPair::Oss, &around);
        let fetched = oss.fetch().expect("a pair").credentials.expect("credentials");
        assert_eq!((fetched.access_key_id.as_str(), fetched.security_token.is_none()), ("id", true));
        let half = EnvironmentProvider::new(EnvironmentPair::AlibabaCloud, &around);
        assert!(half.is_configured());
        let error = half.fetch().expect_err("half a pair").to_string();
        assert!(error.contains("ALIBABA_CLOUD_ACCESS_KEY_ID is not set"));
    }
}
