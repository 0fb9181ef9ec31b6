//! What is asked for next, and in how many requests.
//!
//! An object of unknown size is asked for whole. If its answer announces one that travels in parts, or for which there
//! is no room, the answer is cut off behind its head, and the object is asked for again when there is room, as one
//! whose size and version a listing had told. Until then the objects behind it go on; the first one never waits for
//! room.

use super::{Asked, Prefetch, want};
use crate::cancel::Cancel;
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::lend::Lend;
use crate::objects::{ObjectRef, ObjectSource};
use crate::read::budget::Booking;
use crate::read::coalesce::{self, Span};
use crate::read::course::{Arrival, Course, Underway};
use crate::read::fetch::{Announced, Want};
use crate::read::plan;
use crate::read::scatter::{self, Parties, Scattered};
use crate::read::slot::Slot;
use crate::sync::Arc;
use crate::sync::atomic::Ordering;
use crate::workers::Job;

impl<B: Lend> Prefetch<B> {
    /// Books the sizes that answers have told since the last look, and what is not told yet by what is usual now.
    pub(super) fn book_what_was_told(&mut self) {
        let before = self.guesses;
        if before == 0 {
            return;
        }
        for number in 0..self.asked.len() {
            let asked = &mut self.asked[number];
            let Some(size_bytes) = asked.underway.size().filter(|_| asked.is_guess) else { continue };
            if !asked.underway.is_declined() {
                self.no_guess_any_more(number, Some(size_bytes));
                continue;
            }
            // Its worker is about to say so; or its second request came first.
            let is_announced = |outcome: &Result<_, _>| matches!(outcome, Ok(Arrival::Announced(_)));
            if let Some(Ok(Arrival::Announced(announced))) = asked.slot.take_if(is_announced) {
                self.note_announced(number, announced);
            }
        }
        if self.guesses == before {
            return;
        }
        let usual_bytes = self.likely.guess();
        let guesses = self.asked.iter().filter(|asked| asked.is_guess);
        guesses.for_each(|asked| asked.underway.booking().guess(usual_bytes));
        self.tell_what_is_asked();
    }

    /// Lets others see what is asked for and not yet delivered.
    pub(super) fn tell_what_is_asked(&self) {
        if let Some(last) = self.asked.back() {
            self.notes.asked(self.asked.len(), self.account.booked(), last.position);
        }
    }

    /// The size of an object was told, or it came to nothing.
    pub(super) fn no_guess_any_more(&mut self, number: usize, told: Option<u64>) {
        if std::mem::take(&mut self.asked[number].is_guess) {
            self.guesses -= 1;
            told.inspect(|&size_bytes| self.learn(size_bytes));
        }
    }

    /// What came of an object is its size alone.
    pub(super) fn note_announced(&mut self, number: usize, announced: Announced) {
        self.no_guess_any_more(number, Some(announced.size_bytes));
        self.asked[number].announced = Some(announced);
        self.announced += 1;
        self.is_announced_anew = true;
    }

    fn learn(&mut self, size_bytes: u64) {
        self.likely.learn(size_bytes);
        self.usual_bytes.store(self.likely.guess(), Ordering::Relaxed);
    }

    /// Asks for announced objects, in their order, as far as there is room; for the first of all anyway.
    pub(super) fn ask_for_announced<E: From<Error>>(
        &mut self,
        jobs: &mut Vec<Job>,
        lend: &mut impl FnMut(usize) -> Result<B, E>,
    ) -> Result<(), E> {
        self.is_announced_anew = false;
        for number in 0..self.asked.len() {
            if self.announced == 0 {
                break;
            }
            let Some(announced) = self.asked[number].announced.clone() else { continue };
            let is_first = number == 0;
            let room = self.account.book(announced.size_bytes, false);
            let Some(booking) =
                room.or_else(|| is_first.then(|| self.account.book_anyway(announced.size_bytes, false)))
            else {
                break;
            };
            match self.ask_again(number, announced, booking, lend) {
                Ok(its_jobs) => jobs.extend(its_jobs),
                // What cannot be had for the others is tried again.
                outcome => {
                    return outcome.map(drop).or_else(|error| if is_first { Err(error) } else { Ok(()) });
                }
            }
        }
        Ok(())
    }

    fn ask_again<E: From<Error>>(
        &mut self,
        number: usize,
        announced: Announced,
        booking: Booking,
        lend: &mut impl FnMut(usize) -> Result<B, E>,
    ) -> Result<Vec<Job>, E> {
        let Asked { source, position, times_announced, .. } = &self.asked[number];
        let want = want(object(source, *position)?);
        let want = Want { size: Some(announced.size_bytes), etag: announced.etag, ..want };
        let (source, position, times) = (Arc::clone(source), *position, *times_announced);
        let mut asked = Asked { source, ..self.about_to_ask(position, booking, false) };
        asked.times_announced = times + 1;
        let jobs = self.requests(want, &mut asked, lend)?;
        let before = std::mem::replace(&mut self.asked[number], asked);
        // A second request may be on its way.
        before.cancels.iter().for_each(Cancel::cancel);
        self.announced -= 1;
        Ok(jobs)
    }

    /// Makes the requests of the next objects, up to `ahead` of them, or `blind` while nobody knows what they take.
    pub(super) fn ask<E: From<Error>>(
        &mut self,
        ahead: usize,
        blind: usize,
        jobs: &mut Vec<Job>,
        lend: &mut impl FnMut(usize) -> Result<B, E>,
    ) -> Result<(), E> {
        while let Some(position) = self.next_position {
            let object = object(&self.source, position)?;
            let is_guess = object.size.is_none();
            let ahead = if is_guess && !self.likely.is_known() { blind } else { ahead };
            let likely_bytes = object.size.unwrap_or_else(|| self.likely.guess());
            let is_within = self.asked.len() < ahead;
            let room = is_within.then(|| self.account.book(likely_bytes, is_guess)).flatten();
            // At least one object is always asked for, however large.
            let Some(booking) = room
                .or_else(|| self.asked.is_empty().then(|| self.account.book_anyway(likely_bytes, is_guess)))
            else {
                break;
            };
            let want = want(object);
            let mut asked = self.about_to_ask(position, booking, is_guess);
            jobs.extend(self.requests(want, &mut asked, lend)?);
            self.asked.push_back(asked);
            self.guesses += usize::from(is_guess);
            self.next_position = self.positions.next();
        }
        Ok(())
    }

    fn about_to_ask(&mut self, position: u64, booking: Booking, is_guess: bool) -> Asked<B> {
        let slot = Slot::new(self.asked_count, &self.bell);
        self.asked_count += 1;
        Asked {
            source: Arc::clone(&self.source),
            position,
            slot,
            is_guess,
            cancels: Vec::new(),
            underway: Arc::new(Underway::new(booking)),
            hedged: false,
            announced: None,
            times_announced: 0,
        }
    }

    /// Makes the requests of one object, and the handles that cancel them and what may follow them.
    fn requests<E: From<Error>>(
        &self,
        want: Want,
        asked: &mut Asked<B>,
        lend: &mut impl FnMut(usize) -> Result<B, E>,
    ) -> Result<Vec<Job>, E> {
        let cancel = Cancel::new();
        asked.cancels.push(cancel.clone());
        let course = Course {
            client: self.client.clone(),
            allowance: Arc::clone(&self.allowance),
            cancel,
            missing: self.missing,
            changed: self.changed,
            times_announced: asked.times_announced,
            slot: Arc::clone(&asked.slot),
            underway: Arc::clone(&asked.underway),
        };
        let size_bytes = want.size.and_then(|size| usize::try_from(size).ok()).filter(|&size| size > 0);
        let born = self.born;
        let Some(size_bytes) = size_bytes else {
            let job = move || {
                course.underway.begin(born);
                course.run_native(&want)
            };
            return Ok(vec![Box::new(job)]);
        };
        let buffer = lend(size_bytes)?;
        let size = size_bytes as u64;
        if size <= plan::SPLIT_ABOVE_BYTES {
            let job = move || {
                course.underway.begin(born);
                course.run_lent(&want, buffer)
            };
            return Ok(vec![Box::new(job)]);
        }
        let stretches =
            coalesce::stretches(vec![Span { range: 0..size, buffer: 0, at: 0 }], plan::PART_BYTES);
        let whole = want.clone();
        let begun = SystemClock.now();
        let finish = Box::new(move |outcome: Result<Scattered<B>, Error>| {
            if outcome.is_ok() {
                course.client.note_whole_object(SystemClock.now().saturating_duration_since(begun));
            }
            course.finish_parts(&whole, outcome);
        });
        let Parties { share, jobs, .. } =
            scatter::scatter(&self.client, want, vec![buffer], stretches, Default::default(), finish);
        // This thread has no bytes to bring.
        share.end(None);
        let (cancels, jobs): (Vec<Cancel>, Vec<Job>) = jobs.into_iter().unzip();
        asked.cancels.extend(cancels);
        Ok(jobs)
    }
}

fn object(source: &Arc<dyn ObjectSource>, position: u64) -> Result<ObjectRef<'_>, Error> {
    let object = source.object(position);
    object.ok_or_else(|| Error::internal("prefetch", format!("the index has no position {position}")))
}
