//! Keys from a URL, as agents that run beside a program offer them.

use std::fmt;

use oss_protocol::uri::{Addressing, Endpoint};

use super::document::answered;
use super::statics::broken;
use super::{CredentialsProvider, Fetched, Surroundings};
use crate::asker::Asker;
use crate::error::Error;
use crate::http::ask::{Question, Service};

const VARIABLE: &str = "ALIBABA_CLOUD_CREDENTIALS_URI";

/// Asks one URL.
pub struct UriProvider {
    service: Service,
    /// Path and query; may hold a secret, so it is never shown.
    target: String,
}

impl fmt::Debug for UriProvider {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "UriProvider({})", self.service.host())
    }
}

impl UriProvider {
    /// The URL that the environment names; `None` without one.
    ///
    /// # Errors
    /// `Credentials`, when it is no URL that can be asked.
    pub fn from_environment(around: &Surroundings) -> Result<Option<Self>, Error> {
        around.variable(VARIABLE).map(|text| UriProvider::parse(around, &text)).transpose()
    }

    /// Reads a URL.
    ///
    /// # Errors
    /// `Credentials`, without any of it.
    pub(super) fn parse(around: &Surroundings, text: &str) -> Result<Self, Error> {
        let (endpoint, target) = split(text)?;
        Ok(UriProvider { service: around.server(&endpoint), target })
    }
}

/// Whom a URL says to ask, and what: path and query.
///
/// # Errors
/// `Credentials`, without any of it.
pub(crate) fn split(text: &str) -> Result<(Endpoint, String), Error> {
    let refused = |what: &str| Err(broken(VARIABLE, &format!("{what}; set http[s]://host[:port]/path")));
    let Some((scheme, rest)) = text.split_once("://") else { return refused("is no URL") };
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || target.contains('#') {
        return refused("has a blank, a control character or a fragment");
    }
    let endpoint = match Endpoint::parse_for(&format!("{scheme}://{authority}"), Addressing::Cname) {
        Ok(endpoint) => endpoint,
        Err(_what) if authority.contains('@') => return refused("has user information before an @"),
        Err(_what) => return refused("names no host that can be asked"),
    };
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    Ok((endpoint, target))
}

impl CredentialsProvider for UriProvider {
    fn fetch_unless(&self, asker: &Asker<'_>) -> Result<Fetched, Error> {
        let question = Question { method: "GET", target: &self.target, headers: &[], body: b"" };
        let reply = self.service.ask(question, asker).map_err(|why| {
            broken(&self.source(), &format!("no answer ({why}); start the service or unset {VARIABLE}"))
        })?;
        match reply.status {
            200 => answered(&reply.body, &self.source()),
            status => Err(broken(&self.source(), &format!("answered status {status}; correct {VARIABLE}"))),
        }
    }

    fn source(&self) -> String {
        format!("credentials URI at {} ({VARIABLE})", self.service.host())
    }
}
