//! Credentials from the JSON file that the original reads (`contract.md`, D.1).

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use oss_protocol::sign::{Credentials, Secret};
use oss_protocol::time::UtcTime;
use serde_json::{Map, Value};

use super::statics::broken;
use super::{CredentialsProvider, Fetched};
use crate::error::Error;
use crate::sync::Mutex;

/// Larger files are not credentials: 1 MiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What tells one state of a file from another. Symbolic links are followed, so a rename in a mounted
/// secret shows as another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    modified_ns: i128,
    size: u64,
    inode: u64,
}

/// Reads `{"AccessKeyId", "AccessKeySecret", "SecurityToken"?, "Expiration"?}` from a file.
#[derive(Debug)]
pub struct JsonFileProvider {
    path: PathBuf,
    last_read: Mutex<Option<Fingerprint>>,
}

impl JsonFileProvider {
    /// Reads `path` when asked, not now.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        JsonFileProvider { path: path.into(), last_read: Mutex::new(None) }
    }

    /// Whether `path` exists, can be read, and its first non-blank byte is `{`; another tool keeps an INI
    /// file under the same name.
    pub fn looks_like_one(path: &Path) -> bool {
        let mut start = [0; 64];
        let read = fs::File::open(path).and_then(|mut file| file.read(&mut start)).unwrap_or(0);
        start[..read].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
    }

    fn fingerprint(&self) -> Option<Fingerprint> {
        let meta = fs::metadata(&self.path).ok()?;
        Some(Fingerprint {
            modified_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
            size: meta.len(),
            inode: meta.ino(),
        })
    }

    fn read(&self) -> Result<Vec<u8>, Error> {
        let file = fs::File::open(&self.path).map_err(|error| {
            broken(
                &self.source(),
                &format!("cannot be opened ({}); correct cred_path or the file", error.kind()),
            )
        })?;
        let mut content = Vec::new();
        file.take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut content)
            .map_err(|error| broken(&self.source(), &format!("cannot be read ({})", error.kind())))?;
        if content.len() as u64 > MAX_FILE_BYTES {
            return Err(broken(&self.source(), "is larger than 1 MiB, so it holds no credentials"));
        }
        Ok(content)
    }

    fn parse(&self, content: &[u8]) -> Result<Fetched, Error> {
        let source = self.source();
        let document: Map<String, Value> = serde_json::from_slice(content).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            broken(&source, &format!("is not the expected JSON object ({place}); correct the file"))
        })?;
        let text = |name: &str| match document.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(broken(&source, &format!("field {name} is not a string; correct the file"))),
        };
        let needed = |name: &str| {
            text(name)?.ok_or_else(|| broken(&source, &format!("field {name} is absent or empty")))
        };
        let id = needed("AccessKeyId")?;
        let secret = needed("AccessKeySecret")?;
        let token = text("SecurityToken")?.map(Secret::new);
        let expires_at = match text("Expiration")? {
            None => None,
            Some(text) => Some(UtcTime::parse_iso8601(&text).map_err(|_unparsable| {
                broken(&source, "field Expiration is not an ISO 8601 time with a zone (2024-08-02T15:04:05Z)")
            })?),
        };
        let credentials = Credentials::new(id, Secret::new(secret), token);
        Ok(Fetched { credentials: Some(credentials), expires_at })
    }
}

impl CredentialsProvider for JsonFileProvider {
    fn fetch(&self) -> Result<Fetched, Error> {
        let before = self.fingerprint();
        let fetched = self.parse(&self.read()?)?;
        *self.last_read.lock() = before;
        Ok(fetched)
    }

    fn source(&self) -> String {
        format!("credentials file {}", self.path.display())
    }

    fn has_changed(&self) -> bool {
        let now = self.fingerprint();
        now.is_some() && now != *self.last_read.lock()
    }
}

#[cfg(test)]
mod tests {
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
        assert!(JsonFileProvider::looks_like_one(&file.0));
        provider.fetch().expect("valid");
        assert!(!provider.has_changed());
        file.write(r#"{"AccessKeyId":"i2","AccessKeySecret":"s2"}"#);
        assert!(provider.has_changed());
        fs::remove_file(&file.0).expect("it is there");
        assert!(!provider.has_changed(), "a vanished file is not news");
    }
}
