//! Reading an object, or a range of it, straight into its destination.
//!
//! Nothing of a body is used before its head was found to answer exactly what was asked: status, range,
//! length, version ([`Wanted::check`]). A body that breaks off is resumed at the last byte received, on a new
//! connection, of the same version. A whole object read by one call is compared with the service's CRC-64.

use std::mem::MaybeUninit;
use std::ops::Range;

use oss_protocol::crc64::Crc64;
use oss_protocol::http1::{ContentRange, ResponseHead, format_range};
use oss_protocol::operation::Operation;
use oss_protocol::time::UtcTime;
use oss_protocol::uri::ObjectUri;

use super::call::{Call, Failure};
use super::exchange::Exchange;
use super::{Request, Transport};
use crate::cancel::Cancel;
use crate::config::Verify;
use crate::error::{Error, ErrorKind};
use crate::http::stream::land;
use crate::retry::Cause;
use crate::stats::Counter;

/// Largest body that is taken without knowing its length beforehand: 64 MiB, a reader's budget.
///
/// OSS announces lengths; what comes in chunks went through something that changes bodies on the way.
const MAX_UNANNOUNCED_BYTES: usize = 64 << 20;

/// Where a body is received, without a detour.
///
/// `begin` is called before the first byte of an answer that starts at the beginning of what was asked,
/// with the number of body bytes; it is called again, with a number that may differ, when the read has to
/// start over (another version, a checksum that differs). A resumed body does not begin again.
pub trait BodySink {
    /// Makes room for `body_bytes` bytes.
    ///
    /// # Errors
    /// When there is no room, `OutOfMemory`; the operation ends with that error.
    fn begin(&mut self, body_bytes: u64) -> Result<(), Error>;

    /// Told before `begin` which version of the object comes: its ETag with quotes, if the answer has one.
    fn of_version(&mut self, _etag: Option<&str>) {}

    /// Where the bytes behind the first `received` go: all that is left of the destination, or of the piece of it
    /// that they are in. Not empty before the body is over.
    fn memory(&mut self, received: u64) -> &mut [MaybeUninit<u8>];

    /// Told when the memory last given is full: the first `received` bytes are there, and `crc64` is theirs.
    fn filled(&mut self, _received: u64, _crc64: u64) {}

    /// Whether checksums are computed though nothing is verified.
    fn wants_crc(&self) -> bool {
        false
    }
}

/// A read of an object or of a range of it.
#[derive(Debug, Clone)]
pub struct GetObject<'a> {
    /// The object.
    pub uri: &'a ObjectUri,
    /// Half-open range, not empty; `None` = the whole object by a plain GET.
    pub range: Option<Range<u64>>,
    /// The size is unknown, so the answer may end before `range` does.
    pub first_range: bool,
    /// ETag with its quotes; sent as `If-Match`. `None` = whatever version is there now.
    pub etag: Option<&'a str>,
    /// The object's known size; an answer that says otherwise is `ObjectChanged`.
    pub size: Option<u64>,
    /// Name of the operation in errors.
    pub operation: &'static str,
    /// How often these bytes came damaged before this read; counts against the refetches.
    pub damaged_before: u32,
    /// One of many objects of a dataset: told in the audit only when it was slow or failed.
    pub is_sample: bool,
}

impl<'a> GetObject<'a> {
    /// The whole object, whatever version is there.
    pub fn whole(uri: &'a ObjectUri) -> Self {
        GetObject {
            uri,
            range: None,
            first_range: false,
            etag: None,
            size: None,
            operation: "GetObject",
            damaged_before: 0,
            is_sample: false,
        }
    }

    /// Bytes `start..end` of an object whose size is known to reach `end`.
    pub fn part(uri: &'a ObjectUri, range: Range<u64>) -> Self {
        GetObject { range: Some(range), ..GetObject::whole(uri) }
    }
}

/// A read that succeeded.
#[derive(Debug, Clone, Default)]
pub struct GotObject {
    /// ETag with its quotes, if the service sent one.
    pub etag: Option<String>,
    /// Size of the whole object in bytes.
    pub size: u64,
    /// The service's CRC-64 of the whole object.
    pub object_crc64: Option<u64>,
    /// CRC-64 of the bytes received; 0 with `verify="off"`.
    pub received_crc64: u64,
    /// Bytes received into the sink.
    pub received_bytes: u64,
    /// Requests sent.
    pub attempts: u32,
    /// Last change of the object.
    pub last_modified: Option<UtcTime>,
    /// Stored content type.
    pub content_type: Option<String>,
}

/// A head that may begin a wanted body.
#[derive(Debug)]
struct Head {
    status: u16,
    length: Option<u64>,
    is_chunked: bool,
    range: Option<ContentRange>,
    etag: Option<String>,
    crc64: Result<Option<u64>, String>,
    is_encoded: bool,
    last_modified: Option<String>,
    content_type: Option<String>,
    request_id: Option<String>,
}

impl Head {
    fn of(head: &ResponseHead<'_>) -> Self {
        let text = |name| head.header(name).map(str::to_owned);
        Head {
            status: head.status,
            length: head.content_length().ok().flatten(),
            is_chunked: head.is_chunked().unwrap_or(false),
            range: head.content_range(),
            etag: head.etag().map(str::to_owned),
            crc64: head.crc64().map_err(|error| error.to_string()),
            is_encoded: head.header("content-encoding").is_some_and(|coding| coding != "identity"),
            last_modified: text("last-modified"),
            content_type: text("content-type"),
            request_id: head.request_id().map(str::to_owned),
        }
    }
}

/// Why a head does not begin the body we want.
#[derive(Debug, PartialEq, Eq)]
enum Misfit {
    /// It does not answer the request.
    Nonsense(String),
    /// It is of another version.
    Changed(String),
    /// An empty object: no range of it exists.
    Empty,
}

/// What is read, and how far it came.
#[derive(Debug)]
struct Wanted<'a> {
    get: &'a GetObject<'a>,
    /// ETag of the version that is read, given or learned from the first answer.
    pin: Option<String>,
    /// Size of the whole object, given or learned.
    total: Option<u64>,
    /// First byte wanted, and the byte after the last one once that is known.
    start: u64,
    end: Option<u64>,
    received: u64,
    crc: Crc64,
    object_crc64: Option<u64>,
    begun: bool,
    restarted: bool,
    last_modified: Option<String>,
    content_type: Option<String>,
    /// Request id of the last answer.
    request_id: Option<String>,
}

impl<'a> Wanted<'a> {
    fn new(get: &'a GetObject<'a>) -> Self {
        Wanted {
            get,
            pin: get.etag.map(str::to_owned),
            total: get.size,
            start: get.range.as_ref().map_or(0, |range| range.start),
            end: get.range.as_ref().map(|range| range.end),
            received: 0,
            crc: Crc64::new(),
            object_crc64: None,
            begun: false,
            restarted: false,
            last_modified: None,
            content_type: None,
            request_id: None,
        }
    }

    /// The range to ask for now; `None` = the whole object, from its first byte.
    fn range(&self) -> Option<Range<u64>> {
        if self.get.range.is_none() && self.received == 0 {
            return None;
        }
        let end = self.end.or(self.total)?;
        Some(self.start + self.received..end)
    }

    /// Checks that `head` answers exactly what was asked, of the pinned version; returns the body's length.
    fn check(&self, head: &Head, asked: Option<&Range<u64>>) -> Result<u64, Misfit> {
        let nonsense = |text: &str| Err(Misfit::Nonsense(text.to_owned()));
        let Some(length) = self.length(head) else {
            return nonsense("the answer does not say how long it is");
        };
        let total = match (head.status, asked, head.range) {
            (200, None, _) => length,
            (200, Some(_), _) if length == 0 && self.get.first_range => return Err(Misfit::Empty),
            (200, Some(_), _) => return nonsense("the whole object came instead of the range"),
            (206, Some(asked), Some(came)) => self.check_range(length, asked, came)?,
            (206, _, None) => return nonsense("a range came without a valid Content-Range"),
            (206, None, _) => return nonsense("a range came that nobody asked for"),
            (status, _, _) => return nonsense(&format!("status {status} is no answer to a read")),
        };
        self.check_version(head, total)?;
        // A web page with a good status, as proxies and login pages send it, has neither.
        if head.etag.is_none() && head.request_id.is_none() {
            return nonsense("neither an ETag nor a request id came, so OSS did not answer");
        }
        if head.is_encoded && head.etag.is_none() {
            return nonsense("a content coding was added on the way");
        }
        if let Err(error) = &head.crc64 {
            return nonsense(error);
        }
        Ok(length)
    }

    /// How long the body is, as its head says, or for one in chunks as its range or the object's size says.
    fn length(&self, head: &Head) -> Option<u64> {
        let announced = || match (head.status, head.range) {
            (206, Some(came)) => came.end.checked_sub(came.start),
            _ => self.total,
        };
        head.length.or_else(|| head.is_chunked.then(announced).flatten())
    }

    /// Checks a 206; returns the object's size.
    fn check_range(&self, length: u64, asked: &Range<u64>, came: ContentRange) -> Result<u64, Misfit> {
        // Only the first range of an object of unknown size may end early, and only at its end.
        let may_be_cut = self.get.first_range && !self.begun;
        let end = if may_be_cut { asked.end.min(came.total) } else { asked.end };
        if came.start != asked.start || came.end != end || length != end.saturating_sub(asked.start) {
            let text = format!(
                "asked for bytes {}..{}, got {}..{} of {} with length {length}",
                asked.start, asked.end, came.start, came.end, came.total
            );
            return Err(Misfit::Nonsense(text));
        }
        Ok(came.total)
    }

    fn check_version(&self, head: &Head, total: u64) -> Result<(), Misfit> {
        if let Some(pin) = &self.pin {
            match &head.etag {
                Some(etag) if etag == pin => {}
                Some(etag) => return Err(Misfit::Changed(format!("it is now {etag}, not {pin}"))),
                None => return Err(Misfit::Nonsense("the answer names no version".to_owned())),
            }
        }
        match self.total {
            Some(known) if known != total => {
                Err(Misfit::Changed(format!("it now has {total} bytes, not {known}")))
            }
            _ => Ok(()),
        }
    }

    /// Takes what an accepted head tells.
    fn learn(&mut self, head: Head, length: u64) {
        self.pin = self.pin.take().or(head.etag);
        self.request_id = head.request_id;
        self.object_crc64 = head.crc64.ok().flatten();
        self.total = Some(head.range.filter(|_| head.status == 206).map_or(length, |range| range.total));
        if !self.begun {
            self.end = Some(self.start + length);
            self.last_modified = head.last_modified;
            self.content_type = head.content_type;
        }
    }

    /// Starts over, of the same version.
    fn rewind(&mut self) {
        self.received = 0;
        self.crc = Crc64::new();
        self.begun = false;
        self.end = self.get.range.as_ref().map(|range| range.end);
    }

    /// Starts over on whatever version is there now, if the caller did not name one and this is the first time.
    /// No byte has reached the caller: the sink is still ours.
    fn restart(&mut self) -> bool {
        let may = self.get.etag.is_none() && self.get.size.is_none() && !self.restarted;
        if may {
            self.rewind();
            self.restarted = true;
            self.pin = None;
            self.total = None;
        }
        may
    }

    /// Every byte came. If that was no success, which of them are good nobody knows.
    fn has_all(&self) -> bool {
        self.begun && self.end == Some(self.start + self.received)
    }

    /// What is wanted is all of the object.
    fn is_whole(&self) -> bool {
        self.start == 0 && self.end.is_some() && self.end == self.total
    }
}

impl Transport {
    /// Reads what `get` says into `sink`.
    pub(crate) fn fetch(
        &self,
        get: &GetObject<'_>,
        sink: &mut dyn BodySink,
        cancel: &Cancel,
    ) -> Result<GotObject, Error> {
        if get.range.as_ref().is_some_and(|range| range.start >= range.end) {
            return Err(Error::internal(get.operation, "an empty range is never asked for"));
        }
        let template = template(get);
        let mut wanted = Wanted::new(get);
        let mut call = Call::new(self, &template, get.range.clone(), cancel);
        call.was_damaged(get.damaged_before);
        loop {
            let before = wanted.received;
            let outcome = wanted.attempt(&mut call, &template, sink).and_then(|()| wanted.verify(&call));
            call.progressed(wanted.received.saturating_sub(before));
            match outcome {
                Ok(()) => {
                    let took = call.succeeded();
                    if wanted.is_whole() {
                        self.stats.whole_object.note(took);
                    }
                    return Ok(wanted.into_got(call.attempts));
                }
                Err(failure) => {
                    if failure.error.kind == ErrorKind::ObjectChanged && wanted.restart() {
                        continue;
                    }
                    if failure.cause == Cause::Integrity || wanted.has_all() {
                        wanted.rewind();
                    }
                    call.again(&template, failure)?;
                    if wanted.received > 0 {
                        self.stats.add(Counter::Resumed, 1);
                    }
                }
            }
        }
    }
}

fn template<'a>(get: &GetObject<'a>) -> Request<'a> {
    const SIGNED: [(&str, &str); 1] = [("x-oss-range-behavior", "standard")];
    let mut request = Request::new(Operation::GetObject, "GET", Some(&get.uri.bucket), Some(&get.uri.key));
    request.label = get.operation;
    request.is_sample = get.is_sample;
    request.signed = &SIGNED;
    request
}

impl Wanted<'_> {
    /// One request for what is still missing.
    fn attempt(
        &mut self,
        call: &mut Call<'_>,
        template: &Request<'_>,
        sink: &mut dyn BodySink,
    ) -> Result<(), Failure> {
        let range = self.range();
        let range_text = range.as_ref().map(|range| format_range(range.start, range.end));
        let mut plain = [("", ""); 2];
        let mut count = 0;
        let pin = self.pin.clone();
        for (name, value) in [("Range", range_text.as_deref()), ("If-Match", pin.as_deref())] {
            if let Some(value) = value {
                plain[count] = (name, value);
                count += 1;
            }
        }
        let request = Request { plain: &plain[..count], ..*template };
        call.attempt(&request, |call, exchange| self.receive(call, &request, exchange, range.as_ref(), sink))
    }

    fn receive(
        &mut self,
        call: &mut Call<'_>,
        request: &Request<'_>,
        mut exchange: Exchange<'_>,
        asked: Option<&Range<u64>>,
        sink: &mut dyn BodySink,
    ) -> Result<(), Failure> {
        let seen = exchange
            .read_head(call, request, |head| matches!(head.status, 200 | 206).then(|| Head::of(head)))?;
        let Some(mut head) = seen else { return Err(exchange.read_refusal(call, request)) };
        let mut unannounced = None;
        if head.is_chunked && self.length(&head).is_none() {
            let body = exchange.read_unannounced(call, request, MAX_UNANNOUNCED_BYTES)?;
            head.length = Some(body.len() as u64);
            unannounced = Some(body);
        }
        let length = self
            .check(&head, asked)
            .map_err(|misfit| misfit.into_failure(call).of_request(head.request_id.as_deref()))?;
        self.learn(head, length);
        if !self.begun {
            sink.of_version(self.pin.as_deref());
            sink.begin(length).map_err(Failure::last)?;
            self.begun = true;
        }
        let mut source = match unannounced {
            Some(body) => Source::Memory(body),
            None => Source::Wire(&mut exchange, request),
        };
        self.receive_body(call, &mut source, length, sink)?;
        exchange.finish(call);
        Ok(())
    }

    /// Receives the `length` bytes of a body that was accepted, piece by piece of the sink's memory.
    fn receive_body(
        &mut self,
        call: &mut Call<'_>,
        source: &mut Source<'_, '_>,
        length: u64,
        sink: &mut dyn BodySink,
    ) -> Result<(), Failure> {
        let checked = sink.wants_crc() || call.transport.config.verify != Verify::Off;
        let start = self.received;
        let mut count = 0;
        loop {
            let left = length - count as u64;
            let memory = sink.memory(self.received);
            let size_bytes = usize::try_from(left).map_or(memory.len(), |left| left.min(memory.len()));
            let is_last = size_bytes as u64 == left;
            if size_bytes == 0 && !is_last {
                let text = "the sink is smaller than it was asked to be";
                return Err(Failure::last(Error::internal(call.subject.label, text)));
            }
            let crc = checked.then_some(&mut self.crc);
            let outcome = source.fill(call, &mut memory[..size_bytes], is_last, crc, &mut count);
            self.received = start + count as u64;
            outcome?;
            sink.filled(self.received, self.crc.value());
            if is_last {
                return Ok(());
            }
        }
    }

    /// Compares the checksum of an object that was read whole.
    fn verify(&self, call: &Call<'_>) -> Result<(), Failure> {
        let transport = call.transport;
        if transport.config.verify == Verify::Off || !self.is_whole() {
            return Ok(());
        }
        match self.object_crc64 {
            Some(expected) if expected == self.crc.value() => {
                transport.count_crc(true);
                Ok(())
            }
            Some(expected) => {
                transport.stats.add(Counter::CrcMismatched, 1);
                let got = self.crc.value();
                let text = format!(
                    "the bytes received have CRC-64 {got}, the service's object has {expected}; \
                     something damages data on the way or at rest"
                );
                let failure = Failure::new(Cause::Integrity, call.error(ErrorKind::Integrity, text));
                Err(failure.of_request(self.request_id.as_deref()))
            }
            None if transport.config.verify == Verify::Require => {
                let text = "the service has no CRC-64 for this object, and verify=\"require\" asks for one";
                Err(Failure::last(call.error(ErrorKind::Integrity, text)))
            }
            None => {
                transport.count_crc(false);
                Ok(())
            }
        }
    }

    fn into_got(self, attempts: u32) -> GotObject {
        GotObject {
            etag: self.pin,
            size: self.total.unwrap_or(self.received),
            object_crc64: self.object_crc64,
            received_crc64: self.crc.value(),
            received_bytes: self.received,
            attempts,
            last_modified: self.last_modified.and_then(|text| UtcTime::parse_http_date(&text).ok()),
            content_type: self.content_type,
        }
    }
}

impl Misfit {
    fn into_failure(self, call: &Call<'_>) -> Failure {
        match self {
            Misfit::Nonsense(text) => {
                let text = format!("{text}; something between us and OSS does not keep to the protocol");
                Failure::new(Cause::Protocol, call.error(ErrorKind::Protocol, text))
            }
            Misfit::Changed(text) => {
                let text = format!("the object was replaced while it was read ({text}); list again");
                Failure::last(call.error(ErrorKind::ObjectChanged, text))
            }
            Misfit::Empty => {
                let mut error = call.error(ErrorKind::Service, "the object is empty, it has no range");
                error.status = Some(416);
                error.errno = libc::EINVAL;
                Failure::last(error)
            }
        }
    }
}

/// Where the bytes of an accepted body come from.
enum Source<'a, 't> {
    Wire(&'a mut Exchange<'t>, &'a Request<'a>),
    /// They had to be received before they could be accepted.
    Memory(Vec<u8>),
}

impl Source<'_, '_> {
    /// Fills `into`, counting in `count`, which also says where in the body it starts.
    fn fill(
        &mut self,
        call: &mut Call<'_>,
        into: &mut [MaybeUninit<u8>],
        is_last: bool,
        crc: Option<&mut Crc64>,
        count: &mut usize,
    ) -> Result<(), Failure> {
        match self {
            Source::Wire(exchange, request) => exchange.read_body(call, request, into, is_last, crc, count),
            Source::Memory(body) => {
                *count += land(&body[*count..], into, crc);
                Ok(())
            }
        }
    }
}
