//! The threads of one upload, and the memory they send from.
//!
//! The owner hands over full buffers and takes empty ones back; it waits when as much memory is out as
//! the window allows, so a producer faster than the network is slowed down, never queued. How many parts are
//! on their way at once is found by goodput, and shrinks when the service throttles; the memory bounds it as
//! well. Threads are made when parts wait and fewer than that are on their way, and end with the upload. A
//! part from the caller's own memory is sent by scoped threads that borrow it, under the same limit.
//!
//! The lock of the state is taken before that of a list of borrowed parts; no request is made while either
//! is held.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use oss_protocol::crc64::{combine, crc64};
use oss_protocol::uri::ObjectUri;
use serde_json::{Value, json};

use super::failure;
use super::progress::Counts;
use super::resume::Begun;
use crate::cancel::Cancel;
use crate::client::Client;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Verify;
use crate::crew::Crew;
use crate::error::{Error, ErrorKind};
use crate::interrupt::{SLICE, Watch};
use crate::operations::{UploadPart, UploadedPart};
use crate::sync::{self, Arc, Condvar, JoinHandle, Mutex, MutexGuard, Weak};
use crate::telling::crowd::{Load, Told};
use crate::window::Window;

/// Parts on their way at most when the configuration names no bound: 64, the original's. Of the first size the
/// memory of 256 MiB holds 16, so the others serve parts that were configured smaller.
const MAX_IN_FLIGHT: u64 = 64;

/// A part that the service has, with what we know of its bytes.
#[derive(Clone, Debug)]
pub(super) struct SentPart {
    pub(super) uploaded: UploadedPart,
    pub(super) size_bytes: u64,
    pub(super) crc64: u64,
}

impl SentPart {
    /// It was there before, and was not sent.
    pub(super) fn was_held(&self) -> bool {
        self.uploaded.attempts == 0
    }
}

/// The owner's side. Dropped, it cancels and joins.
#[derive(Debug)]
pub(super) struct UploadWorkers {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    uri: ObjectUri,
    begun: Begun,
    crew: Crew,
    state: Mutex<State>,
    /// Wakes workers: a part waits, or the upload ends.
    work: Condvar,
    /// Wakes the owner: a part ended.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// How many parts may be on their way.
    in_flight: Window,
    /// Times the service asked to slow down that the window knows of.
    pacings: u64,
    /// Number, bytes and their CRC-64.
    waiting: VecDeque<(u32, Vec<u8>, u64)>,
    /// Parts from the caller's memory that did not end yet.
    borrowed: usize,
    running: Vec<(u32, Cancel)>,
    sent: Vec<SentPart>,
    /// Bytes of the parts that were sent.
    sent_bytes: u64,
    /// Parts handed over that were not sent yet.
    left: usize,
    free: Vec<Vec<u8>>,
    /// Capacity of all buffers: waiting, on their way, free, and the one the owner fills.
    held_bytes: u64,
    failure: Option<Error>,
    threads: Vec<JoinHandle<()>>,
    parked: usize,
    ending: bool,
    /// A part was cancelled on its way: the service may have it all the same.
    is_cut_off: bool,
    /// When a part was handed over or sent last.
    moved: Instant,
}

impl State {
    fn new(most_in_flight: usize, pacings: u64, held_bytes: u64) -> Self {
        State {
            in_flight: Window::new(most_in_flight, SystemClock.now()),
            pacings,
            waiting: VecDeque::new(),
            borrowed: 0,
            running: Vec::new(),
            sent: Vec::new(),
            sent_bytes: 0,
            left: 0,
            free: Vec::new(),
            held_bytes,
            failure: None,
            threads: Vec::new(),
            parked: 0,
            ending: false,
            is_cut_off: false,
            moved: SystemClock.now(),
        }
    }

    fn stops(&self) -> bool {
        self.ending || self.failure.is_some()
    }

    /// As many parts are on their way as may be.
    fn is_full(&self) -> bool {
        self.running.len() >= self.in_flight.width()
    }

    /// Lets the window know of a part that was sent, and of throttling since the last.
    fn measure(&mut self, size_bytes: u64, pacings: u64) {
        let now = SystemClock.now();
        self.moved = now;
        self.in_flight.completed(1, size_bytes, now);
        if pacings > self.pacings {
            self.pacings = pacings;
            self.in_flight.throttled(now);
        }
    }
}

impl UploadWorkers {
    /// Makes the workers of an upload, without a thread. `held_bytes` is the memory the owner has already.
    pub(super) fn new(client: &Client, uri: &ObjectUri, begun: Begun, held_bytes: u64) -> Self {
        let limits = &client.config().limits;
        let most = limits.upload_max_concurrency.unwrap_or(MAX_IN_FLIGHT).min(limits.max_concurrency);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let shared = Shared {
            client: client.clone(),
            uri: uri.clone(),
            begun,
            crew: Crew::new(limits),
            state: Mutex::new(State::new(most, client.pressure().pacings, held_bytes)),
            work: Condvar::new(),
            changed: Condvar::new(),
        };
        let shared = Arc::new(shared);
        if let Ok(transport) = client.transport("write") {
            transport.crowd.enter(Arc::downgrade(&shared) as Weak<dyn Told>);
        }
        UploadWorkers { shared }
    }

    /// What the first failed part failed with.
    pub(super) fn failure(&self) -> Option<Error> {
        self.shared.state.lock().failure.clone()
    }

    /// What is with the service, and what is not yet.
    pub(super) fn counts(&self) -> Counts {
        let state = self.shared.state.lock();
        Counts { sent_bytes: state.sent_bytes, left: state.left }
    }

    /// An empty buffer of `size_bytes`, as soon as the window has room for it.
    pub(super) fn buffer(
        &self,
        size_bytes: u64,
        window_bytes: u64,
        watch: Watch<'_>,
    ) -> Result<Vec<u8>, Error> {
        let found = self.wait(watch, |state| state.take_buffer(size_bytes, window_bytes))?;
        match found {
            Some(buffer) => Ok(buffer),
            None => allocate(size_bytes),
        }
    }

    /// Hands a full buffer over. Runs the part on this thread if no thread can be made.
    pub(super) fn send(&self, number: u32, bytes: Vec<u8>, crc64: u64) {
        let mut state = self.shared.state.lock();
        state.left += 1;
        state.moved = SystemClock.now();
        state.waiting.push_back((number, bytes, crc64));
        let wants_thread = state.parked == 0 && state.threads.len() < state.in_flight.width();
        drop(state);
        self.shared.work.notify_one();
        if wants_thread {
            self.add_thread();
        }
    }

    fn add_thread(&self) {
        let shared = Arc::clone(&self.shared);
        match self.shared.crew.spawn("oss-upload", move || shared.work()) {
            Ok(thread) => self.shared.state.lock().threads.push(thread),
            Err(_) if self.shared.state.lock().threads.is_empty() => self.shared.work_off(),
            Err(_) => {}
        }
    }

    /// CRC-64 and size of the parts from number `first` on, all of which were sent.
    pub(super) fn sum_from(&self, first: u32) -> (u64, u64) {
        let state = self.shared.state.lock();
        let mut sent: Vec<_> =
            state.sent.iter().filter(|part| part.uploaded.part_number >= first).cloned().collect();
        drop(state);
        sent.sort_by_key(|part| part.uploaded.part_number);
        combined(&sent)
    }

    /// Sends parts straight from the caller's memory; returns when no other thread uses the memory any more.
    pub(super) fn send_borrowed(&self, parts: VecDeque<(u32, &[u8])>, watch: Watch<'_>) -> Result<(), Error> {
        let shared = &*self.shared;
        let mut state = shared.state.lock();
        state.borrowed = parts.len();
        state.left += parts.len();
        // Twice the present width: it may double while these parts are sent.
        let threads = (2 * state.in_flight.width()).min(state.in_flight.ceiling()).min(parts.len());
        drop(state);
        let parts = Mutex::new(parts);
        sync::scope(|scope| {
            let work = || shared.send_from(&parts);
            let started =
                (0..threads).map_while(|_| shared.crew.spawn_scoped(scope, "oss-upload", work).ok()).count();
            if started == 0 {
                work();
            }
            let ended = self.wait(watch, |state| (state.borrowed == 0).then_some(()));
            if ended.is_err() {
                shared.cancel();
            }
            ended
        })
    }

    /// Waits until every part is with the service; returns them in order of their numbers.
    pub(super) fn finish(&self, watch: Watch<'_>) -> Result<Vec<SentPart>, Error> {
        let ended = |state: &mut State| {
            (state.waiting.is_empty() && state.running.is_empty()).then(|| std::mem::take(&mut state.sent))
        };
        let mut sent = self.wait(watch, ended)?;
        self.stop();
        sent.sort_by_key(|part| part.uploaded.part_number);
        Ok(sent)
    }

    /// Cancels what is on its way and waits for the threads; they notice within milliseconds. True if a
    /// part was cut off.
    pub(super) fn stop(&self) -> bool {
        self.shared.cancel();
        let threads = std::mem::take(&mut self.shared.state.lock().threads);
        for thread in threads {
            let _ = thread.join();
        }
        self.shared.state.lock().is_cut_off
    }

    /// Leaves everything as it is: in a forked child threads and locks are the parent's.
    pub(super) fn forget(self) {
        std::mem::forget(self);
    }

    /// Waits for `ready`, watching; ends with the failure of a part as soon as there is one.
    fn wait<T>(&self, watch: Watch<'_>, mut ready: impl FnMut(&mut State) -> Option<T>) -> Result<T, Error> {
        loop {
            let mut state = self.shared.state.lock();
            if let Some(failure) = &state.failure {
                return Err(failure.clone());
            }
            if let Some(value) = ready(&mut state) {
                return Ok(value);
            }
            drop(self.shared.changed.wait_for(state, SLICE));
            watch()?;
        }
    }
}

impl Told for Shared {
    fn load(&self, _now: Instant) -> Load {
        let state = self.state.lock();
        Load {
            uploads_open: 1,
            upload_buffer_bytes: state.held_bytes,
            upload_parts_waiting: state.left.saturating_sub(state.running.len()) as u64,
            ..Load::default()
        }
    }

    fn tell(&self, now: Instant) -> Value {
        let state = self.state.lock();
        let word = match (&state.failure, state.left) {
            (Some(_), _) => "failed",
            (None, 0) => "waiting for the program's bytes",
            (None, _) => "sending",
        };
        json!({
            "kind": "upload",
            "state": word,
            "for_seconds": now.saturating_duration_since(state.moved).as_secs_f64(),
            "uri": self.uri.to_string(),
            "upload_id": self.begun.upload_id,
            "sent_bytes": state.sent_bytes,
            "parts_left": state.left,
            "parts_on_their_way": state.running.len(),
            "limit": state.in_flight.width(),
            "held_bytes": state.held_bytes,
        })
    }
}

impl Drop for UploadWorkers {
    fn drop(&mut self) {
        self.stop();
    }
}

impl State {
    /// The outer None means wait; the inner one that memory may be taken, which is then counted.
    fn take_buffer(&mut self, size_bytes: u64, window_bytes: u64) -> Option<Option<Vec<u8>>> {
        if let Some(buffer) = self.free.pop() {
            if buffer.capacity() as u64 >= size_bytes {
                return Some(Some(buffer));
            }
            // Parts have grown: a buffer of the old size serves no more.
            self.held_bytes -= buffer.capacity() as u64;
            return self.take_buffer(size_bytes, window_bytes);
        }
        if self.held_bytes + size_bytes > window_bytes && self.held_bytes > 0 {
            return None;
        }
        self.held_bytes += size_bytes;
        Some(None)
    }
}

/// Memory for one part.
pub(super) fn allocate(size_bytes: u64) -> Result<Vec<u8>, Error> {
    let mut buffer = Vec::new();
    let reserved = usize::try_from(size_bytes).is_ok_and(|bytes| buffer.try_reserve_exact(bytes).is_ok());
    if reserved {
        return Ok(buffer);
    }
    let text = format!(
        "no memory for a part of {size_bytes} bytes; lower upload_buffer_bytes, or close other writers"
    );
    Err(Error::new(ErrorKind::OutOfMemory, "write", text))
}

impl Shared {
    /// The life of a worker: parts until the upload ends.
    fn work(&self) {
        loop {
            self.work_off();
            let mut state = self.state.lock();
            if state.stops() {
                return;
            }
            if state.waiting.is_empty() || state.is_full() {
                state.parked += 1;
                // The owner wakes us; the slice only bounds what a lost wake would cost.
                state = self.work.wait_for(state, 20 * SLICE);
                state.parked -= 1;
            }
        }
    }

    /// Sends the parts that wait, one after the other.
    fn work_off(&self) {
        loop {
            let mut state = self.state.lock();
            if state.stops() || state.is_full() {
                return;
            }
            let Some((number, mut bytes, crc64)) = state.waiting.pop_front() else { return };
            let cancel = state.begin(number);
            drop(state);
            let outcome = self.send_one(number, &bytes, Some(crc64), &cancel);
            bytes.clear();
            let mut state = self.state.lock();
            state.free.push(bytes);
            self.end(state, number, outcome);
        }
    }

    /// Sends parts of the caller's memory until none is left.
    fn send_from(&self, parts: &Mutex<VecDeque<(u32, &[u8])>>) {
        loop {
            let mut state = self.state.lock();
            while !state.stops() && state.is_full() {
                state = self.work.wait_for(state, SLICE);
            }
            if state.stops() {
                return;
            }
            let Some((number, bytes)) = parts.lock().pop_front() else { return };
            let cancel = state.begin(number);
            drop(state);
            let outcome = self.send_one(number, bytes, None, &cancel);
            let mut state = self.state.lock();
            state.borrowed -= 1;
            self.end(state, number, outcome);
        }
    }

    /// Sends one part, whose checksum is known if it was copied. A panic is this part's error, not the process's end.
    fn send_one(
        &self,
        number: u32,
        bytes: &[u8],
        known: Option<u64>,
        cancel: &Cancel,
    ) -> Result<SentPart, Error> {
        let sent = catch_unwind(AssertUnwindSafe(|| {
            let crc64 = known.unwrap_or_else(|| crc64(bytes));
            let size_bytes = bytes.len() as u64;
            if let Some(uploaded) = self.begun.holding(number, bytes, crc64) {
                return Ok(SentPart { uploaded, size_bytes, crc64 });
            }
            let part = UploadPart {
                uri: &self.uri,
                upload_id: &self.begun.upload_id,
                part_number: number,
                body: &[bytes],
                crc64,
            };
            let uploaded = self.client.upload_part(&part, cancel)?;
            if known.is_some() && uploaded.crc64.is_none() {
                self.check_memory(bytes, crc64)?;
            }
            Ok(SentPart { uploaded, size_bytes, crc64 })
        }));
        let sent =
            sent.unwrap_or_else(|_| Err(Error::internal("UploadPart", "the thread of a part panicked")));
        sent.map_err(|error| failure::of_part(error, number, bytes.len()))
    }

    /// Where the service names no checksum, at least our own memory is checked: what was sent is what was written.
    fn check_memory(&self, bytes: &[u8], written: u64) -> Result<(), Error> {
        if self.client.config().verify == Verify::Off || crc64(bytes) == written {
            return Ok(());
        }
        let text = "the bytes sent are not the bytes written: memory of this process was changed";
        let error = Error::new(ErrorKind::Integrity, "UploadPart", text).with_effort(1, 0.0);
        Err(error.with_uri(self.uri.to_string()))
    }

    /// Takes note of a part's end. One that failed for good ends the others at once: nothing can be published.
    fn end(&self, mut state: MutexGuard<'_, State>, number: u32, outcome: Result<SentPart, Error>) {
        state.running.retain(|(running, _)| *running != number);
        let mut siblings = Vec::new();
        match outcome {
            Ok(part) => {
                // What was not sent says nothing of how fast parts go.
                if part.was_held() {
                    state.moved = SystemClock.now();
                } else {
                    state.measure(part.size_bytes, self.client.pressure().pacings);
                }
                state.enter(part);
            }
            Err(error) if state.stops() => drop(error),
            Err(error) => {
                state.is_cut_off |= error.ambiguous;
                state.failure = Some(failure::not_committed(error, Some(&self.begun.upload_id)));
                siblings = state.give_up();
            }
        }
        drop(state);
        self.changed.notify_all();
        self.work.notify_one();
        siblings.iter().for_each(Cancel::cancel);
    }

    /// Ends all work: nothing new begins, what is on its way is cancelled.
    fn cancel(&self) {
        let mut state = self.state.lock();
        state.ending = true;
        let running = state.give_up();
        drop(state);
        self.work.notify_all();
        running.iter().for_each(Cancel::cancel);
    }
}

impl State {
    /// Enters a part among those that the service has.
    fn enter(&mut self, part: SentPart) {
        self.sent_bytes += part.size_bytes;
        self.left -= 1;
        self.sent.push(part);
    }

    /// Drops the parts that wait; returns what is on its way, to be cancelled.
    fn give_up(&mut self) -> Vec<Cancel> {
        self.waiting.clear();
        let running = std::mem::take(&mut self.running);
        self.is_cut_off |= !running.is_empty();
        running.into_iter().map(|(_, cancel)| cancel).collect()
    }

    /// Enters a part among those on their way.
    fn begin(&mut self, number: u32) -> Cancel {
        let cancel = Cancel::new();
        self.running.push((number, cancel.clone()));
        cancel
    }
}

/// CRC-64 and size of the object that `parts` make, in this order.
pub(super) fn combined(parts: &[SentPart]) -> (u64, u64) {
    parts
        .iter()
        .fold((0, 0), |(crc, size), part| (combine(crc, part.crc64, part.size_bytes), size + part.size_bytes))
}

#[cfg(test)]
mod tests;
