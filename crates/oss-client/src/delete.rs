//! Deleting any number of objects: a request for each thousand of a bucket.

use oss_protocol::uri::ObjectUri;

use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::operations::{DeleteRefusals, MAX_DELETE_KEYS};

impl Client {
    /// Deletes objects in the order given. One that is not there is success.
    ///
    /// A key that the service refuses does not keep the others; the first one is raised at the end.
    ///
    /// # Errors
    /// `PermissionDenied` or `Service` (a key was refused; the error names it), or what the transport gave up
    /// with; later requests are then not sent.
    pub fn delete_all(&self, uris: &[ObjectUri], cancel: &Cancel) -> Result<(), Error> {
        let mut refusal: Option<Error> = None;
        for of_a_bucket in uris.chunk_by(|one, next| one.bucket == next.bucket) {
            for chunk in of_a_bucket.chunks(MAX_DELETE_KEYS) {
                let bucket = &chunk[0].bucket;
                let keys: Vec<&str> = chunk.iter().map(|uri| uri.key.as_str()).collect();
                let refused = self.delete_objects(bucket, &keys, cancel)?;
                refusal = refusal.or_else(|| error_of(bucket, &refused));
            }
        }
        refusal.map_or(Ok(()), Err)
    }
}

/// The error that names the first key that was refused.
fn error_of(bucket: &str, answer: &DeleteRefusals) -> Option<Error> {
    let first = answer.refused.first()?;
    let others = match answer.refused.len() - 1 {
        0 => String::new(),
        count => format!(", and {count} others of this request neither"),
    };
    let said = if first.message.is_empty() {
        String::new()
    } else {
        format!(", the service says: {}", first.message)
    };
    let (kind, remedy) = if first.code.starts_with("AccessDenied") {
        (ErrorKind::PermissionDenied, "the right oss:DeleteObject on it is needed")
    } else {
        (ErrorKind::Service, "look at the code, then delete it again")
    };
    let text = format!("the object was not deleted{others}{said}; {remedy}");
    let mut error = Error::new(kind, "DeleteMultipleObjects", text)
        .with_uri(ObjectUri { bucket: bucket.to_owned(), key: first.key.clone() }.to_string())
        .with_effort(answer.attempts, 0.0);
    error.code.clone_from(&first.code);
    error.request_id.clone_from(&answer.request_id);
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oss_protocol::xml::DeleteFailure;

    fn refused(code: &str, count: usize) -> DeleteRefusals {
        let one = |number: usize| DeleteFailure {
            key: format!("k{number}"),
            code: code.to_owned(),
            message: "no".to_owned(),
        };
        DeleteRefusals { refused: (0..count).map(one).collect(), request_id: "R".to_owned(), attempts: 1 }
    }

    #[test]
    fn the_first_refused_key_is_named() {
        let error = error_of("b", &refused("AccessDenied", 3)).expect("an error");
        assert_eq!(error.kind, ErrorKind::PermissionDenied);
        assert_eq!((error.uri.as_str(), error.code.as_str()), ("oss://b/k0", "AccessDenied"));
        assert!(error.to_string().contains("2 others"), "{error}");
        let error = error_of("b", &refused("InternalError", 1)).expect("an error");
        assert_eq!(error.kind, ErrorKind::Service);
        assert!(!error.to_string().contains("others"), "{error}");
        assert!(error_of("b", &refused("AccessDenied", 0)).is_none());
    }
}
