//! Many ranges of the version that is read, into many buffers at once.

use std::mem;
use std::ops::Range;

use super::ObjectReader;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind};
use crate::interrupt::Watch;
use crate::lend::Lend;
use crate::read::ahead::Version;
use crate::read::coalesce::{self, Span, Stretch};
use crate::read::engine::wait_watched;
use crate::read::fetch::Want;
use crate::read::scatter::{self, Parties, Scattered, Share};
use crate::read::slot::{Bell, Slot};
use crate::read::tiles::Tiles;
use crate::stats::Counter;
use crate::sync::Arc;
use crate::workers::Job;

impl ObjectReader {
    /// Fills each buffer with the bytes from its offset on, all of them in parallel; gives each with its CRC-64.
    ///
    /// The position stays. Ranges may overlap and come in any order; neighbours travel in one request. When
    /// everything that was received tiles the object, its CRC-64 is compared; what came damaged is fetched again.
    ///
    /// # Errors
    /// `Config` if a range does not lie in the object: then no byte was asked for. Those of GetObject,
    /// `ObjectChanged` (see [`ObjectReader::begins_again`]), `Integrity`, and of `watch`; the loans were given back
    /// by then and hold unspecified bytes.
    pub fn read_ranges<B: Lend>(
        &mut self,
        targets: Vec<(u64, B)>,
        watch: Watch<'_>,
    ) -> Result<Vec<(B, u64)>, Error> {
        self.timed(|reader| reader.fill_ranges(targets, watch))
    }

    fn fill_ranges<B: Lend>(
        &mut self,
        targets: Vec<(u64, B)>,
        watch: Watch<'_>,
    ) -> Result<Vec<(B, u64)>, Error> {
        let version = self.begin(watch)?;
        let (mut spans, mut buffers) = (Vec::with_capacity(targets.len()), Vec::with_capacity(targets.len()));
        for (number, (offset, mut buffer)) in targets.into_iter().enumerate() {
            let range = offset..offset.saturating_add(buffer.memory().len() as u64);
            if range.end > version.size {
                return Err(self.beyond_the_end(&range, version.size));
            }
            spans.push(Span { range, buffer: number, at: 0 });
            buffers.push(buffer);
        }
        let filled = self.fill_spans(buffers, spans, None, &version, watch);
        // Ranges stand each for themselves: damage was told, and no later one goes on behind it.
        self.damage = None;
        let filled = filled?;
        self.is_told = true;
        Ok(filled.buffers.into_iter().zip(filled.crc64).collect())
    }

    /// Fills `buffer` with `range`, and keeps the wire busy behind it if reads come in order.
    pub(super) fn read_large<B: Lend>(
        &mut self,
        range: Range<u64>,
        buffer: B,
        watch: Watch<'_>,
    ) -> Result<B, Error> {
        let version = self.begin(watch)?;
        if range.end > version.size {
            return Err(Error::internal("read", "a read beyond the end was asked for"));
        }
        let follows = self.ahead.is_in_order(range.start) || self.ahead.streams(range.start);
        let in_order = follows.then(|| range.clone());
        let mut filled =
            self.fill_spans(vec![buffer], vec![Span { range, buffer: 0, at: 0 }], in_order, &version, watch)?;
        filled.buffers.pop().ok_or_else(|| Error::internal("read", "a buffer was lost"))
    }

    fn beyond_the_end(&self, range: &Range<u64>, size_bytes: u64) -> Error {
        let text = format!(
            "bytes {}..{} were asked for, and the object has {size_bytes}; ask within it",
            range.start, range.end
        );
        Error::new(ErrorKind::Config, "read", text).with_uri(self.uri.to_string())
    }

    /// Fills the buffers: asks for what is missing first, copies what was read ahead while that is on its way.
    ///
    /// `in_order` is the range of a read behind which the next one is expected: what lies there is asked for as well.
    fn fill_spans<B: Lend>(
        &mut self,
        buffers: Vec<B>,
        spans: Vec<Span>,
        in_order: Option<Range<u64>>,
        version: &Version,
        watch: Watch<'_>,
    ) -> Result<Scattered<B>, Error> {
        let before = self.tiles.clone();
        let (held, missing) = coalesce::divide(spans.clone(), &self.ahead.ranges());
        let is_held = missing.is_empty();
        // Ranges that overlap would want one part twice.
        let arrives = |span: &Span| in_order.is_some() && self.ahead.is_on_its_way(&span.range);
        let (arriving, held) = held.into_iter().partition(arrives);
        let stretches = coalesce::stretches(missing, self.ahead.part_bytes());
        let (want, all) = (version.want(&self.uri, None), 0..version.size);
        // Such a request is compared with the object's checksum, and repeated, by the transport.
        let is_settled = stretches.iter().any(|stretch| stretch.range == all);
        let mut scattering = Scattering::new(self, want, buffers, stretches, (arriving, held));
        if let Some(range) = in_order.as_ref().filter(|_| is_held) {
            self.ahead.reach_behind(range, version);
        }
        let copied = self.copy_held(&mut scattering.share, watch);
        if let Some(range) = in_order.filter(|_| !is_held && copied.is_ok()) {
            self.ahead.follow(&range, version);
        }
        let filled = self.wait_for(scattering, copied, watch)?;
        if is_settled {
            self.note_crc(filled.object_crc64);
            self.tiles = Tiles::default();
            return Ok(filled);
        }
        self.settle(filled, spans, before, version, watch)
    }

    /// Ends the caller's share and waits for the others; the loans are back also when something breaks this off.
    fn wait_for<B: Lend>(
        &mut self,
        scattering: Scattering<B>,
        copied: Result<(), Error>,
        watch: Watch<'_>,
    ) -> Result<Scattered<B>, Error> {
        let Scattering { share, slot, cancels, batches } = scattering;
        share.end(copied.as_ref().err().map(|_| Error::cancelled("GetObject")));
        let mut telling = self.loading.telling(watch);
        let outcome = copied.and_then(|()| wait_watched(&self.workers, &slot, &mut telling));
        drop(telling);
        if let Ok(Ok(filled)) = &outcome {
            self.loading.received_all(filled.received.iter().map(|(range, _)| range.end - range.start).sum());
        }
        outcome.inspect_err(|_| {
            cancels.iter().for_each(Cancel::cancel);
            self.ahead.give_up_missing();
            // Those that nobody began with end here at once: in the queue they may be behind other readers' stalls.
            let unbegun = batches.into_iter().flat_map(|batch| self.workers.withdraw(batch));
            unbegun.for_each(|job| {
                job();
            });
            // The workers may write into the loans until the last of them has let go of them.
            self.outlast(&slot);
        })?
    }

    /// Copies what was read ahead into the buffers that ask for it, waiting for what is still on its way.
    fn copy_held<B: Lend>(&mut self, share: &mut Share<B>, watch: Watch<'_>) -> Result<(), Error> {
        for number in 0..share.spans().len() {
            let Range { start, end } = share.spans()[number].range;
            let mut position = start;
            while position < end {
                self.receive_ahead(position, watch)?;
                let offset = usize::try_from(position - start).unwrap_or(usize::MAX);
                let taken = share.fill(number, offset, self.ahead.buffered(position)) as u64;
                if taken == 0 {
                    return Err(Error::internal("read", "a part that was read ahead ends before its range"));
                }
                position += taken;
            }
        }
        Ok(())
    }

    /// Takes note of what was received; when the object is whole and its CRC-64 differs, fetches it again.
    ///
    /// `before` is what had been received before this read. If that proves to be damaged it is told once: the proof
    /// begins anew, and a stream is read again from its start.
    fn settle<B: Lend>(
        &mut self,
        scattered: Scattered<B>,
        spans: Vec<Span>,
        before: Tiles,
        version: &Version,
        watch: Watch<'_>,
    ) -> Result<Scattered<B>, Error> {
        self.note_crc(scattered.object_crc64);
        for (range, crc64) in &scattered.received {
            self.tiles.add(range.clone(), *crc64);
        }
        let expected = scattered.object_crc64.or(version.crc64);
        let found = self.tiles.whole(version.size);
        if found.zip(expected).is_none_or(|(found, expected)| found == expected) {
            self.check_whole()?;
            return Ok(scattered);
        }
        self.client.count(Counter::CrcMismatched);
        self.ahead.clear();
        let stretches = coalesce::whole(spans, version.size, &before.edges(), self.ahead.part_bytes());
        // Nobody was given anything of this read: if the object does not come again, the proof stands where it stood.
        self.tiles = before;
        let want = version.want(&self.uri, None).after_damage();
        let again = Scattering::new(self, want, scattered.buffers, stretches, Default::default());
        let again = self.wait_for(again, Ok(()), watch)?;
        if mem::take(&mut self.tiles).agree_with(&again.marks) {
            return Ok(again);
        }
        let damage = self.damaged_earlier();
        self.damage = Some(damage.clone());
        Err(damage)
    }

    fn damaged_earlier(&self) -> Error {
        let text = "bytes that were read before differ from what OSS keeps: they were damaged on the way; \
                    read again from the start";
        Error::new(ErrorKind::Integrity, "read", text).with_uri(self.uri.to_string())
    }
}

/// Requests under way, and the caller's own share of their work.
struct Scattering<B: Lend> {
    share: Share<B>,
    slot: Arc<Slot<Scattered<B>>>,
    cancels: Vec<Cancel>,
    batches: Vec<u64>,
}

impl<B: Lend> Scattering<B> {
    /// Puts the requests of `stretches` on the wire; of the other spans, the first are still `arriving`.
    fn new(
        reader: &mut ObjectReader,
        want: Want,
        buffers: Vec<B>,
        stretches: Vec<Stretch>,
        others: (Vec<Span>, Vec<Span>),
    ) -> Self {
        let slot = Slot::new(0, &Bell::new());
        let finish = {
            let slot = Arc::clone(&slot);
            Box::new(move |outcome| slot.put(outcome))
        };
        let Parties { mut share, lodgings, jobs } =
            scatter::scatter(&reader.client, want, buffers, stretches, others, finish);
        let (mut cancels, mut batches) = (Vec::new(), Vec::new());
        for lodging in lodgings {
            match reader.ahead.lend(&lodging.range().clone(), lodging) {
                Ok((cancel, batch)) => {
                    share.cancels(&cancel);
                    cancels.push(cancel);
                    batches.push(batch);
                }
                Err(lodging) => share.take(lodging),
            }
        }
        let counting = |(cancel, job)| (cancel, reader.loading.counting(job));
        let (own, jobs): (Vec<Cancel>, Vec<Job>) = jobs.into_iter().map(counting).unzip();
        cancels.extend(own);
        batches.push(reader.workers.submit(jobs));
        Self { share, slot, cancels, batches }
    }
}
