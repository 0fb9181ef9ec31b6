//! Who may sign, and whether a request is signed by them.

use std::sync::Mutex;

use oss_protocol::operation::Operation;
use oss_protocol::sign::{
    Credentials, KeyLookup, Secret, SignatureProblem, VerifyPolicy, VerifyRequest, verify,
};

use crate::locks::lock;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::service::Service;

/// An access key the emulator accepts.
#[derive(Debug)]
struct Account {
    credentials: Credentials,
    expires_ms: Option<i64>,
}

/// All access keys the emulator accepts.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    accounts: Mutex<Vec<Account>>,
}

impl Accounts {
    /// Accepts a key from now on, until `expires_ms` (service clock, unix milliseconds).
    pub(crate) fn add(&self, credentials: Credentials, expires_ms: Option<i64>) {
        let mut accounts = lock(&self.accounts);
        accounts.retain(|known| known.credentials != credentials);
        accounts.push(Account { credentials, expires_ms });
    }

    /// Lets keys expire that have this id or this token; says how many.
    pub(crate) fn expire(&self, id: Option<&str>, token: Option<&str>, now_ms: i64) -> usize {
        let mut accounts = lock(&self.accounts);
        let meant = |account: &&mut Account| {
            id.is_some_and(|id| id == account.credentials.access_key_id)
                || token.is_some_and(|token| token_of(&account.credentials) == Some(token))
        };
        accounts.iter_mut().filter(meant).map(|account| account.expires_ms = Some(now_ms)).count()
    }

    /// The key of that id, if it is accepted and not a temporary one.
    pub(crate) fn known(&self, id: &str, now_ms: i64) -> Option<Credentials> {
        match self.look_up(id, None, now_ms) {
            KeyLookup::Found(credentials) => Some(credentials),
            KeyLookup::Unknown | KeyLookup::Expired => None,
        }
    }

    /// Finds a key by its id; of several with the same id, the one with the token that was sent.
    fn look_up(&self, id: &str, token: Option<&str>, now_ms: i64) -> KeyLookup {
        let accounts = lock(&self.accounts);
        let named = || accounts.iter().rev().filter(|account| account.credentials.access_key_id == id);
        let exact = named().find(|account| token_of(&account.credentials) == token);
        match exact.or_else(|| named().next()) {
            None => KeyLookup::Unknown,
            Some(found) if found.expires_ms.is_none_or(|at| now_ms < at) => {
                KeyLookup::Found(found.credentials.clone())
            }
            // A permanent key does not expire in OSS, it is switched off: then nobody knows it.
            Some(found) if found.credentials.security_token.is_none() => KeyLookup::Unknown,
            Some(_) => KeyLookup::Expired,
        }
    }
}

fn token_of(credentials: &Credentials) -> Option<&str> {
    credentials.security_token.as_ref().map(Secret::expose)
}

/// The token a request carries, in whichever of its places.
fn sent_token(request: &Request) -> Option<&str> {
    let parameter =
        || request.parameter("x-oss-security-token").or_else(|| request.parameter("security-token"));
    request.header("x-oss-security-token").or_else(parameter).filter(|token| !token.is_empty())
}

/// Lets a request's own key expire, as the rule `expire_token` asks.
pub(crate) fn expire_sender(service: &Service, request: &Request) {
    let now_ms = service.store.clock().unix_millis();
    if let Some(token) = sent_token(request) {
        service.accounts.expire(None, Some(token), now_ms);
    } else if let Some(id) = sent_key_id(request) {
        service.accounts.expire(Some(id), None, now_ms);
    }
}

fn sent_key_id(request: &Request) -> Option<&str> {
    let authorization = request.header("authorization").unwrap_or_default();
    let v4 = authorization.split_once("Credential=").map(|(_, rest)| rest);
    let v1 = authorization.strip_prefix("OSS ");
    let credential = v4.or(v1).or_else(|| request.parameter("x-oss-credential"));
    credential
        .map(|text| text.split(['/', ':', ',']).next().unwrap_or(text))
        .or_else(|| request.parameter("OSSAccessKeyId"))
}

/// Checks who sent a request and whether they may: a known key may everything, nobody may what
/// the ACL gives to all.
///
/// # Errors
/// 403 (or 400) with the code of OSS.
pub(crate) fn authorize(service: &Service, request: &Request) -> Result<(), Refusal> {
    if is_anonymous(request) {
        return authorize_anonymous(service, request);
    }
    let headers: Vec<(&str, &[u8])> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
    let clock = service.store.clock();
    let arrived = VerifyRequest {
        method: &request.method,
        bucket: request.bucket.as_deref(),
        key: request.key.as_deref(),
        raw_query: &request.raw_query,
        headers: &headers,
    };
    let policy = VerifyPolicy { region: &service.region, product: "oss", now: clock.utc() };
    let token = sent_token(request);
    let verified = verify(&arrived, &policy, |id| service.accounts.look_up(id, token, clock.unix_millis()));
    verified.map(drop).map_err(|problem| refusal_of(&problem))
}

fn refusal_of(problem: &SignatureProblem) -> Refusal {
    let mut refusal = Refusal::new(problem.status, problem.code, problem.message.clone());
    if !problem.ec.is_empty() {
        refusal = refusal.ec(problem.ec);
    }
    let fields = [
        ("OSSAccessKeyId", &problem.access_key_id),
        ("SignatureProvided", &problem.signature_provided),
        ("StringToSign", &problem.string_to_sign),
        ("CanonicalRequest", &problem.canonical_request),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            refusal = refusal.field(name, value.clone());
        }
    }
    refusal
}

fn is_anonymous(request: &Request) -> bool {
    let in_query = ["Signature", "x-oss-signature", "OSSAccessKeyId", "x-oss-signature-version"];
    request.header("authorization").is_none() && in_query.iter().all(|name| request.parameter(name).is_none())
}

fn authorize_anonymous(service: &Service, request: &Request) -> Result<(), Refusal> {
    use Operation::{AppendObject, GetObject, GetObjectMeta, HeadObject, PutObject};
    let (bucket, key) = request.place();
    let object_acl =
        service.store.find(bucket, key, request.version_id()).ok().map(|found| found.0.acl.clone());
    let own = object_acl.filter(|acl| acl != "default");
    let acl = own.or_else(|| service.store.with(bucket, |bucket| bucket.acl.clone()).ok());
    let allowed = match request.operation {
        GetObject | HeadObject | GetObjectMeta => {
            matches!(acl.as_deref(), Some("public-read" | "public-read-write"))
        }
        PutObject | AppendObject => acl.as_deref() == Some("public-read-write"),
        _ => false,
    };
    if allowed {
        return Ok(());
    }
    let message = "You have no right to access this object because of bucket acl.";
    Err(Refusal::new(403, "AccessDenied", message))
}
