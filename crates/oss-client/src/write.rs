//! The write engine: bytes cut into parts, uploaded under a window, published or aborted.

mod abort;
mod copy;
mod etag;
mod failure;
mod options;
pub mod orphans;
pub mod parts;
mod progress;
mod publish;
mod recall;
pub mod resume;
pub mod settle;
mod stage;
mod upload;
mod workers;

pub use options::UploadOptions;
pub use orphans::{AbandonedUpload, Shape, abandoned_uploads, remove_abandoned};
pub use progress::Timings;
pub use stage::Stage;
pub use upload::Upload;
