//! Who signs: an access key and, for temporary keys, its security token.

use std::fmt;

use zeroize::Zeroizing;

/// A text that is never printed and is wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Take a text into care.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself; for signing, never for messages.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        super::mac::equal(self.expose().as_bytes(), other.expose().as_bytes())
    }
}

impl Eq for Secret {}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// An access key of OSS; `security_token` is there for temporary keys only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The public half, as it appears in requests.
    pub access_key_id: String,
    /// The half that signs.
    pub access_key_secret: Secret,
    /// Token of temporary keys (STS), sent along with every request.
    pub security_token: Option<Secret>,
}

impl Credentials {
    /// Put an access key together.
    #[must_use]
    pub fn new(id: impl Into<String>, secret: impl Into<Secret>, security_token: Option<Secret>) -> Self {
        Self { access_key_id: id.into(), access_key_secret: secret.into(), security_token }
    }
}
