//! What a profile asks for, whichever file it stands in.

use super::ecs::EcsRoleProvider;
use super::oidc::OidcProvider;
use super::process::ProcessProvider;
use super::statics::{broken, check_complete};
use super::sts::{Place, Role, Sts};
use super::uri::UriProvider;
use super::{CredentialsProvider, Fetched, Surroundings};
use crate::asker::Asker;
use crate::error::Error;

/// How to come by keys.
pub(super) enum Plan {
    /// They stand in the file.
    Keys(Fetched),
    /// A role, assumed with the keys of another plan.
    Role { base: Box<Plan>, role: Role, place: Place },
    /// The role of the machine.
    Ecs { role: Option<String> },
    /// A role, by the token in a file.
    Oidc { role: Role, provider_arn: String, token_file: String, place: Place },
    /// What a URL answers; it may hold a secret.
    Uri { url: String },
    /// The output of a program.
    Process { command: String },
}

impl Plan {
    /// Carries it out; `source` is the profile, for errors.
    pub(super) fn fetch(
        &self,
        around: &Surroundings,
        source: &str,
        asker: &Asker<'_>,
    ) -> Result<Fetched, Error> {
        match self {
            Plan::Keys(fetched) => Ok(fetched.clone()),
            Plan::Role { base, role, place } => {
                let sts = Sts::new(around, place, source)?;
                let base = base.fetch(around, source, asker)?;
                let Some(keys) = base.credentials else {
                    return Err(broken(source, "there are no keys to assume the role with"));
                };
                check_complete(&keys, source)?;
                sts.assume_role(&keys, role, asker)
            }
            Plan::Ecs { role } => EcsRoleProvider::new(around, role.clone())?.fetch_unless(asker),
            Plan::Oidc { role, provider_arn, token_file, place } => {
                let sts = Sts::new(around, place, source)?;
                let (role, provider) = (role.clone(), provider_arn.clone());
                OidcProvider::new(role, provider, token_file, sts, source.to_owned()).fetch_unless(asker)
            }
            Plan::Uri { url } => UriProvider::parse(around, url)?.fetch_unless(asker),
            Plan::Process { command } => ProcessProvider::new(command)?.fetch_unless(asker),
        }
        .map_err(|error| named(error, source))
    }
}

/// Names the profile in the errors of what it asks for.
fn named(mut error: Error, source: &str) -> Error {
    if !error.message.contains(source) {
        error.message = format!("{source}: {}", error.message);
    }
    error
}
