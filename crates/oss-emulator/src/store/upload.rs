//! Open multipart uploads.

use std::collections::BTreeMap;

use crate::refusal::Refusal;
use crate::store::body::Body;
use crate::store::intake::{Received, md5_of, quoted_etag};
use crate::store::object::Object;

/// Smallest part except the last: 100 KB, checked at Complete only.
pub(crate) const MIN_PART_BYTES: u64 = 100 * 1024;

/// Part numbers run from 1 to this.
pub(crate) const MAX_PART_NUMBER: u32 = 10_000;

/// A part that has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Its bytes and checksums.
    pub(crate) received: Received,
    /// When it arrived, unix milliseconds on the service's clock.
    pub(crate) modified_ms: i64,
}

/// A multipart upload between Initiate and Complete or Abort.
#[derive(Debug)]
pub(crate) struct Upload {
    /// When it was initiated, unix milliseconds on the service's clock.
    pub(crate) initiated_ms: i64,
    /// The attributes the object will have; its body and checksums are filled in at Complete.
    pub(crate) template: Object,
    /// Whether Initiate forbade overwriting.
    pub(crate) forbid_overwrite: bool,
    /// Parts by number.
    pub(crate) parts: BTreeMap<u32, Part>,
    /// Parts whose bytes are arriving at this moment.
    pub(crate) in_flight: u32,
    /// Aborted while parts were in flight: gone, but for the parts that still arrive.
    pub(crate) aborted: bool,
}

impl Upload {
    /// Says whether requests can still see the upload: an aborted one shows only late parts.
    pub(crate) fn is_visible(&self) -> bool {
        !self.aborted || !self.parts.is_empty()
    }

    /// Chooses the parts of the object by the list of (number, ETag) that Complete sent.
    ///
    /// # Errors
    /// 400 InvalidPartOrder, InvalidPart or EntityTooSmall, or MalformedXML for an empty list.
    pub(crate) fn choose(&self, wanted: &[(u32, String)]) -> Result<Vec<&Part>, Refusal> {
        if wanted.is_empty() {
            let message =
                "The XML you provided was not well-formed or did not validate against our published schema.";
            return Err(Refusal::new(400, "MalformedXML", message));
        }
        if wanted.windows(2).any(|pair| matches!(pair, [a, b] if a.0 >= b.0)) {
            let message = "The list of parts was not in ascending order.";
            return Err(Refusal::new(400, "InvalidPartOrder", message));
        }
        let parts: Result<Vec<&Part>, Refusal> =
            wanted.iter().map(|(number, etag)| self.part(*number, etag)).collect();
        check_sizes(parts?)
    }

    /// Takes all parts there are, as `x-oss-complete-all: yes` asks.
    ///
    /// # Errors
    /// 400 EntityTooSmall, or InvalidPart when there is none.
    pub(crate) fn choose_all(&self) -> Result<Vec<&Part>, Refusal> {
        if self.parts.is_empty() {
            return Err(invalid_part(1));
        }
        check_sizes(self.parts.values().collect())
    }

    fn part(&self, number: u32, etag: &str) -> Result<&Part, Refusal> {
        let bare = |etag: &str| etag.trim_matches('"').to_ascii_uppercase();
        let found = self.parts.get(&number).filter(|part| bare(&part.received.etag()) == bare(etag));
        found.ok_or_else(|| invalid_part(number))
    }
}

/// Makes the object of chosen parts: bytes joined, CRCs combined, an ETag that is not an MD5.
pub(crate) fn assemble(template: &Object, parts: &[&Part], now_ms: i64) -> Object {
    let digests: Vec<u8> = parts.iter().flat_map(|part| part.received.digest()).collect();
    let crc = parts.iter().fold(0, |crc, part| {
        oss_protocol::crc64::combine(crc, part.received.crc64, part.received.body.size_bytes())
    });
    let joined = quoted_etag(&md5_of(&digests));
    Object {
        body: Body::join(parts.iter().map(|part| &part.received.body)),
        etag: format!("{}-{}\"", joined.trim_end_matches('"'), parts.len()),
        crc64: Some(crc),
        modified_ms: now_ms,
        ..template.clone()
    }
}

fn check_sizes(parts: Vec<&Part>) -> Result<Vec<&Part>, Refusal> {
    let all_but_last = parts.split_last().map_or(&[][..], |(_, before)| before);
    if let Some(small) = all_but_last.iter().find(|part| part.received.body.size_bytes() < MIN_PART_BYTES) {
        let message = "Your proposed upload smaller than the minimum allowed size.";
        return Err(Refusal::new(400, "EntityTooSmall", message)
            .field("ProposedSize", small.received.body.size_bytes().to_string())
            .field("MinSizeAllowed", MIN_PART_BYTES.to_string()));
    }
    Ok(parts)
}

fn invalid_part(number: u32) -> Refusal {
    let message = "One or more of the specified parts could not be found or the specified entity tag might not have matched the part's entity tag.";
    Refusal::new(400, "InvalidPart", message).field("PartNumber", number.to_string())
}
