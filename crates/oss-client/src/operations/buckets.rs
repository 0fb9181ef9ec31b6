//! Buckets.

use oss_protocol::operation::Operation;
use oss_protocol::time::UtcTime;
use oss_protocol::uri::Addressing;
use oss_protocol::xml::{BucketSummary, ListAllMyBucketsResult, LocationConstraint};

use super::{ListedBucket, document};
use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::transport::{Answer, Request};

/// Pages of a listing of buckets: an account has 100 buckets unless it asked for more, and a page has 1000.
const MAX_PAGES: usize = 1000;

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
        Ok(without_prefix(&location))
    }

    /// Lists all buckets of the account, of every region, page by page.
    ///
    /// # Errors
    /// `Config` where the endpoint is the domain of one bucket; `PermissionDenied` (the right is `oss:ListBuckets` on
    /// all of the account), `Listing`, or what the transport gave up with.
    pub fn list_buckets(&self, cancel: &Cancel) -> Result<Vec<ListedBucket>, Error> {
        if self.config().addressing == Addressing::Cname {
            let text = "the endpoint is the domain of one bucket (addressing \"cname\"), which lists no others; name an \
                        endpoint of OSS";
            return Err(Error::new(ErrorKind::Config, "ListBuckets", text));
        }
        let mut buckets: Vec<ListedBucket> = Vec::new();
        let mut marker = String::new();
        for _ in 0..MAX_PAGES {
            let query = [("max-keys", "1000"), ("marker", marker.as_str())];
            let mut request = Request::new(Operation::ListBuckets, "GET", None, None);
            request.query = &query[..if marker.is_empty() { 1 } else { 2 }];
            let accept = |answer: &Answer| document::<ListAllMyBucketsResult>(answer);
            let page = self.transport(request.label)?.execute(&request, cancel, accept)?.0;
            buckets.extend(page.buckets.into_iter().map(listed));
            if page.is_truncated != Some(true) {
                return Ok(buckets);
            }
            match page.next_marker {
                Some(next) if next > marker => marker = next,
                _ => break,
            }
        }
        let text = "the listing of buckets says that there is more, but not where; something between us and OSS changes \
                    listings";
        Err(Error::new(ErrorKind::Listing, "ListBuckets", text))
    }
}

fn listed(bucket: BucketSummary) -> ListedBucket {
    let region = if bucket.region.is_empty() { bucket.location } else { bucket.region };
    ListedBucket {
        name: bucket.name,
        region: without_prefix(&region),
        created: UtcTime::parse_iso8601(&bucket.creation_date).ok(),
        storage_class: bucket.storage_class,
        extranet_endpoint: bucket.extranet_endpoint,
        intranet_endpoint: bucket.intranet_endpoint,
    }
}

fn without_prefix(region: &str) -> String {
    region.strip_prefix("oss-").unwrap_or(region).to_owned()
}
