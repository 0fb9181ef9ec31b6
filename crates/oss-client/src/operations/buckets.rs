//! Buckets.

use oss_protocol::operation::Operation;
use oss_protocol::xml::LocationConstraint;

use super::document;
use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::Error;
use crate::transport::{Answer, Request};

impl Client {
    /// Asks in which region a bucket is, without the `oss-` prefix.
    ///
    /// # Errors
    /// What the transport gave up with.
    pub fn get_bucket_location(&self, bucket: &str, cancel: &Cancel) -> Result<String, Error> {
        let mut request = Request::new(Operation::GetBucketLocation, "GET", Some(bucket), None);
        request.query = &[("location", "")];
        let accept = |answer: &Answer| document::<LocationConstraint>(answer);
        let location = self.transport(request.label)?.execute(&request, cancel, accept)?.0.0;
        Ok(location.strip_prefix("oss-").unwrap_or(&location).to_owned())
    }
}
