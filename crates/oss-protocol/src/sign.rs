//! Signatures of requests: V4 (`OSS4-HMAC-SHA256`) and V1, made by the client, checked by the emulator.
//!
//! Everything takes values and returns values: the time comes in as a [`crate::time::UtcTime`] or
//! as a [`Stamp`], the request as [`RequestParts`]. The wire facts are those of the public signing
//! pages of OSS ("V4 signature", "V1 signature") and of the official SDKs.

mod canonical;
mod credentials;
mod mac;
mod presign;
mod request;
pub mod rpc;
pub mod v1;
mod v4;
mod verify;

pub use canonical::{canonical_request, string_to_sign};
pub use credentials::{Credentials, Secret};
pub use presign::{MAX_PRESIGN_SECONDS, PresignError, Presigned};
pub use request::{RequestParts, Signed};
pub use v4::{Scope, Signer, SigningKey, Stamp};
pub use verify::{
    CLOCK_WINDOW_SECONDS, Identity, KeyLookup, SignatureProblem, SignatureVersion, VerifyPolicy,
    VerifyRequest, verify,
};
