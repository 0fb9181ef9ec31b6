//! STS: keys for a role, against other keys or against an OIDC token.
//!
//! The parameters travel as a form in the body of a POST: tokens are long, and a URL is logged in more places.

use std::hash::{BuildHasher, RandomState};

use oss_protocol::encoding::write_query;
use oss_protocol::sign::{Credentials, rpc};
use oss_protocol::uri::{Endpoint, normalize_region};
use serde_json::Value;

use super::document::{self, Document, USUAL, printable};
use super::statics::broken;
use super::{Fetched, Surroundings};
use crate::asker::Asker;
use crate::error::Error;
use crate::http::ask::{Question, Reply, Service};
use crate::sync::Arc;

/// Names another STS: a private link, or the local one of a test.
const ENDPOINT: &str = "OSSCONNECTOR_STS_ENDPOINT";
/// How long keys live unless something else was asked for: an hour, STS's own default.
const DURATION_SECONDS: u64 = 3600;
/// What roles are assumed as, in the audit trail of the account.
const SESSION_NAME: &str = "osstorchconnector";

/// The role to be assumed.
#[derive(Debug, Clone, Default)]
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) session_name: Option<String>,
    pub(super) duration_seconds: Option<u64>,
    pub(super) policy: Option<String>,
    pub(super) external_id: Option<String>,
}

/// Which STS is meant.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) region: Option<String>,
    pub(super) is_vpc: bool,
}

impl Place {
    /// As the environment says.
    pub(super) fn from_environment(around: &Surroundings) -> Self {
        Place {
            region: around.variable("ALIBABA_CLOUD_STS_REGION"),
            is_vpc: around.is_on("ALIBABA_CLOUD_VPC_ENDPOINT_ENABLED"),
        }
    }

    fn host(&self, source: &str) -> Result<String, Error> {
        let Some(region) = &self.region else {
            return match self.is_vpc {
                false => Ok("sts.aliyuncs.com".to_owned()),
                true => Err(broken(
                    source,
                    "the VPC endpoint of STS needs a region; set ALIBABA_CLOUD_STS_REGION",
                )),
            };
        };
        let region = normalize_region(region).map_err(|error| broken(source, &error.to_string()))?;
        let name = if self.is_vpc { "sts-vpc" } else { "sts" };
        Ok(format!("{name}.{region}.aliyuncs.com"))
    }
}

/// A way to STS.
#[derive(Debug)]
pub(super) struct Sts {
    service: Service,
    clock: Arc<dyn crate::clock::Clock>,
    source: String,
}

impl Sts {
    /// The STS of `place`; opens nothing. `source` is what errors name.
    ///
    /// # Errors
    /// `Credentials`, if place or environment name no endpoint.
    pub(super) fn new(around: &Surroundings, place: &Place, source: &str) -> Result<Self, Error> {
        let endpoint = match around.endpoint_from(ENDPOINT)? {
            Some(endpoint) => endpoint,
            None => Endpoint::parse(&format!("https://{}", place.host(source)?))
                .map_err(|error| broken(source, &error.to_string()))?,
        };
        let service = around
            .public_server(&endpoint)
            .map_err(|error| broken(source, &format!("STS at {}: {}", endpoint.host, error.message)))?;
        Ok(Sts { service, clock: Arc::clone(&around.clock), source: source.to_owned() })
    }

    /// Keys of `role` against the keys `base`.
    ///
    /// # Errors
    /// `Credentials`, with STS's code.
    pub(super) fn assume_role(
        &self,
        base: &Credentials,
        role: &Role,
        asker: &Asker<'_>,
    ) -> Result<Fetched, Error> {
        let duration = role.duration_seconds.unwrap_or(DURATION_SECONDS).to_string();
        let mut parameters = common("AssumeRole", role, &duration);
        parameters.extend(role.external_id.as_deref().map(|id| ("ExternalId", id)));
        let form = rpc::sign(base, "POST", &parameters, &nonce(&*self.clock), &self.timestamp());
        self.post(&form, asker)
    }

    /// Keys of `role` against the token of an OIDC provider.
    ///
    /// # Errors
    /// `Credentials`, with STS's code.
    pub(super) fn assume_role_with_oidc(
        &self,
        role: &Role,
        provider_arn: &str,
        token: &str,
        asker: &Asker<'_>,
    ) -> Result<Fetched, Error> {
        let duration = role.duration_seconds.unwrap_or(DURATION_SECONDS).to_string();
        let (nonce, timestamp) = (nonce(&*self.clock), self.timestamp());
        let mut parameters = common("AssumeRoleWithOIDC", role, &duration);
        parameters.extend([
            ("OIDCProviderArn", provider_arn),
            ("OIDCToken", token),
            ("SignatureNonce", &nonce),
            ("Timestamp", &timestamp),
        ]);
        self.post(&write_query(&parameters), asker)
    }

    fn timestamp(&self) -> String {
        self.clock.wall().to_iso_extended()
    }

    fn post(&self, form: &str, asker: &Asker<'_>) -> Result<Fetched, Error> {
        let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")];
        let question = Question { method: "POST", target: "/", headers: &headers, body: form.as_bytes() };
        let reply = self.service.ask(question, asker).map_err(|why| {
            broken(&self.source, &format!("STS was not reached ({why}); check the network and {ENDPOINT}"))
        })?;
        read(&reply, self.service.host(), &self.source)
    }
}

/// Reads what STS at `host` answered.
///
/// # Errors
/// `Credentials`, naming `source`, with code and request id.
pub(crate) fn read(reply: &Reply, host: &str, source: &str) -> Result<Fetched, Error> {
    let Ok(document) = serde_json::from_slice::<Document>(&reply.body) else {
        let what = format!("{host} answered status {} and no JSON; it is not STS that answers", reply.status);
        return Err(broken(source, &what));
    };
    match document.get("Credentials") {
        Some(Value::Object(keys)) if reply.status == 200 => document::credentials(keys, &USUAL, source),
        _ => Err(refusal(reply.status, &document, source)),
    }
}

/// Code and request id, never the text: it may repeat what was sent.
fn refusal(status: u16, document: &Document, source: &str) -> Error {
    let word = |name: &str| printable(document.get(name).and_then(Value::as_str).unwrap_or("-"));
    let (code, id) = (word("Code"), word("RequestId"));
    let what = format!("STS refused with status {status}, code {code}, request {id}; {}", remedy(&code));
    let mut error = broken(source, &what);
    (error.status, error.code, error.request_id) = (Some(status), code, id);
    error
}

/// What to do about a code of STS.
fn remedy(code: &str) -> &'static str {
    if code.starts_with("EntityNotExist") {
        "correct the role's ARN"
    } else if code.starts_with("AuthenticationFail") {
        "the token does not fit the OIDC provider or the role's trust policy: correct these"
    } else if code.starts_with("NoPermission") {
        "let the caller assume the role in its trust policy"
    } else if code.starts_with("InvalidTimeStamp") {
        "set this machine's clock"
    } else {
        "correct role, keys and trust policy"
    }
}

fn common<'a>(action: &'a str, role: &'a Role, duration: &'a str) -> Vec<(&'a str, &'a str)> {
    let session = role.session_name.as_deref().unwrap_or(SESSION_NAME);
    let mut parameters = vec![
        ("Action", action),
        ("DurationSeconds", duration),
        ("Format", "JSON"),
        ("RoleArn", role.arn.as_str()),
        ("RoleSessionName", session),
        ("Version", "2015-04-01"),
    ];
    parameters.extend(role.policy.as_deref().map(|policy| ("Policy", policy)));
    parameters
}

/// A text that never repeats: 128 bits, seeded anew for each.
fn nonce(clock: &dyn crate::clock::Clock) -> String {
    let part = || RandomState::new().hash_one((std::process::id(), clock.now(), clock.wall().0));
    format!("{:016x}{:016x}", part(), part())
}
