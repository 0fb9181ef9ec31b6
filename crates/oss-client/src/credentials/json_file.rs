//! Credentials from the JSON file that the original reads (`contract.md`, D.1).

use std::path::{Path, PathBuf};

use super::document::{self, USUAL};
use super::watched_file::{self, WatchedFile};
use super::{CredentialsProvider, Fetched};
use crate::asker::Asker;
use crate::error::Error;

/// Reads `{"AccessKeyId", "AccessKeySecret", "SecurityToken"?, "Expiration"?}` from a file.
#[derive(Debug)]
pub struct JsonFileProvider {
    file: WatchedFile,
}

impl JsonFileProvider {
    /// Reads `path` when asked, not now.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        JsonFileProvider { file: WatchedFile::new(path) }
    }

    /// Whether a file is at `path` and its first non-blank byte is `{`; another tool keeps an INI file under the same
    /// name. What this user cannot reach is not there.
    ///
    /// # Errors
    /// `Credentials`, naming the file, if it is there and cannot be read now.
    pub fn looks_like_one(path: &Path) -> Result<bool, Error> {
        let start = watched_file::start_of(path, &source_of(path))?.unwrap_or_default();
        Ok(start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{'))
    }
}

fn source_of(path: &Path) -> String {
    format!("credentials file {}", path.display())
}

impl CredentialsProvider for JsonFileProvider {
    fn fetch_unless(&self, _asker: &Asker<'_>) -> Result<Fetched, Error> {
        let source = self.source();
        self.file.read(&source, "correct cred_path or the file", |content| {
            document::credentials(&document::parse(content, &source)?, &USUAL, &source)
        })
    }

    fn source(&self) -> String {
        source_of(self.file.path())
    }

    fn has_changed(&self) -> bool {
        self.file.has_changed()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use oss_protocol::time::UtcTime;

    use super::*;

    /// A file of its own for one test, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            Scratch(std::env::temp_dir().join(format!("oss-client-{}-{name}", std::process::id())))
        }

        fn write(&self, text: &str) {
            fs::write(&self.0, text).expect("a writable temporary directory");
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    #[test]
    fn the_documented_fields_are_read() {
        let file = Scratch::new("whole");
        file.write(
            r#"{"AccessKeyId":"i","AccessKeySecret":"s","SecurityToken":"t","Expiration":"2024-08-02T15:04:05Z","More":1}"#,
        );
        let fetched = JsonFileProvider::new(&file.0).fetch().expect("valid");
        assert_eq!(fetched.expires_at, Some(UtcTime(1_722_611_045)));
        let credentials = fetched.credentials.expect("credentials");
        assert_eq!(credentials.access_key_id, "i");
        assert_eq!(credentials.security_token.expect("a token").expose(), "t");
    }

    #[test]
    fn a_malformed_file_is_named_and_its_content_is_not_shown() {
        let file = Scratch::new("malformed");
        let cases = [
            ("", "line 1"),
            ("{\"AccessKeyId\":\"canary\"", "not the expected JSON"),
            ("{\"AccessKeyId\":\"canary\"}", "AccessKeySecret is absent"),
            ("{\"accesskeyid\":\"canary\",\"AccessKeySecret\":\"canary\"}", "AccessKeyId is absent"),
            ("{\"AccessKeyId\":\"canary\",\"AccessKeySecret\":7}", "AccessKeySecret is not a string"),
            (
                "{\"AccessKeyId\":\"canary\",\"AccessKeySecret\":\"canary\",\"Expiration\":\"soon\"}",
                "Expiration",
            ),
        ];
        for (content, expected) in cases {
            file.write(content);
            let error = JsonFileProvider::new(&file.0).fetch().expect_err(content).to_string();
            assert!(
                error.contains(expected) && error.contains("malformed") && !error.contains("canary"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_rewritten_file_is_noticed() {
        let file = Scratch::new("rewritten");
        file.write(r#"{"AccessKeyId":"i","AccessKeySecret":"s"}"#);
        let provider = JsonFileProvider::new(&file.0);
        assert!(JsonFileProvider::looks_like_one(&file.0).expect("readable"));
        provider.fetch().expect("valid");
        assert!(!provider.has_changed());
        file.write(r#"{"AccessKeyId":"i2","AccessKeySecret":"s2"}"#);
        assert!(provider.has_changed());
        fs::remove_file(&file.0).expect("it is there");
        assert!(!provider.has_changed(), "a vanished file is not news");
    }
}
