//! Where credentials come from: one provider per file, and the cache in front of them.

mod anonymous;
mod cache;
mod callback;
mod chain;
#[cfg(test)]
mod crowd;
pub(crate) mod document;
pub(crate) mod ecs;
mod environment;
mod ini;
mod json_file;
mod oidc;
mod plan;
pub(crate) mod process;
mod profile;
mod statics;
pub(crate) mod sts;
mod surroundings;
pub(crate) mod uri;
mod watched_file;

use std::fmt::Debug;
use std::time::Duration;

pub use anonymous::AnonymousProvider;
pub use cache::{AfterRefusal, CredentialsCache, Current};
pub use callback::CallbackProvider;
pub use chain::ChainProvider;
pub use ecs::EcsRoleProvider;
pub use environment::{EnvironmentPair, EnvironmentProvider};
pub use ini::IniProvider;
pub use json_file::JsonFileProvider;
pub use oidc::OidcProvider;
use oss_protocol::sign::Credentials;
use oss_protocol::time::UtcTime;
pub use process::ProcessProvider;
pub use profile::ProfileProvider;
pub use statics::StaticProvider;
pub use surroundings::Surroundings;
pub use uri::UriProvider;

use crate::asker::Asker;
use crate::cancel::Cancel;
use crate::error::Error;

/// What a provider gives.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// `None` = send requests unsigned; only the anonymous provider says so.
    pub credentials: Option<Credentials>,
    /// When the service will stop accepting them; `None` = the source does not say.
    pub expires_at: Option<UtcTime>,
}

/// Whose requests are signed, for people; no secret is in it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Names the source, as [`CredentialsProvider::source`].
    pub source: String,
    /// Why it is this one, where it was chosen among several.
    pub reason: Option<String>,
    /// `None` = requests go unsigned.
    pub access_key_id: Option<String>,
    /// When the service will stop accepting the keys; `None` = the source does not say.
    pub expires_at: Option<UtcTime>,
}

/// A source of credentials. Called by one thread at a time, with none of our locks held.
pub trait CredentialsProvider: Send + Sync + Debug {
    /// Gets the present credentials; may block, and is given up when `asker` is gone.
    ///
    /// # Errors
    /// `Credentials`, naming the source and never its content; anything, once it is given up.
    fn fetch_unless(&self, asker: &Asker<'_>) -> Result<Fetched, Error>;

    /// As [`CredentialsProvider::fetch_unless`], and never given up.
    ///
    /// # Errors
    /// As there.
    fn fetch(&self) -> Result<Fetched, Error> {
        self.fetch_unless(&Asker::silent(&Cancel::new()))
    }

    /// The longest that a `fetch` takes by itself; the rest of the process waits for it as long.
    ///
    /// Of our own sources STS takes longest: three tries of 15 s for a role, and before that for the role whose keys
    /// it is assumed with.
    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }

    /// Names the source for people: a path, a variable, a class.
    fn source(&self) -> String;

    /// Says why it is this source, where it was chosen among several.
    fn reason(&self) -> Option<String> {
        None
    }

    /// A cheap look whether the source has something newer than the last `fetch`; asked once a second.
    fn has_changed(&self) -> bool {
        false
    }

    /// Whether the source can ever give something else than it gave first.
    fn is_static(&self) -> bool {
        false
    }
}
