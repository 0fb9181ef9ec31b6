//! Parts of one object that were asked for before they were read.
//!
//! A reader that reads in order has a stream of parts on the wire in front of it, the deeper the longer it keeps to
//! the order. A visit to the end of the object, where archives keep their table, is answered from a part of its own
//! and leaves the stream alone; any other jump starts a new one.

use std::collections::VecDeque;
use std::ops::Range;

use oss_protocol::uri::ObjectUri;

use crate::cancel::Cancel;
use crate::client::Client;
use crate::clock::{Clock as _, SystemClock};
use crate::error::Error;
use crate::interrupt::Watch;
use crate::lend::{Filled, Scratch};
use crate::read::engine::wait_watched;
use crate::read::fetch::{self, Fetched, Want};
use crate::read::landing::{Landing, LandingSink, Room};
use crate::read::plan;
use crate::read::slot::{Bell, Slot};
use crate::sync::Arc;
use crate::workers::{Job, Workers};

/// The end of the object that is fetched in one part when it is visited: 1 MiB holds an archive's table.
const TAIL_BYTES: u64 = 1024 * 1024;

/// First part after a jump: what a small structure takes, little lost if the reader jumps again.
const FIRST_PART_BYTES: u64 = 256 * 1024;

/// Bytes kept on the wire ahead of a reader that reads in order.
const AHEAD_BYTES: u64 = 16 * 1024 * 1024;

/// The same behind calls so large that most of it lands in the next one's memory: between two calls there is more to
/// do for the wire.
const MOST_AHEAD_BYTES: u64 = 2 * AHEAD_BYTES;

/// A read that passes over no more than this is still in order: archives pad what they hold.
const PADDING_BYTES: u64 = 128 * 1024;

/// The version of the object that a reader stays with.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    pub(crate) size: u64,
    pub(crate) etag: String,
    pub(crate) crc64: Option<u64>,
}

impl Version {
    /// What to ask for to get `range` of this version; None is all of it.
    pub(crate) fn want(&self, uri: &ObjectUri, range: Option<Range<u64>>) -> Want {
        Want {
            uri: uri.clone(),
            range,
            etag: Some(self.etag.clone()),
            size: Some(self.size),
            damaged_before: 0,
            is_sample: false,
        }
    }
}

/// A part that was received: where it lies, and its checksums.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) range: Range<u64>,
    pub(crate) crc64: u64,
    pub(crate) object_crc64: Option<u64>,
}

#[derive(Debug)]
struct Part {
    range: Range<u64>,
    slot: Arc<Slot<Fetched<Scratch>>>,
    cancel: Cancel,
    landing: Arc<Landing>,
    /// Its job's, for [`Workers::withdraw`].
    batch: u64,
    bytes: Option<Vec<u8>>,
}

/// The parts of one reader.
#[derive(Debug)]
pub(crate) struct Ahead {
    client: Client,
    workers: Workers,
    uri: ObjectUri,
    /// In order, without gaps but for parts that land elsewhere.
    stream: VecDeque<Part>,
    tail: Option<Part>,
    /// Where the last read ended: a read that starts here is in order.
    in_order_at: u64,
    /// Where the read under way began, which may have to be done again from there.
    kept_from: Option<u64>,
    /// The end of the last part that was read to its end.
    passed_to: u64,
    /// Size of the first part after a jump, of the parts of a long stream, and of what they are together.
    first_bytes: u64,
    part_bytes: u64,
    ahead_bytes: u64,
    /// How many bytes to keep ahead; doubles while reads are in order.
    depth_bytes: u64,
    /// Where a large read ends that is like the last one and follows it: parts before that wait for its memory.
    next_to: u64,
    /// Memory of parts that were read, for parts to come: fresh memory costs a page fault every 4 KiB.
    spare: Vec<Vec<u8>>,
    bell: Arc<Bell>,
    part_count: u64,
}

impl Ahead {
    pub(crate) fn new(client: &Client, workers: &Workers, uri: &ObjectUri) -> Self {
        let least_bytes = client.config().limits.min_range_bytes.unwrap_or(0);
        let (first_bytes, part_bytes) =
            (FIRST_PART_BYTES.max(least_bytes), plan::PART_BYTES.max(least_bytes));
        Self {
            client: client.clone(),
            workers: workers.clone(),
            uri: uri.clone(),
            stream: VecDeque::new(),
            tail: None,
            in_order_at: 0,
            kept_from: None,
            passed_to: 0,
            first_bytes,
            part_bytes,
            ahead_bytes: AHEAD_BYTES.max(part_bytes),
            depth_bytes: first_bytes,
            next_to: 0,
            spare: Vec::new(),
            bell: Bell::new(),
            part_count: 0,
        }
    }

    /// True if a part that was asked for holds `position`.
    pub(crate) fn covers(&self, position: u64) -> bool {
        self.parts().any(|part| part.range.contains(&position))
    }

    /// True if `range` is that of a part of the stream which is not in memory.
    pub(crate) fn is_on_its_way(&self, range: &Range<u64>) -> bool {
        self.stream.iter().any(|part| part.range == *range && part.bytes.is_none())
    }

    /// True if `position` lies in the stream, not in the tail.
    pub(crate) fn streams(&self, position: u64) -> bool {
        self.stream.iter().any(|part| part.range.contains(&position))
    }

    /// The ranges of the parts that were asked for.
    pub(crate) fn ranges(&self) -> Vec<Range<u64>> {
        self.parts().map(|part| part.range.clone()).collect()
    }

    /// Size of the ranges that large reads are cut to.
    pub(crate) fn part_bytes(&self) -> u64 {
        self.part_bytes
    }

    /// True if a read that starts at `position` goes on about where the last one ended.
    pub(crate) fn is_in_order(&self, position: u64) -> bool {
        position.checked_sub(self.in_order_at).is_some_and(|passed| passed <= PADDING_BYTES)
    }

    /// Takes note that the bytes before `position` were read last; a visit to the tail does not count.
    pub(crate) fn read_to(&mut self, position: u64) {
        if self.tail.as_ref().is_none_or(|tail| position <= tail.range.start) {
            self.in_order_at = position;
        }
    }

    /// Lets go of nothing from `position` on, while the reader is near, until it is called with None.
    pub(crate) fn keep_from(&mut self, position: Option<u64>) {
        self.kept_from = position;
    }

    /// Bytes from `position` on that are in memory, up to the end of their part.
    pub(crate) fn buffered(&self, position: u64) -> &[u8] {
        let held = self.parts().find_map(|part| {
            let bytes = part.bytes.as_deref().filter(|_| part.range.contains(&position))?;
            bytes.get(usize::try_from(position - part.range.start).ok()?..)
        });
        held.unwrap_or_default()
    }

    /// Asks for what a small read at `position` needs, and for what will likely follow it.
    pub(crate) fn reach(&mut self, position: u64, version: &Version) {
        self.next_to = 0;
        if !self.covers(position) {
            self.start_at(position, version);
        }
        // A visit to the tail leaves the stream alone.
        if self.streams(position) {
            self.pass_to(position);
            self.extend(position, self.depth_bytes, version);
        }
    }

    /// Asks for what follows a large read of `range`, all of which was asked for ahead; lets go of what it has passed.
    pub(crate) fn reach_behind(&mut self, range: &Range<u64>, version: &Version) {
        let depth_bytes = self.expect_after(range);
        self.pass_to(range.start);
        self.extend(range.end, depth_bytes, version);
    }

    /// Asks for what follows a large read of `range`, so that the next one finds bytes waiting.
    pub(crate) fn follow(&mut self, range: &Range<u64>, version: &Version) {
        let depth_bytes = self.expect_after(range);
        self.drop_stream();
        self.passed_to = range.end;
        self.extend(range.end, depth_bytes, version);
    }

    /// Large reads are followed by others of their size, mostly. Returns how deep to read ahead.
    fn expect_after(&mut self, range: &Range<u64>) -> u64 {
        let size_bytes = range.end - range.start;
        self.next_to = range.end.saturating_add(size_bytes);
        self.depth_bytes = self.ahead_bytes;
        self.ahead_bytes.max((size_bytes / 2).min(MOST_AHEAD_BYTES))
    }

    /// The caller goes: what waits for the next call does not wait for long.
    pub(crate) fn caller_leaves(&self) {
        let now = SystemClock.now();
        self.stream.iter().for_each(|part| part.landing.leave(now));
    }

    /// Lets the part of exactly `range` land in `room`, and no longer here; gives the room back if it is too late for
    /// that, or there is no such part.
    pub(crate) fn lend<R: Room + 'static>(
        &mut self,
        range: &Range<u64>,
        room: R,
    ) -> Result<(Cancel, u64), R> {
        let Some(number) = self.stream.iter().position(|part| part.range == *range) else {
            return Err(room);
        };
        self.stream[number].landing.lend(room)?;
        let part = self.stream.remove(number).map(|part| (part.cancel, part.batch));
        Ok(part.unwrap_or_default())
    }

    /// Waits for the part that holds `position`; None if it is in memory already.
    ///
    /// # Errors
    /// Those of GetObject and of `watch`.
    pub(crate) fn wait(&mut self, position: u64, watch: Watch<'_>) -> Result<Option<Arrived>, Error> {
        let part = self.stream.iter_mut().chain(&mut self.tail).find(|part| part.range.contains(&position));
        let part = part.ok_or_else(|| Error::internal("read", "no part was asked for at the position"))?;
        if part.bytes.is_some() {
            return Ok(None);
        }
        part.landing.settle();
        let fetched = wait_watched(&self.workers, &part.slot, watch).flatten()?;
        let size_bytes = usize::try_from(part.range.end - part.range.start).unwrap_or(usize::MAX);
        part.bytes = Some(fetched.buffer.into_filled(Filled(size_bytes)));
        let range = part.range.clone();
        Ok(Some(Arrived { range, crc64: fetched.crc64, object_crc64: fetched.object_crc64 }))
    }

    /// Gives up what has not come yet. What is here stays: it is part of the proof of a whole object, and what would
    /// be received in its place is not.
    pub(crate) fn give_up_missing(&mut self) {
        let here = self.stream.iter().take_while(|part| part.bytes.is_some()).count();
        self.stream.split_off(here).into_iter().for_each(|part| self.reclaim(part));
        if let Some(tail) = self.tail.take_if(|tail| tail.bytes.is_none()) {
            tail.cancel.cancel();
        }
    }

    /// Gives up everything that was asked for.
    pub(crate) fn clear(&mut self) {
        self.drop_stream();
        if let Some(tail) = self.tail.take() {
            tail.cancel.cancel();
        }
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.stream.iter().chain(&self.tail)
    }

    /// Where the stream ends: at the end of the object, or where the tail begins, which is there already.
    fn limit(&self, version: &Version) -> u64 {
        self.tail.as_ref().map_or(version.size, |tail| tail.range.start)
    }

    fn start_at(&mut self, position: u64, version: &Version) {
        let stream_end = self.stream.back().map_or(0, |part| part.range.end);
        let tail_start = version.size.saturating_sub(TAIL_BYTES).max(stream_end.min(position));
        if position >= tail_start && tail_start > 0 && !self.is_in_order(position) {
            self.tail = Some(self.ask(tail_start..version.size, version));
            return;
        }
        if !self.is_in_order(position) {
            self.depth_bytes = self.first_bytes;
        }
        if stream_end != position || self.kept_from.is_none() {
            self.drop_stream();
        }
        self.in_order_at = position;
        self.passed_to = position;
        let end = position + self.depth_bytes.min(self.part_bytes);
        let part = self.ask(position..self.limit(version).min(end), version);
        self.stream.push_back(part);
    }

    /// Lets go of the parts of the stream before `position`, unless they are kept; each was read to its end, so the
    /// reader keeps in order.
    fn pass_to(&mut self, position: u64) {
        for end in self.stream.iter().map(|part| part.range.end) {
            if self.passed_to < end && end <= position {
                self.passed_to = end;
                self.depth_bytes = (self.depth_bytes * 2).min(self.ahead_bytes);
            }
        }
        // A line may be as long as the object.
        let kept_from = self.kept_from.filter(|&from| position.saturating_sub(from) <= self.ahead_bytes);
        let kept_from = kept_from.map_or(position, |from| from.min(position));
        while self.stream.front().is_some_and(|part| part.range.end <= kept_from) {
            self.stream.pop_front().into_iter().for_each(|part| self.reclaim(part));
        }
    }

    /// Asks for parts behind the stream, as deep as the reader's habit allows.
    fn extend(&mut self, position: u64, depth_bytes: u64, version: &Version) {
        let (part_bytes, limit) = (depth_bytes.min(self.part_bytes), self.limit(version));
        // Parts that landed elsewhere are no longer in the stream.
        let mut end = self.stream.back().map_or(position, |part| part.range.end.max(position));
        while end < limit.min(position + depth_bytes) {
            let range = end..limit.min(end + part_bytes);
            end = range.end;
            let part = self.ask(range, version);
            self.stream.push_back(part);
        }
    }

    /// Puts one part on the wire.
    fn ask(&mut self, range: Range<u64>, version: &Version) -> Part {
        let slot = Slot::new(self.part_count, &self.bell);
        self.part_count += 1;
        let cancel = Cancel::new();
        let landing = Arc::new(if range.end <= self.next_to { Landing::open() } else { Landing::settled() });
        let job = {
            let want = version.want(&self.uri, Some(range.clone()));
            let memory = Scratch::of(self.spare.pop().unwrap_or_default());
            let (client, slot, cancel) = (self.client.clone(), Arc::clone(&slot), cancel.clone());
            let landing = Arc::clone(&landing);
            Box::new(move || fetch_part(&client, &want, memory, &landing, &cancel, &slot)) as Job
        };
        let batch = self.workers.submit([job]);
        Part { range, slot, cancel, landing, batch, bytes: None }
    }

    fn drop_stream(&mut self) {
        while let Some(part) = self.stream.pop_front() {
            self.reclaim(part);
        }
    }

    /// Keeps the memory of a part that is no longer needed, as much as the stream is deep; cancels what is not here.
    fn reclaim(&mut self, part: Part) {
        let most = usize::try_from(self.ahead_bytes / self.part_bytes).unwrap_or(1);
        let Some(bytes) = part.bytes else {
            part.cancel.cancel();
            return part.landing.settle();
        };
        if self.spare.len() < most {
            self.spare.push(bytes);
        }
    }
}

fn fetch_part(
    client: &Client,
    want: &Want,
    memory: Scratch,
    landing: &Landing,
    cancel: &Cancel,
    slot: &Slot<Fetched<Scratch>>,
) -> u64 {
    let mut sink = LandingSink::new(landing, memory);
    let outcome = fetch::guarded(|| fetch::get(client, want, want.range.clone(), &mut sink, cancel));
    let received = outcome.as_ref().map_or(0, |got| got.received_bytes);
    match sink.into_place() {
        Ok(room) => room.end(outcome),
        Err(buffer) => slot.put(outcome.map(|got| Fetched {
            buffer,
            crc64: got.received_crc64,
            object_crc64: fetch::comparable(client, got.object_crc64),
        })),
    }
    received
}
