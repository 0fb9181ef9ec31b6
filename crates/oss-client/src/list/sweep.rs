//! Everything below a prefix, over many ranges of keys at a time, in the order of one listing.
//!
//! The first pages are read one after the other, so a small listing costs what it always did. Then whoever is idle
//! cuts the range that seems longest (`split`) and reads the part behind the cut, a serial chain of pages with the
//! guards of every listing. Each object is in exactly one range, whatever the guess was worth: a range is
//! (after, end], and its pages are cut at the end that holds when they arrive. Ranges are joined in key order.
//! No more are asked for at a time than the processors can read: near an endpoint a page arrives faster than it is
//! read, and every cut may cost a page. Decision 0011 has the rules and what was measured.

use std::collections::BTreeMap;
use std::thread::available_parallelism;
use std::time::Duration;

use super::range::{Ask, Range};
use super::split::{Cut, Letters};
use super::waiting::WaitingPage;
use super::{Found, Guard, PageSource};
use crate::cancel::Cancel;
use crate::crew::Crew;
use crate::error::Error;
use crate::interrupt::SLICE;
use crate::operations::{ListPage, ListPageRequest};
use crate::panics;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{self, Condvar, Mutex, MutexGuard};
use oss_protocol::uri::ObjectUri;

/// Pages that are read one after the other before ranges are cut.
const SERIAL_PAGES: u64 = 4;

/// The same near an endpoint, where reading a page is what it costs: a cut saves little there, and may waste a page.
const SERIAL_PAGES_NEAR: u64 = 64;

/// An endpoint is near while a page takes at most so many times what reading it takes.
const NEAR: u64 = 4;

/// Keys of a full page.
const PAGE_KEYS: u64 = 1000;

/// Bytes of objects that may wait for their turn before only the first range goes on: 256 MiB, about five
/// million objects.
const MAX_WAITING_BYTES: usize = 256 * 1024 * 1024;

/// Pages of the first range that may wait all the same, so that its reader has something to take.
const FIRST_WAITING_PAGES: usize = 16;

/// How far a listing is; readable from any thread while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    keys: AtomicU64,
    pages: AtomicU64,
    /// Of the quickest page: what others take beyond it is the machine's doing, which has other work too.
    whole_nanoseconds: Least,
    decoding_nanoseconds: Least,
}

/// The least of some times, in nanoseconds; none yet is `u64::MAX`.
#[derive(Debug)]
struct Least(AtomicU64);

impl Default for Least {
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Least {
    fn note(&self, time: Duration) {
        self.0.fetch_min(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Progress {
    /// Keys listed so far, in any order.
    pub fn keys(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    /// Pages received so far.
    pub fn pages(&self) -> u64 {
        self.pages.load(Ordering::Relaxed)
    }

    fn add(&self, page: &ListPage) {
        self.keys.fetch_add(page.objects.len() as u64, Ordering::Relaxed);
        self.pages.fetch_add(1, Ordering::Relaxed);
        // The last page of a listing may hold next to nothing.
        if page.is_truncated {
            self.whole_nanoseconds.note(page.cost.whole);
            self.decoding_nanoseconds.note(page.cost.decoding);
        }
    }

    /// Whether a page takes little more than reading it.
    fn is_near(&self) -> bool {
        self.readable_at_a_time(1) <= NEAR
    }

    /// How many requests in flight keep so many processors busy reading documents: more would only wait for them.
    fn readable_at_a_time(&self, processors: u64) -> u64 {
        match self.decoding_nanoseconds.get() {
            0 | u64::MAX => u64::MAX,
            decoding => self.whole_nanoseconds.get().saturating_mul(processors).div_ceil(decoding),
        }
    }
}

/// What to sweep, and how.
#[derive(Debug)]
pub struct Sweep<'a> {
    /// Bucket and prefix.
    pub uri: &'a ObjectUri,
    /// Requests in flight at most; 1 is one page after the other.
    pub max_concurrency: usize,
    /// The threads that ask.
    pub crew: &'a Crew,
    /// Gives the sweep up.
    pub cancel: &'a Cancel,
    /// Told of every page.
    pub progress: &'a Progress,
}

impl Sweep<'_> {
    /// Gives every object whose key begins with `uri.key` to `take`, in byte order of keys.
    ///
    /// # Errors
    /// `Listing` if the service's pages contradict each other; what a request failed with; those of `take`.
    pub fn run(
        &self,
        source: &dyn PageSource,
        take: &mut dyn FnMut(&Found<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut first = Range::after(String::new(), None);
        let mut letters = Letters::default();
        let goes_on = |pages: u64| {
            let most = if self.progress.is_near() { SERIAL_PAGES_NEAR } else { SERIAL_PAGES };
            self.max_concurrency == 1 || pages < most
        };
        self.run_serially(source, (&mut first, &mut letters), &goes_on, take)?;
        if first.is_done { Ok(()) } else { self.run_ranges(source, first, letters, take) }
    }

    /// Reads a range on this thread, as long as `goes_on` with the number of its pages that were read.
    fn run_serially(
        &self,
        source: &dyn PageSource,
        (range, letters): (&mut Range, &mut Letters),
        goes_on: &dyn Fn(u64) -> bool,
        take: &mut dyn FnMut(&Found<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while !range.is_done && goes_on(range.pages_read) {
            let mut guard = std::mem::take(&mut range.guard);
            let page = self.page(source, &range.ask(), &mut guard, self.cancel)?;
            range.guard = guard;
            let kept = range.advance(&page, self.uri.key.len(), letters);
            for object in &page.objects[..kept] {
                take(&Found { key: &object.key, size: object.size, etag: &object.etag })?;
            }
        }
        Ok(())
    }

    fn run_ranges(
        &self,
        source: &dyn PageSource,
        first: Range,
        letters: Letters,
        take: &mut dyn FnMut(&Found<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let pages = first.pages_read;
        let state = State {
            ranges: BTreeMap::from([(first.last.clone(), first)]),
            letters,
            waiting_bytes: 0,
            requests: pages,
            pages,
            keys: self.progress.keys(),
            in_flight: 0,
            processors: available_parallelism().map_or(1, |count| count.get() as u64),
            failure: None,
            has_ended: false,
        };
        let shared = Shared { sweep: self, source, state: Mutex::new(state), changed: Condvar::new() };
        let cancels: Vec<Cancel> = (0..self.max_concurrency).map(|_| Cancel::new()).collect();
        sync::scope(|scope| {
            let shared = &shared;
            let mut threads = 0;
            for cancel in &cancels {
                let worker = self.crew.spawn_scoped(scope, "oss-list", move || shared.work(cancel));
                threads += usize::from(worker.is_ok());
            }
            let joined = match threads {
                0 => {
                    // Nobody else began with anything: the first range is all there is, and this thread's.
                    let first = shared.state.lock().ranges.pop_first();
                    first.map_or(Ok(()), |(_, mut first)| {
                        self.run_serially(source, (&mut first, &mut Letters::default()), &|_| true, take)
                    })
                }
                _ => shared.join(take),
            };
            shared.state.lock().has_ended = true;
            shared.changed.notify_all();
            if joined.is_err() {
                cancels.iter().for_each(Cancel::cancel);
            }
            joined
        })
    }

    /// Asks for a page and checks it.
    fn page(
        &self,
        source: &dyn PageSource,
        ask: &Ask,
        guard: &mut Guard,
        cancel: &Cancel,
    ) -> Result<ListPage, Error> {
        let request = ListPageRequest {
            bucket: &self.uri.bucket,
            prefix: &self.uri.key,
            start_after: Some(ask.after.as_str()).filter(|after| !after.is_empty()),
            continuation_token: ask.token.as_deref(),
            delimiter: None,
            max_keys: 0,
        };
        let page = source.page(&request, cancel);
        let checked = page.and_then(|page| guard.check(&page, &self.uri.key).map(|()| page));
        let page = checked.map_err(|error| error.with_uri(self.uri.to_string()))?;
        self.progress.add(&page);
        Ok(page)
    }
}

struct State {
    /// By the key they begin behind.
    ranges: BTreeMap<String, Range>,
    letters: Letters,
    waiting_bytes: usize,
    requests: u64,
    /// Pages that had keys.
    pages: u64,
    keys: u64,
    in_flight: u64,
    processors: u64,
    failure: Option<Error>,
    has_ended: bool,
}

impl State {
    /// Chooses what to ask for next: the first range that waits, or a new one.
    fn choose(&mut self, prefix_bytes: usize, progress: &Progress) -> Option<(String, Ask, Guard)> {
        if self.in_flight >= progress.readable_at_a_time(self.processors) {
            return None;
        }
        let is_full = self.waiting_bytes > MAX_WAITING_BYTES;
        let mut open = self.ranges.iter().filter(|(_, range)| !range.is_done);
        let idle = if is_full {
            open.next().filter(|(_, range)| !range.is_fetching && range.waiting.len() < FIRST_WAITING_PAGES)
        } else {
            open.find(|(_, range)| !range.is_fetching)
        };
        let name = match idle {
            Some((name, _)) => name.clone(),
            None if is_full || !self.may_cut() => return None,
            None => self.cut(prefix_bytes)?,
        };
        let range = self.ranges.get_mut(&name)?;
        range.is_fetching = true;
        self.requests += 1;
        self.in_flight += 1;
        Some((name, range.ask(), std::mem::take(&mut range.guard)))
    }

    /// Guesses stay cheap: as many requests in flight as there were pages with keys, and of all requests at most a
    /// quarter more than the keys are worth, and 64.
    fn may_cut(&self) -> bool {
        self.in_flight < self.pages && self.requests < self.keys / PAGE_KEYS * 5 / 4 + 64
    }

    /// Cuts the range that seems longest; returns the name of the new one.
    fn cut(&mut self, prefix_bytes: usize) -> Option<String> {
        let open = self.ranges.iter().filter(|(_, range)| !range.is_done && range.pages_read > 0);
        let cuts =
            open.filter_map(|(name, range)| Some((name, self.letters.cut(&range.known(prefix_bytes))?)));
        let (name, Cut { key, place, .. }) =
            cuts.min_by_key(|(_, cut)| (cut.place, std::cmp::Reverse(cut.options)))?;
        let name = name.clone();
        let old = self.ranges.get_mut(&name)?;
        let mut new = Range::after(key.clone(), old.end.replace(key.clone()));
        new.varies_at = Some(place);
        new.parent = Some(name);
        old.varies_at = Some(place);
        self.ranges.insert(key.clone(), new);
        Some(key)
    }

    /// Nothing was behind the cut: letters at that place do not differ as thought.
    fn unlearn(&mut self, parent: Option<String>) {
        if let Some(range) = parent.and_then(|name| self.ranges.get_mut(&name)) {
            range.varies_at = None;
        }
    }
}

struct Shared<'a> {
    sweep: &'a Sweep<'a>,
    source: &'a dyn PageSource,
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared<'_> {
    /// Reads pages until there are none left.
    fn work(&self, cancel: &Cancel) {
        while let Some((name, ask, mut guard)) = self.next() {
            let page =
                panics::as_error("ListObjectsV2", || self.sweep.page(self.source, &ask, &mut guard, cancel));
            match page {
                Ok(page) => self.arrived(&name, guard, &page),
                Err(error) => {
                    let mut state = self.state.lock();
                    // Those that end because of the first one have nothing to add.
                    state.failure.get_or_insert(error);
                    drop(state);
                    self.changed.notify_all();
                    return;
                }
            }
        }
    }

    fn next(&self) -> Option<(String, Ask, Guard)> {
        let mut state = self.state.lock();
        loop {
            if state.has_ended || state.failure.is_some() {
                return None;
            }
            if let Some(chosen) = state.choose(self.sweep.uri.key.len(), self.sweep.progress) {
                return Some(chosen);
            }
            if state.ranges.values().all(|range| range.is_done) {
                return None;
            }
            state = self.changed.wait_for(state, SLICE);
        }
    }

    fn arrived(&self, name: &str, guard: Guard, page: &ListPage) {
        let mut guarded = self.state.lock();
        let state = &mut *guarded;
        let Some(range) = state.ranges.get_mut(name) else { return };
        range.guard = guard;
        let is_first = range.pages_read == 0;
        let kept = range.advance(page, self.sweep.uri.key.len(), &mut state.letters);
        let was_guess = range.parent.clone().filter(|_| is_first && kept == 0);
        state.keys += kept as u64;
        state.pages += u64::from(kept > 0);
        state.unlearn(was_guess);
        // What belongs to the range is settled, so the rest needs no lock; nobody asks for its next page yet.
        drop(guarded);
        let waiting = WaitingPage::of(&page.objects[..kept]);
        let mut state = self.state.lock();
        state.waiting_bytes += waiting.bytes();
        state.in_flight -= 1;
        if let Some(range) = state.ranges.get_mut(name) {
            range.is_fetching = false;
            range.waiting.push_back(waiting);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Takes the ranges in key order.
    fn join(&self, take: &mut dyn FnMut(&Found<'_>) -> Result<(), Error>) -> Result<(), Error> {
        loop {
            let mut state = self.state.lock();
            let page = loop {
                if self.sweep.cancel.is_cancelled() {
                    return Err(Error::cancelled("ListObjectsV2"));
                }
                match Self::take_first(&mut state) {
                    First::Page(page) => break page,
                    First::None if state.failure.is_none() => {
                        state = self.changed.wait_for(state, SLICE);
                    }
                    First::None => return state.failure.take().map_or(Ok(()), Err),
                    First::End => return Ok(()),
                }
            };
            drop(state);
            page.for_each(&mut *take)?;
        }
    }

    fn take_first(state: &mut MutexGuard<'_, State>) -> First {
        while let Some(mut first) = state.ranges.first_entry() {
            let range = first.get_mut();
            if let Some(page) = range.waiting.pop_front() {
                state.waiting_bytes -= page.bytes();
                return First::Page(page);
            }
            if !range.is_done || range.is_fetching {
                return First::None;
            }
            first.remove();
        }
        First::End
    }
}

enum First {
    Page(WaitingPage),
    None,
    End,
}
