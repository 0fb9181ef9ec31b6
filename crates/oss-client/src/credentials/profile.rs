//! A profile of the command line tool `aliyun`: `~/.aliyun/config.json`.

use std::path::PathBuf;

use oss_protocol::sign::{Credentials, Secret};
use oss_protocol::time::UtcTime;
use serde_json::Value;

use super::document::{self, Document, needed, printable, text};
use super::plan::Plan;
use super::statics::broken;
use super::sts::{Place, Role};
use super::watched_file::WatchedFile;
use super::{CredentialsProvider, Fetched, Surroundings};
use crate::asker::Asker;
use crate::error::Error;

/// Names the profile, here and in the ini file.
pub(super) const PROFILE: &str = "ALIBABA_CLOUD_PROFILE";
const DISABLED: &str = "ALIBABA_CLOUD_CLI_PROFILE_DISABLED";
/// Profiles that name one another end somewhere.
const MAX_DEPTH: usize = 8;

/// Reads one profile of the file, anew for every set of keys.
#[derive(Debug)]
pub struct ProfileProvider {
    file: WatchedFile,
    /// `None` = the file's current one.
    name: Option<String>,
    around: Surroundings,
}

impl ProfileProvider {
    /// Where the file lies; `None` where it is switched off or there is no home.
    pub(super) fn path(around: &Surroundings) -> Option<PathBuf> {
        if around.is_on(DISABLED) { None } else { around.home_file(".aliyun/config.json") }
    }

    /// The profile that the environment means; `None` without a file, or where the file lacks the profile and
    /// another file may have it.
    ///
    /// # Errors
    /// `Credentials`, if the file cannot be read.
    pub fn from_environment(around: &Surroundings) -> Result<Option<Self>, Error> {
        let Some(path) = ProfileProvider::path(around) else { return Ok(None) };
        let name = around.variable(PROFILE);
        let provider = ProfileProvider { file: WatchedFile::new(path), name, around: around.clone() };
        if !provider.file.is_there(&provider.source())? {
            return Ok(None);
        }
        let is_there = provider.with_document(|document| Ok(provider.chosen(document).is_some()))?;
        Ok(is_there.then_some(provider))
    }

    fn with_document<T>(&self, read: impl FnOnce(&Document) -> Result<T, Error>) -> Result<T, Error> {
        let source = self.source();
        let remedy = format!("correct it, or set {DISABLED}=true");
        self.file.read(&source, &remedy, |content| read(&document::parse(content, &source)?))
    }

    /// The profile's name and content.
    fn chosen<'d>(&self, document: &'d Document) -> Option<(String, &'d Document)> {
        let current = || document.get("current").and_then(Value::as_str).filter(|name| !name.is_empty());
        let name = self.name.clone().or_else(|| current().map(str::to_owned));
        let name = name.unwrap_or_else(|| "default".to_owned());
        find(document, &name).map(|profile| (name, profile))
    }

    fn plan(&self, document: &Document) -> Result<(String, Plan), Error> {
        let (name, profile) = self.chosen(document).ok_or_else(|| {
            broken(&self.source(), "the profile is gone; set ALIBABA_CLOUD_PROFILE to one that is there")
        })?;
        let source = self.source_of(&name);
        let plan = plan_of(document, profile, &source, MAX_DEPTH).map_err(with_remedy)?;
        Ok((source, plan))
    }

    fn source_of(&self, name: &str) -> String {
        format!("CLI profile {name} in {}", self.file.path().display())
    }
}

impl CredentialsProvider for ProfileProvider {
    fn fetch_unless(&self, asker: &Asker<'_>) -> Result<Fetched, Error> {
        let (source, plan) = self.with_document(|document| self.plan(document))?;
        plan.fetch(&self.around, &source, asker)
    }

    fn source(&self) -> String {
        self.source_of(self.name.as_deref().unwrap_or("(current)"))
    }

    fn has_changed(&self) -> bool {
        self.file.has_changed()
    }
}

/// A profile without keys is what the tool leaves before it is configured.
fn with_remedy(mut error: Error) -> Error {
    if error.message.ends_with("is absent or empty") {
        error.message = format!("{}; run `aliyun configure`, or set {DISABLED}=true", error.message);
    }
    error
}

fn find<'d>(document: &'d Document, name: &str) -> Option<&'d Document> {
    let profiles = document.get("profiles")?.as_array()?.iter().filter_map(Value::as_object);
    profiles.into_iter().find(|profile| profile.get("name").and_then(Value::as_str) == Some(name))
}

/// What the mode of a profile asks for.
fn plan_of(document: &Document, profile: &Document, source: &str, depth: usize) -> Result<Plan, Error> {
    let field = |name: &str| needed(profile, name, source);
    let mode = text(profile, "mode", source)?.unwrap_or_else(|| "AK".to_owned());
    Ok(match mode.as_str() {
        "AK" => Plan::Keys(keys(profile, source)?),
        "StsToken" => {
            field("sts_token")?;
            Plan::Keys(keys(profile, source)?)
        }
        "RamRoleArn" => Plan::Role {
            base: Box::new(Plan::Keys(keys(profile, source)?)),
            role: role(profile, source)?,
            place: place(profile, source)?,
        },
        "EcsRamRole" => Plan::Ecs { role: text(profile, "ram_role_name", source)? },
        "RamRoleArnWithRoleName" => Plan::Role {
            base: Box::new(Plan::Ecs { role: text(profile, "ram_role_name", source)? }),
            role: role(profile, source)?,
            place: place(profile, source)?,
        },
        "OIDC" => Plan::Oidc {
            role: role(profile, source)?,
            provider_arn: field("oidc_provider_arn")?,
            token_file: field("oidc_token_file")?,
            place: place(profile, source)?,
        },
        "ChainableRamRoleArn" => {
            let other = field("source_profile")?;
            let base = find(document, &other).ok_or_else(|| {
                broken(source, &format!("source_profile {other} is not in the file; correct it"))
            })?;
            if depth == 0 {
                return Err(broken(source, "profiles name one another in a circle; correct source_profile"));
            }
            Plan::Role {
                base: Box::new(plan_of(document, base, source, depth - 1)?),
                role: role(profile, source)?,
                place: place(profile, source)?,
            }
        }
        "CloudSSO" | "OAuth" => Plan::Keys(signed_in_keys(profile, source)?),
        "CredentialsURI" => Plan::Uri { url: field("credentials_uri")? },
        "External" => Plan::Process { command: field("process_command")? },
        other => {
            let what = format!("mode {} is not known here; use another profile", printable(other));
            return Err(broken(source, &what));
        }
    })
}

/// Keys that stand in the profile, with a token if there is one.
fn keys(profile: &Document, source: &str) -> Result<Fetched, Error> {
    let field = |name: &str| needed(profile, name, source);
    let token = text(profile, "sts_token", source)?.map(Secret::new);
    let credentials =
        Credentials::new(field("access_key_id")?, Secret::new(field("access_key_secret")?), token);
    Ok(Fetched { credentials: Some(credentials), expires_at: None })
}

/// Keys that the tool left after somebody signed in with it.
fn signed_in_keys(profile: &Document, source: &str) -> Result<Fetched, Error> {
    let signed_out = |_absent| broken(source, "nobody is signed in; run `aliyun configure` again");
    let mut fetched = keys(profile, source).map_err(signed_out)?;
    fetched.expires_at =
        profile.get("sts_expiration").and_then(Value::as_i64).filter(|at| *at > 0).map(UtcTime);
    Ok(fetched)
}

fn role(profile: &Document, source: &str) -> Result<Role, Error> {
    let duration = profile.get("expired_seconds").and_then(Value::as_u64).filter(|seconds| *seconds > 0);
    Ok(Role {
        arn: needed(profile, "ram_role_arn", source)?,
        session_name: text(profile, "ram_session_name", source)?,
        duration_seconds: duration,
        policy: text(profile, "policy", source)?,
        external_id: text(profile, "external_id", source)?,
    })
}

fn place(profile: &Document, source: &str) -> Result<Place, Error> {
    let is_vpc = profile.get("enable_vpc").and_then(Value::as_bool).unwrap_or(false);
    Ok(Place { region: text(profile, "sts_region", source)?, is_vpc })
}
