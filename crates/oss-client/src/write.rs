//! The write engine: bytes cut into parts, uploaded under a window, published or aborted.

mod abort;
mod failure;
pub mod orphans;
pub mod parts;
mod publish;
pub mod settle;
mod upload;
mod workers;

pub use orphans::{AbandonedUpload, Shape, abandoned_uploads, remove_abandoned};
pub use upload::{Stage, Upload, UploadOptions};
