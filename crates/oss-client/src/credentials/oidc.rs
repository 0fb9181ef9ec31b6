//! A role by an OIDC token, as RRSA gives one to each pod of a cluster.

use super::document::word;
use super::statics::broken;
use super::sts::{Place, Role, Sts};
use super::watched_file::WatchedFile;
use super::{CredentialsProvider, Fetched, Surroundings};
use crate::asker::Asker;
use crate::error::Error;

const ROLE_ARN: &str = "ALIBABA_CLOUD_ROLE_ARN";
const PROVIDER_ARN: &str = "ALIBABA_CLOUD_OIDC_PROVIDER_ARN";
const TOKEN_FILE: &str = "ALIBABA_CLOUD_OIDC_TOKEN_FILE";

/// Assumes a role at STS with the token that a file holds; the file is read anew for every set of keys.
#[derive(Debug)]
pub struct OidcProvider {
    role: Role,
    provider_arn: String,
    token: WatchedFile,
    sts: Sts,
    source: String,
}

impl OidcProvider {
    /// What the environment asks for; `None` unless role, provider and token file are all set.
    ///
    /// # Errors
    /// `Credentials`, when the other variables name no STS.
    pub fn from_environment(around: &Surroundings) -> Result<Option<Self>, Error> {
        let [role, provider, file] = [ROLE_ARN, PROVIDER_ARN, TOKEN_FILE].map(|name| around.variable(name));
        let (Some(arn), Some(provider), Some(file)) = (role, provider, file) else { return Ok(None) };
        let session_name = around.variable("ALIBABA_CLOUD_ROLE_SESSION_NAME");
        let source = format!("OIDC role {arn} ({ROLE_ARN})");
        let role = Role { arn, session_name, ..Role::default() };
        let sts = Sts::new(around, &Place::from_environment(around), &source)?;
        Ok(Some(OidcProvider::new(role, provider, &file, sts, source)))
    }

    /// Puts one together.
    pub(super) fn new(role: Role, provider_arn: String, file: &str, sts: Sts, source: String) -> Self {
        OidcProvider { role, provider_arn, token: WatchedFile::new(file), sts, source }
    }

    fn read_token(&self) -> Result<String, Error> {
        let source = format!("{}: token file {}", self.source, self.token.path().display());
        self.token.read(&source, "correct the path or the pod's volume", |content| {
            word(content).map(str::to_owned).ok_or_else(|| broken(&source, "holds no token"))
        })
    }
}

impl CredentialsProvider for OidcProvider {
    fn fetch_unless(&self, asker: &Asker<'_>) -> Result<Fetched, Error> {
        self.sts.assume_role_with_oidc(&self.role, &self.provider_arn, &self.read_token()?, asker)
    }

    fn source(&self) -> String {
        self.source.clone()
    }
}
