//! The stages of an upload.

/// Where an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Taking bytes; they all fit into one part so far, and nothing was sent.
    Open,
    /// Taking bytes; parts are on their way.
    Multipart,
    /// Takes no more bytes; nothing is visible.
    Sealed,
    /// The request that makes the object visible is on its way.
    Publishing,
    /// The object is visible, whole and checked.
    Published,
    /// Given up; nothing was published.
    Aborted,
    /// It could not be told whether the object became visible.
    Unknown,
}

impl Stage {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Open => "open",
            Stage::Multipart => "multipart",
            Stage::Sealed => "sealed",
            Stage::Publishing => "publishing",
            Stage::Published => "published",
            Stage::Aborted => "aborted",
            Stage::Unknown => "unknown",
        }
    }
}
