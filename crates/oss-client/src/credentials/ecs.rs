//! The RAM role of an ECS instance, by the metadata service of the machine.
//!
//! The hardened way first: a token by PUT, which a request smuggled through a proxy or a redirect cannot get, then
//! the keys. Where the service knows no tokens the keys are asked for without, unless that is forbidden.

use std::time::Duration;

use oss_protocol::uri::Endpoint;

use super::document::{answered, printable, word};
use super::statics::broken;
use super::{CredentialsProvider, Fetched, Surroundings};
use crate::asker::Asker;
use crate::error::Error;
use crate::http::ask::{Patience, Question, Reply, Service};

/// The only address of the metadata service.
const ADDRESS: &str = "http://100.100.100.200";
/// Replaces it by a loopback address, for tests.
const ENDPOINT: &str = "OSSCONNECTOR_METADATA_ENDPOINT";
const ROLE: &str = "ALIBABA_CLOUD_ECS_METADATA";
const DISABLED: &str = "ALIBABA_CLOUD_ECS_METADATA_DISABLED";
const TOKEN_REQUIRED: &str = "ALIBABA_CLOUD_IMDSV1_DISABLED";
const KEYS: &str = "/latest/meta-data/ram/security-credentials/";

/// It is on the same machine: 1 s to connect, 1 s to read, 3 tries (`faults.md`, 6.7).
const PATIENCE: Patience =
    Patience { connect: Duration::from_secs(1), read: Duration::from_secs(1), tries: 3 };

/// Asks the metadata service.
#[derive(Debug)]
pub struct EcsRoleProvider {
    /// `None` = the service says which.
    role: Option<String>,
    service: Service,
    needs_token: bool,
}

impl EcsRoleProvider {
    /// The role that the environment names, or any; `None` where the environment forbids it.
    ///
    /// # Errors
    /// `Credentials`, when the environment names another address that is none.
    pub fn from_environment(around: &Surroundings) -> Result<Option<Self>, Error> {
        if around.is_on(DISABLED) {
            return Ok(None);
        }
        EcsRoleProvider::new(around, around.variable(ROLE)).map(Some)
    }

    /// A role that somebody named, or any.
    pub(super) fn new(around: &Surroundings, role: Option<String>) -> Result<Self, Error> {
        if let Some(role) = role.as_deref().filter(|role| !is_role(role)) {
            let what = format!("{:?} is no name of a RAM role; correct {ROLE}", printable(role));
            return Err(broken("ECS metadata service", &what));
        }
        let usual =
            || Endpoint::parse(ADDRESS).map_err(|error| broken("ECS metadata service", &error.to_string()));
        let endpoint = around.endpoint_from(ENDPOINT)?.map_or_else(usual, Ok)?;
        let service = around.server_with(&endpoint, PATIENCE);
        Ok(EcsRoleProvider { role, service, needs_token: around.is_on(TOKEN_REQUIRED) })
    }

    /// Whether somebody named the role, so that this link is meant.
    pub(super) fn is_named(&self) -> bool {
        self.role.is_some()
    }

    fn ask(&self, question: Question<'_>, asker: &Asker<'_>) -> Result<Reply, Error> {
        self.service.ask(question, asker).map_err(|why| {
            broken(&self.source(), &format!("no answer ({why}); on a machine without it set {DISABLED}=true"))
        })
    }

    /// The token to ask with; `None` where the service knows none.
    fn token(&self, asker: &Asker<'_>) -> Result<Option<String>, Error> {
        let lifetime = [("X-aliyun-ecs-metadata-token-ttl-seconds", "21600")];
        let question = Question { method: "PUT", target: "/latest/api/token", headers: &lifetime, body: b"" };
        let reply = self.ask(question, asker)?;
        match (reply.status, word(&reply.body)) {
            (200, Some(token)) => Ok(Some(token.to_owned())),
            (403..=405, _) if !self.needs_token => Ok(None),
            (status, _) => Err(broken(&self.source(), &format!("no token was given (status {status})"))),
        }
    }

    fn get(&self, target: &str, token: Option<&str>, asker: &Asker<'_>) -> Result<Vec<u8>, Error> {
        let header = token.map(|token| ("X-aliyun-ecs-metadata-token", token));
        let question = Question { method: "GET", target, headers: header.as_slice(), body: b"" };
        let reply = self.ask(question, asker)?;
        match reply.status {
            200 => Ok(reply.body),
            404 => {
                Err(broken(&self.source(), "this machine has no such RAM role; attach one to the instance"))
            }
            status => Err(broken(&self.source(), &format!("refused with status {status}"))),
        }
    }

    fn role(&self, token: Option<&str>, asker: &Asker<'_>) -> Result<String, Error> {
        if let Some(role) = &self.role {
            return Ok(role.clone());
        }
        let body = self.get(KEYS, token, asker)?;
        role_in(&body)
            .map(str::to_owned)
            .ok_or_else(|| broken(&self.source(), "the answer names no RAM role; attach one to the instance"))
    }
}

impl CredentialsProvider for EcsRoleProvider {
    fn fetch_unless(&self, asker: &Asker<'_>) -> Result<Fetched, Error> {
        let token = self.token(asker)?;
        let role = self.role(token.as_deref(), asker)?;
        let keys = self.get(&format!("{KEYS}{role}"), token.as_deref(), asker)?;
        answered(&keys, &self.source())
    }

    fn source(&self) -> String {
        let role = self.role.as_deref().map_or_else(String::new, |role| format!(", RAM role {role}"));
        format!("ECS metadata service {}{role}", self.service.host())
    }
}

/// The role that an answer names, and nothing else.
pub(crate) fn role_in(answer: &[u8]) -> Option<&str> {
    word(answer).filter(|name| is_role(name))
}

/// Names of roles go into a path: letters, digits, `.`, `-` and `_`.
fn is_role(name: &str) -> bool {
    // It becomes a step of a path.
    !matches!(name, "." | "..")
        && (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
}
