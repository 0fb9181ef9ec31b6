//! The ini file of the SDKs: `~/.alibabacloud/credentials.ini`.

use std::collections::HashMap;
use std::path::PathBuf;

use oss_protocol::sign::{Credentials, Secret};

use super::document::printable;
use super::plan::Plan;
use super::profile::PROFILE;
use super::statics::broken;
use super::sts::{Place, Role};
use super::watched_file::WatchedFile;
use super::{CredentialsProvider, Fetched, Surroundings};
use crate::asker::Asker;
use crate::error::Error;

const FILE: &str = "ALIBABA_CLOUD_CREDENTIALS_FILE";

/// Reads one section of the file, anew for every set of keys.
#[derive(Debug)]
pub struct IniProvider {
    file: WatchedFile,
    section: String,
    around: Surroundings,
}

type Section = HashMap<String, String>;

impl IniProvider {
    /// Where the file lies; `None` without a home.
    pub(super) fn path(around: &Surroundings) -> Option<PathBuf> {
        let usual = || around.home_file(".alibabacloud/credentials.ini");
        around.variable(FILE).map(PathBuf::from).or_else(usual)
    }

    /// The section that the environment means, or `default`; `None` without a file, unless one was named.
    ///
    /// # Errors
    /// `Credentials`, if it cannot be told now whether there is a file.
    pub fn from_environment(around: &Surroundings) -> Result<Option<Self>, Error> {
        let Some(path) = IniProvider::path(around) else { return Ok(None) };
        let provider = IniProvider {
            file: WatchedFile::new(path),
            section: around.variable(PROFILE).unwrap_or_else(|| "default".to_owned()),
            around: around.clone(),
        };
        let is_meant = around.variable(FILE).is_some() || provider.file.is_there(&provider.source())?;
        Ok(is_meant.then_some(provider))
    }

    fn section(&self, content: &[u8]) -> Result<Section, Error> {
        let text =
            std::str::from_utf8(content).map_err(|_bytes| broken(&self.source(), "is not UTF-8 text"))?;
        section_of(text, &self.section).ok_or_else(|| {
            let what = format!("there is no such section; add it, or set {PROFILE} to one that is there");
            broken(&self.source(), &what)
        })
    }

    fn plan(&self, section: &Section) -> Result<Plan, Error> {
        let source = self.source();
        let optional = |name: &str| section.get(name).filter(|text| !text.is_empty()).cloned();
        let field = |name: &str| {
            optional(name).ok_or_else(|| broken(&source, &format!("{name} is absent or empty; add it")))
        };
        if optional("enable").is_some_and(|text| text.eq_ignore_ascii_case("false")) {
            return Err(broken(&source, "says enable = false; enable it or name another section"));
        }
        let keys = |token: Option<String>| -> Result<Plan, Error> {
            let secret = Secret::new(field("access_key_secret")?);
            let credentials = Credentials::new(field("access_key_id")?, secret, token.map(Secret::new));
            Ok(Plan::Keys(Fetched { credentials: Some(credentials), expires_at: None }))
        };
        let role = || -> Result<Role, Error> {
            Ok(Role {
                arn: field("role_arn")?,
                session_name: optional("role_session_name"),
                duration_seconds: optional("duration_seconds").and_then(|text| text.parse().ok()),
                policy: optional("policy"),
                external_id: optional("external_id"),
            })
        };
        let place = Place { region: optional("sts_region"), ..Place::default() };
        Ok(match optional("type").as_deref().unwrap_or("access_key") {
            "access_key" => keys(None)?,
            "sts" => keys(Some(field("security_token")?))?,
            "ram_role_arn" => {
                Plan::Role { base: Box::new(keys(optional("security_token"))?), role: role()?, place }
            }
            "ecs_ram_role" => Plan::Ecs { role: optional("role_name") },
            "oidc_role_arn" => Plan::Oidc {
                role: role()?,
                provider_arn: field("oidc_provider_arn")?,
                token_file: field("oidc_token_file_path")?,
                place,
            },
            other => {
                let what = format!("type {} is not known here; use another section", printable(other));
                return Err(broken(&source, &what));
            }
        })
    }
}

impl CredentialsProvider for IniProvider {
    fn fetch_unless(&self, asker: &Asker<'_>) -> Result<Fetched, Error> {
        let source = self.source();
        let remedy = format!("correct {FILE} or the file");
        let plan = self.file.read(&source, &remedy, |content| self.plan(&self.section(content)?))?;
        plan.fetch(&self.around, &source, asker)
    }

    fn source(&self) -> String {
        format!("credentials file {}, section {}", self.file.path().display(), self.section)
    }

    fn has_changed(&self) -> bool {
        self.file.has_changed()
    }
}

/// The last section of that name: names in lower case, values without comments.
fn section_of(text: &str, wanted: &str) -> Option<Section> {
    let mut found: Option<Section> = None;
    let mut is_inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            is_inside = name.trim() == wanted;
            if is_inside {
                found = Some(Section::new());
            }
        } else if is_inside
            && !line.starts_with(['#', ';'])
            && let (Some((name, value)), Some(section)) = (line.split_once('='), &mut found)
        {
            section.insert(name.trim().to_ascii_lowercase(), without_comment(value.trim()).to_owned());
        }
    }
    found
}

/// A comment begins at a blank and `#`: a secret may hold a `#`.
fn without_comment(value: &str) -> &str {
    value.split(" #").next().unwrap_or(value).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_told_apart_and_comments_left_out() {
        let text = "# top\n[default]\nenable = true # use it\nType= access_key\n\n[ other ]\naccess_key_secret = a#b=c  # x\n; no = 1\n";
        let other = section_of(text, "other").expect("it is there");
        assert_eq!(other.get("access_key_secret").map(String::as_str), Some("a#b=c"));
        assert_eq!(other.len(), 1);
        let default = section_of(text, "default").expect("it is there");
        assert_eq!(default.get("enable").map(String::as_str), Some("true"));
        assert_eq!(default.get("type").map(String::as_str), Some("access_key"));
        assert_eq!(section_of(text, "absent"), None);
    }
}
