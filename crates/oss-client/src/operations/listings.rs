//! Pages of objects.

use oss_protocol::operation::Operation;
use oss_protocol::time::UtcTime;
use oss_protocol::xml::{Document, ListBucketResult};

use super::{ListPage, ListPageRequest, ListedObject, PageCost, document};
use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::Error;
use crate::transport::{Answer, Request};

/// Keys a page has at most; the service's own default would be 100.
const MAX_KEYS: u32 = 1000;

impl Client {
    /// Asks for one page of a listing, at most 1000 keys, in byte order.
    ///
    /// # Errors
    /// `NotFound` (bucket), `Protocol` (not a listing), or what the transport gave up with.
    pub fn list_objects_page(&self, page: &ListPageRequest<'_>, cancel: &Cancel) -> Result<ListPage, Error> {
        let max_keys = if page.max_keys == 0 { MAX_KEYS } else { page.max_keys.min(MAX_KEYS) }.to_string();
        let mut query = vec![("list-type", "2"), ("encoding-type", "url"), ("max-keys", max_keys.as_str())];
        let optional = [
            ("prefix", Some(page.prefix).filter(|prefix| !prefix.is_empty())),
            ("start-after", page.start_after.filter(|_| page.continuation_token.is_none())),
            ("continuation-token", page.continuation_token),
            ("delimiter", page.delimiter),
        ];
        query.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let mut request = Request::new(Operation::ListObjectsV2, "GET", Some(page.bucket), None);
        request.query = &query;
        request.body_limit = ListBucketResult::MAX_BYTES;
        let asked = self.clock().now();
        let accept = |answer: &Answer| {
            let received = self.clock().now();
            document::<ListBucketResult>(answer).map(|result| (result, received))
        };
        let (result, received) = self.transport(request.label)?.execute(&request, cancel, accept)?.0;
        let read = self.clock().now();
        let cost = PageCost {
            whole: read.saturating_duration_since(asked),
            decoding: read.saturating_duration_since(received),
        };
        Ok(ListPage {
            objects: result.contents.into_iter().map(listed).collect(),
            common_prefixes: result.common_prefixes,
            next_token: result
                .next_continuation_token
                .filter(|token| result.is_truncated && !token.is_empty()),
            is_truncated: result.is_truncated,
            cost,
        })
    }
}

fn listed(object: oss_protocol::xml::ListedObject) -> ListedObject {
    ListedObject {
        key: object.key,
        size: object.size,
        etag: object.etag,
        last_modified: UtcTime::parse_iso8601(&object.last_modified).ok(),
        storage_class: object.storage_class,
        object_type: object.object_type,
    }
}
