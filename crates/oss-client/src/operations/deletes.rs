//! Deleting many objects with one request.

use std::collections::HashSet;

use md5::{Digest as _, Md5};
use oss_protocol::encoding::base64_encode;
use oss_protocol::operation::Operation;
use oss_protocol::xml::{Delete, DeleteFailure, DeleteResult, DeleteTarget, Document as _};

use super::owned;
use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::Error;
use crate::transport::{Answer, BadAnswer, Request};

/// Keys of one DeleteMultipleObjects, by OSS's rules.
pub const MAX_DELETE_KEYS: usize = 1000;

/// What the service refused of one DeleteMultipleObjects.
#[derive(Debug, Clone, Default)]
pub struct DeleteRefusals {
    /// Keys that are still there, in the order of the answer, with its code and message.
    pub refused: Vec<DeleteFailure>,
    /// The service's name for the request.
    pub request_id: String,
    /// Requests sent.
    pub attempts: u32,
}

impl Client {
    /// Deletes objects of one bucket with one request, at most [`MAX_DELETE_KEYS`]. One that is not there is success.
    ///
    /// The answer is asked to name every key: what it does not name may still be there, and OSS does not
    /// document how it words the refusal of a single key.
    ///
    /// # Errors
    /// `Protocol` (the answer does not name every key), or what the transport gave up with.
    pub fn delete_objects(
        &self,
        bucket: &str,
        keys: &[&str],
        cancel: &Cancel,
    ) -> Result<DeleteRefusals, Error> {
        assert!(keys.len() <= MAX_DELETE_KEYS, "the caller divides what it wants deleted");
        let target = |key: &&str| DeleteTarget { key: (*key).to_owned(), version_id: None };
        let body = Delete { quiet: false, objects: keys.iter().map(target).collect() }.encode();
        let digest = base64_encode(&Md5::digest(&body));
        let pieces = [body.as_slice()];
        let mut request = Request::new(Operation::DeleteMultipleObjects, "POST", Some(bucket), None);
        request.query = &[("delete", ""), ("encoding-type", "url")];
        let signed = [("content-md5", digest.as_str()), ("content-type", "application/xml")];
        request.signed = &signed;
        request.body = &pieces;
        request.body_limit = DeleteResult::MAX_BYTES;
        let accept = |answer: &Answer| refusals(answer, keys);
        let (refused, answer) = self.transport(request.label)?.execute(&request, cancel, accept)?;
        let request_id = owned(&answer, "x-oss-request-id").unwrap_or_default();
        Ok(DeleteRefusals { refused, request_id, attempts: answer.attempts })
    }
}

/// Reads the refusals; every key must be named, as deleted or as refused.
fn refusals(answer: &Answer, keys: &[&str]) -> Result<Vec<DeleteFailure>, BadAnswer> {
    let result = DeleteResult::decode_body(&answer.body, DeleteResult::MAX_BYTES)
        .map_err(|error| BadAnswer::Protocol(format!("the answer is no DeleteResult ({error})")))?;
    let deleted = result.deleted.iter().map(|object| object.key.as_str());
    let named: HashSet<&str> = deleted.chain(result.failures.iter().map(|one| one.key.as_str())).collect();
    match keys.iter().find(|key| !named.contains(**key)) {
        Some(key) => Err(BadAnswer::Protocol(format!("the answer does not say what became of {key:?}"))),
        None => Ok(result.failures),
    }
}
