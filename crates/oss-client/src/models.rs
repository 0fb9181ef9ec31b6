//! Concurrent nouns under schedules that a model checker chooses (`scripts/models`): each model runs some thousand
//! times, with another order of steps each time, at random and with few changes of the running thread (PCT).
//!
//! A step lies between two uses of what `sync` gives. A deadlock fails, and so does a wake-up that is lost, as the long
//! waits of a model end by one alone. A schedule that fails is printed, and `shuttle::replay` runs it again.

use std::time::Duration;

use oss_protocol::sign::Credentials;
use oss_protocol::time::UtcTime;

use crate::asker::Asker;
use crate::cancel::Cancel;
use crate::clock::{Clock, ManualClock, ServerClock};
use crate::credentials::{CredentialsCache, CredentialsProvider, Fetched};
use crate::error::Error;
use crate::lend::{Lend, Scratch, carve};
use crate::operations::GotObject;
use crate::read::landing::{Landing, Room};
use crate::read::slot::{Bell, Slot};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Arc, spawn};
use crate::workers::{Job, Workers};

/// Ends by a notification alone.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// Changes of the running thread that PCT makes, besides those at waits.
const CHANGES: usize = 3;

#[expect(clippy::disallowed_methods, reason = "how much is tried is said by `scripts/models`")]
fn check(model: fn()) {
    let schedules = std::env::var("OSS_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(500);
    shuttle::check_random(model, schedules);
    shuttle::check_pct(model, schedules, CHANGES);
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(UtcTime(1_000_000)))
}

#[test]
fn test_f93_memory_comes_back_when_nobody_writes_to_it_any_more() {
    check(|| {
        let workers = Workers::new(2, 1, clock());
        let (cancel, is_back) = (Cancel::new(), Arc::new(AtomicBool::new(false)));
        let mut memory = Scratch::new();
        assert!(memory.reserve(3));
        let (mut carved, pieces) = carve(memory, [1; 3].into_iter());
        let bell = Bell::new();
        let slots: Vec<_> = (0..3).map(|number| Slot::new(number, &bell)).collect();
        let jobs = pieces.into_iter().zip(slots.clone()).map(|(mut piece, slot)| {
            let (cancel, is_back) = (cancel.clone(), Arc::clone(&is_back));
            Box::new(move || {
                let mut wrote_late = false;
                if !cancel.is_cancelled() {
                    piece.memory()[0].write(7);
                    wrote_late = is_back.load(Ordering::SeqCst);
                }
                drop(piece);
                slot.put(Ok(wrote_late));
                1_u64
            }) as Job
        });
        let batch = workers.submit(jobs.collect::<Vec<_>>());
        let interrupted = cancel.clone();
        let signal = spawn("signal", move || interrupted.cancel()).expect("a thread");
        // The consumer was interrupted, at whatever moment, and takes back what nobody has begun.
        drop(workers.withdraw(batch));
        let mut memory = loop {
            match carved.reclaim() {
                Ok(memory) => break memory,
                Err(lent) => carved = lent,
            }
            shuttle::thread::yield_now();
        };
        is_back.store(true, Ordering::SeqCst);
        memory.memory()[0].write(0);
        workers.stop();
        signal.join().expect("no panic");
        let mut late = slots.iter().filter_map(|slot| slot.take());
        assert!(
            late.all(|late| !late.expect("it is well")),
            "memory was written to that its owner had again"
        );
    });
}

#[test]
fn every_job_is_done_or_taken_back_once_and_nobody_waits_in_vain() {
    check(|| {
        let workers = Workers::new(2, 1, clock());
        let bell = Bell::new();
        let slots: Vec<_> = (0..4).map(|number| Slot::new(number, &bell)).collect();
        let done = Arc::new(AtomicUsize::new(0));
        let job = |slot: &Arc<Slot<()>>| {
            let (slot, done) = (Arc::clone(slot), Arc::clone(&done));
            Box::new(move || {
                done.fetch_add(1, Ordering::SeqCst);
                slot.put(Ok(()));
                1_u64
            }) as Job
        };
        let others: Vec<_> = slots[2..].iter().map(job).collect();
        let pool = workers.clone();
        let other = spawn("other", move || {
            let batch = pool.submit(others);
            pool.throttled();
            pool.withdraw(batch).len()
        });
        workers.submit(slots[..2].iter().map(job));
        for slot in &slots[..2] {
            while !slot.wait(FOR_EVER) {}
        }
        let withdrawn = other.expect("a thread").join().expect("no panic");
        let mut left: Vec<_> = slots[2..].iter().collect();
        while left.len() > withdrawn {
            bell.wait_any(FOR_EVER, || left.iter().any(|slot| slot.is_done()));
            left.retain(|slot| slot.take().is_none());
        }
        workers.stop();
        assert_eq!(done.load(Ordering::SeqCst) + withdrawn, 4);
    });
}

#[test]
fn a_consumer_is_woken_for_what_it_waits_for() {
    check(|| {
        let bell = Bell::new();
        let slots: Vec<_> = (0..4).map(|number| Slot::new(number, &bell)).collect();
        let puts = [[1, 0], [3, 2]].map(|numbers| {
            let slots = slots.clone();
            let put = move || numbers.into_iter().for_each(|number: usize| slots[number].put(Ok(number)));
            spawn("worker", put).expect("a thread")
        });
        // The last one may be held up: then two others are enough to be woken.
        while !slots[0].wait_while_few(2, FOR_EVER) && bell.ready() < 2 {}
        for (number, slot) in slots.iter().enumerate() {
            assert!(bell.ready() <= 4, "fewer than none are ready");
            // The bell of one that was taken without waiting may ring late.
            while !slot.wait(FOR_EVER) {}
            assert_eq!(slot.take().expect("it is there").expect("it is well"), number);
        }
        for thread in puts {
            thread.join().expect("no panic");
        }
        assert_eq!(bell.ready(), 0);
    });
}

/// Room for a body, which counts who gave it back.
struct Counting(Arc<AtomicUsize>);

impl Room for Counting {
    fn memory(&mut self) -> &mut [std::mem::MaybeUninit<u8>] {
        Default::default()
    }

    fn end(self: Box<Self>, _outcome: Result<GotObject, Error>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_part_lands_in_one_place() {
    check(|| {
        let (landing, ended) = (Arc::new(Landing::open()), Arc::new(AtomicUsize::new(0)));
        let clock = clock();
        let worker = {
            let (landing, clock) = (Arc::clone(&landing), Arc::clone(&clock));
            spawn("worker", move || {
                let room = landing.wait(&*clock).or_else(|| landing.end());
                let is_lent = room.is_some();
                room.into_iter().for_each(|room| room.end(Err(Error::cancelled("GetObject"))));
                is_lent
            })
        };
        landing.leave(clock.now());
        let was_lent = landing.lend(Counting(Arc::clone(&ended))).is_ok();
        landing.settle();
        let is_lent = worker.expect("a thread").join().expect("no panic");
        assert_eq!((was_lent, ended.load(Ordering::SeqCst)), (is_lent, usize::from(is_lent)));
    });
}

/// A source that says when two ask it at once.
#[derive(Debug, Default)]
struct Counted {
    asking: AtomicUsize,
    asked: AtomicUsize,
}

impl CredentialsProvider for Counted {
    fn fetch_unless(&self, _asker: &Asker<'_>) -> Result<Fetched, Error> {
        let together = self.asking.fetch_add(1, Ordering::SeqCst);
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        self.asking.fetch_sub(1, Ordering::SeqCst);
        assert_eq!((together, asked), (0, 0), "one asks for all");
        let credentials = Some(Credentials::new("id", "secret", None));
        Ok(Fetched { credentials, expires_at: None })
    }

    fn source(&self) -> String {
        "the model".to_owned()
    }
}

#[test]
fn one_asks_for_keys_and_all_get_them() {
    check(|| {
        let clock = clock();
        let server = Arc::new(ServerClock::new(Arc::clone(&clock)));
        let source = Arc::new(Counted::default());
        let cache = Arc::new(CredentialsCache::new(Arc::clone(&source) as _, "cn-local", server));
        let askers = [0, 1, 2].map(|_| {
            let (cache, now) = (Arc::clone(&cache), clock.now());
            spawn("asker", move || cache.get(now, &Asker::silent(&Cancel::new())).expect("keys").generation)
        });
        let got = askers.map(|thread| thread.expect("a thread").join().expect("no panic"));
        assert!(got.iter().all(|generation| *generation == got[0]));
        assert_eq!(source.asked.load(Ordering::SeqCst), 1);
    });
}
