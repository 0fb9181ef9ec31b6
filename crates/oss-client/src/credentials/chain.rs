//! The chain: who is asked when nobody was named (`contract.md`, D.3).
//!
//! A link that is not configured is passed over. The first configured link is chosen and stays for the
//! life of the provider; if it fails, that is an error: no second identity is tried.

use std::path::PathBuf;

use super::{CredentialsProvider, EnvironmentPair, EnvironmentProvider, Fetched, JsonFileProvider};
use crate::config::environment_variable;
use crate::error::{Error, ErrorKind};
use crate::sync::OnceLock;

/// Where the original reads, and so a migrated job keeps its identity.
const DEFAULT_FILE: &str = "/root/.alibabacloud/credentials";

/// File, then `OSS_*`, then `ALIBABA_CLOUD_*`.
#[derive(Debug)]
pub struct ChainProvider {
    files: Vec<PathBuf>,
    pairs: Vec<EnvironmentProvider>,
    chosen: OnceLock<Box<dyn CredentialsProvider>>,
}

impl Default for ChainProvider {
    fn default() -> Self {
        ChainProvider::new()
    }
}

impl ChainProvider {
    /// The default links. Nothing is looked at before the first request.
    pub fn new() -> Self {
        let mut files = vec![PathBuf::from(DEFAULT_FILE)];
        if let Some(home) = environment_variable("HOME") {
            let own = PathBuf::from(home).join(".alibabacloud/credentials");
            if !files.contains(&own) {
                files.push(own);
            }
        }
        let pairs = [EnvironmentPair::Oss, EnvironmentPair::AlibabaCloud].map(EnvironmentProvider::new);
        ChainProvider::with_links(files, pairs.to_vec())
    }

    /// Other links; for tests.
    pub fn with_links(files: Vec<PathBuf>, pairs: Vec<EnvironmentProvider>) -> Self {
        ChainProvider { files, pairs, chosen: OnceLock::new() }
    }

    fn choose(&self) -> Option<Box<dyn CredentialsProvider>> {
        if let Some(path) = self.files.iter().find(|path| JsonFileProvider::looks_like_one(path)) {
            return Some(Box::new(JsonFileProvider::new(path)));
        }
        let pair = self.pairs.iter().find(|pair| pair.is_configured())?;
        Some(Box::new(*pair))
    }

    fn link(&self) -> Result<&dyn CredentialsProvider, Error> {
        if let Some(chosen) = self.chosen.get() {
            return Ok(&**chosen);
        }
        let link = self.choose().ok_or_else(|| self.nothing_found())?;
        Ok(&**self.chosen.get_or_init(|| link))
    }

    fn nothing_found(&self) -> Error {
        let files = self.files.iter().map(|path| format!("file {}", path.display()));
        let looked: Vec<_> = files.chain(self.pairs.iter().map(CredentialsProvider::source)).collect();
        let text = format!(
            "no credentials found; looked at: {}. Pass cred_path or cred_provider, or set one of these",
            looked.join("; ")
        );
        Error::new(ErrorKind::Credentials, "credentials", text)
    }
}

impl CredentialsProvider for ChainProvider {
    fn fetch(&self) -> Result<Fetched, Error> {
        self.link()?.fetch()
    }

    fn source(&self) -> String {
        self.chosen.get().map_or_else(|| "the credentials chain".to_owned(), |link| link.source())
    }

    fn has_changed(&self) -> bool {
        self.chosen.get().is_some_and(|link| link.has_changed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_name: &str) -> Option<String> {
        None
    }

    fn oss_only(name: &str) -> Option<String> {
        name.starts_with("OSS_ACCESS").then(|| "x".to_owned())
    }

    fn pairs(lookup: fn(&str) -> Option<String>) -> Vec<EnvironmentProvider> {
        [EnvironmentPair::Oss, EnvironmentPair::AlibabaCloud]
            .map(|pair| EnvironmentProvider::with_lookup(pair, lookup))
            .to_vec()
    }

    #[test]
    fn nothing_found_lists_what_was_looked_at() {
        let chain =
            ChainProvider::with_links(vec![PathBuf::from("/nonexistent/credentials")], pairs(nothing));
        let error = chain.fetch().expect_err("nothing is there").to_string();
        for place in ["/nonexistent/credentials", "OSS_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_ID"] {
            assert!(error.contains(place), "{error}");
        }
    }

    #[test]
    fn a_configured_file_that_fails_is_the_end() {
        let path = std::env::temp_dir().join(format!("oss-client-{}-chain", std::process::id()));
        std::fs::write(&path, "  {broken").expect("a writable temporary directory");
        let chain = ChainProvider::with_links(vec![path.clone()], pairs(oss_only));
        let error = chain.fetch().expect_err("the file is chosen").to_string();
        std::fs::remove_file(&path).expect("it is there");
        assert!(error.contains("credentials file"));
        let again = chain.fetch().expect_err("the choice stays").to_string();
        assert!(again.contains("credentials file"));
    }

    #[test]
    fn the_environment_is_used_when_there_is_no_file() {
        let chain = ChainProvider::with_links(Vec::new(), pairs(oss_only));
        assert!(chain.fetch().expect("a pair").credentials.is_some());
        assert!(chain.source().contains("OSS_ACCESS_KEY_ID"));
    }
}
