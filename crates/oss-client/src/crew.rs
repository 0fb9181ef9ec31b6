//! The threads of this process that make requests, and the bound that all of them keep together.
//!
//! Every pool of workers, open upload, listing and copy has a [`Crew`]; what a crew may have by itself is its own
//! affair. The bound of the process is `network.maxConcurrency`, the largest where its clients differ. Up to it who
//! comes first is served. Beyond it a crew still gets its fair share, the bound divided by the crews that have threads,
//! so that an upload does not stand behind an epoch that took them all; a crew that has more than its share then ends
//! one after its present job. A refused thread is like one that the system does not give: the crew makes do, and the
//! caller works itself where there is none (`faults.md`, 2.8).
//!
//! A child of a fork has none of its parent's threads and counts anew.

use std::io;

use crate::config::Limits;
use crate::fork::ForkCell;
use crate::logs::{self, Level};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{self, Arc, JoinHandle, Mutex, Scope, ScopedJoinHandle};

/// Of all crews of a process. Lock order: the one lock here is the last, and nothing is called while it is held.
#[derive(Debug, Default)]
struct Process {
    bound: AtomicUsize,
    /// Changed under the lock alone.
    threads: AtomicUsize,
    /// Crews that have threads.
    crews: Mutex<usize>,
}

static PROCESS: ForkCell<Process> = ForkCell::new();

/// Threads that work on one thing.
#[derive(Debug, Clone, Default)]
pub struct Crew {
    /// `None` = nobody counts them, as in tests of a pool alone.
    counted: Option<Counted>,
}

#[derive(Debug, Clone)]
struct Counted {
    process: Arc<Process>,
    /// Changed under the lock of the process alone.
    own: Arc<AtomicUsize>,
}

/// The place of one thread, given back at its end.
struct Place(Crew);

impl Crew {
    /// A crew of this process, without threads. The first one says in the log which bound holds.
    pub fn new(limits: &Limits) -> Crew {
        let process = PROCESS.get(Process::default);
        let Some(process) = process else { return Crew::default() };
        let bound = limits.most_threads();
        if process.bound.fetch_max(bound, Ordering::AcqRel) < bound {
            logs::push(Level::Info, "workers", line(limits));
        }
        Crew::of(process)
    }

    fn of(process: &Arc<Process>) -> Crew {
        let counted = Counted { process: Arc::clone(process), own: Arc::default() };
        Crew { counted: Some(counted) }
    }

    /// As [`sync::spawn`], within the bound.
    ///
    /// # Errors
    /// `WouldBlock` where the bound is reached; the system's, when no thread can be made.
    pub fn spawn<T, F>(&self, name: &str, body: F) -> io::Result<JoinHandle<T>>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let place = self.place()?;
        sync::spawn(name, move || place.during(body))
    }

    /// As [`sync::spawn_scoped`], within the bound.
    ///
    /// # Errors
    /// As [`Crew::spawn`].
    pub(crate) fn spawn_scoped<'scope, 'env, T, F>(
        &self,
        scope: &'scope Scope<'scope, 'env>,
        name: &str,
        body: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        T: Send + 'scope,
        F: FnOnce() -> T + Send + 'scope,
    {
        let place = self.place()?;
        sync::spawn_scoped(scope, name, move || place.during(body))
    }

    /// Counts one more thread, unless there may be none; who makes it says when it [leaves](Crew::leave).
    pub(crate) fn enter(&self) -> bool {
        self.counted.as_ref().is_none_or(Counted::enter)
    }

    /// A thread that was counted has ended, or does not begin.
    pub(crate) fn leave(&self) {
        if let Some(counted) = &self.counted {
            counted.leave();
        }
    }

    /// Whether one of its threads should end, as others have less than their share. It keeps one.
    pub(crate) fn has_too_many(&self) -> bool {
        self.counted.as_ref().is_some_and(Counted::has_too_many)
    }

    fn place(&self) -> io::Result<Place> {
        if self.enter() { Ok(Place(self.clone())) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }
}

/// Which bounds hold, and where they come from.
fn line(limits: &Limits) -> String {
    let most = limits.max_concurrency;
    let is_default = most == Limits::default().max_concurrency;
    let why = if is_default { "the default of network.maxConcurrency" } else { "network.maxConcurrency" };
    let mut text = format!("at most {most} threads of this process make requests ({why})");
    let chosen = [
        ("datasets", "datasetConfig.prefetchConcurrency", limits.dataset_max_concurrency),
        ("readers", "checkpointConfig.prefetchConcurrency", limits.checkpoint_max_concurrency),
        ("a writer", "checkpointConfig.uploadConcurrency", limits.upload_max_concurrency),
    ];
    for (whose, key, bound) in chosen {
        if let Some(bound) = bound {
            text = format!("{text}; at most {bound} for {whose} ({key})");
        }
    }
    text
}

impl Counted {
    fn own(&self) -> usize {
        self.own.load(Ordering::Relaxed)
    }

    /// Counts one more thread, unless there may be none.
    fn enter(&self) -> bool {
        let mut crews = self.process.crews.lock();
        let would_be = *crews + usize::from(self.own() == 0);
        let has_room = self.process.threads() < self.process.bound();
        if !has_room && self.own() >= self.process.share(would_be) {
            return false;
        }
        *crews = would_be;
        self.own.fetch_add(1, Ordering::Relaxed);
        self.process.threads.fetch_add(1, Ordering::Relaxed);
        true
    }

    fn leave(&self) {
        let mut crews = self.process.crews.lock();
        self.process.threads.fetch_sub(1, Ordering::Relaxed);
        if self.own.fetch_sub(1, Ordering::Relaxed) == 1 {
            *crews -= 1;
        }
    }

    fn has_too_many(&self) -> bool {
        let process = &*self.process;
        // After each job: the lock is taken only while there is one too many.
        let is_beyond = || process.threads() > process.bound();
        is_beyond() && {
            let crews = process.crews.lock();
            is_beyond() && self.own() > process.share(*crews)
        }
    }
}

impl Process {
    fn bound(&self) -> usize {
        self.bound.load(Ordering::Relaxed)
    }

    fn threads(&self) -> usize {
        self.threads.load(Ordering::Relaxed)
    }

    /// What each of so many crews gets in any case: one thread at least.
    fn share(&self, crews: usize) -> usize {
        (self.bound() / crews.max(1)).max(1)
    }
}

impl Place {
    /// Runs what a thread is for, and gives the place back.
    fn during<T>(self, body: impl FnOnce() -> T) -> T {
        let result = body();
        drop(self);
        result
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::clock::SystemClock;
    use crate::workers::{Job, Workers};

    fn process(bound: usize) -> Arc<Process> {
        Arc::new(Process { bound: AtomicUsize::new(bound), ..Process::default() })
    }

    /// As many threads as the crew gets, up to `most`.
    fn places(crew: &Crew, most: usize) -> Vec<Place> {
        (0..most).map_while(|_| crew.place().ok()).collect()
    }

    #[test]
    fn the_first_crew_gets_all_there_are() {
        let process = process(8);
        let crew = Crew::of(&process);
        assert_eq!(places(&crew, 100).len(), 8);
        assert_eq!(process.threads.load(Ordering::SeqCst), 0, "given back");
        assert_eq!(*process.crews.lock(), 0);
    }

    #[test]
    fn one_that_comes_later_gets_its_share_and_the_first_ends_as_many() {
        let process = process(8);
        let (first, second) = (Crew::of(&process), Crew::of(&process));
        let mut firsts = places(&first, 100);
        let seconds = places(&second, 100);
        assert_eq!((firsts.len(), seconds.len()), (8, 4));
        assert!(!second.has_too_many());
        while first.has_too_many() {
            firsts.pop();
        }
        assert_eq!(firsts.len(), 4, "the bound holds again");
        assert!(first.place().is_err() && second.place().is_err());
        drop(seconds);
        assert_eq!(places(&first, 100).len(), 4, "what was given back is there for everybody");
    }

    #[test]
    fn with_more_crews_than_threads_each_has_one() {
        let process = process(2);
        let crews: Vec<_> = (0..5).map(|_| Crew::of(&process)).collect();
        let held: Vec<_> = crews.iter().map(|crew| places(crew, 100)).collect();
        let counts: Vec<_> = held.iter().map(Vec::len).collect();
        assert_eq!(counts, [2, 1, 1, 1, 1]);
        assert_eq!(
            crews.iter().map(Crew::has_too_many).collect::<Vec<_>>(),
            [true, false, false, false, false]
        );
    }

    /// Jobs that say that they began, and wait for a word.
    fn waiting(pool: &Workers, count: usize) -> (Sender<()>, Receiver<()>) {
        let (begun, begins) = channel();
        let (go_on, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        pool.submit((0..count).map(|_| {
            let (begun, held) = (begun.clone(), Arc::clone(&held));
            Box::new(move || {
                begun.send(()).expect("the test listens");
                held.lock().recv().expect("a word");
                1_u64
            }) as Job
        }));
        (go_on, begins)
    }

    #[test]
    fn a_pool_that_took_all_gives_way_to_another_and_neither_stands_still() {
        let process = process(4);
        let pool = || Workers::of(Crew::of(&process), 16, 1, Arc::new(SystemClock));
        let (first, second) = (pool(), pool());
        let (let_first, firsts) = waiting(&first, 12);
        firsts.iter().take(4).for_each(drop);
        let (let_second, seconds) = waiting(&second, 8);
        seconds.iter().take(2).for_each(drop);
        assert_eq!(process.threads.load(Ordering::SeqCst), 6, "its share is beyond the bound for a moment");
        (0..12).for_each(|_| let_first.send(()).expect("they wait"));
        firsts.iter().take(8).for_each(drop);
        assert_eq!(process.threads.load(Ordering::SeqCst), 4);
        (0..8).for_each(|_| let_second.send(()).expect("they wait"));
        seconds.iter().take(6).for_each(drop);
        first.stop();
        second.stop();
    }

    #[test]
    fn the_line_names_the_bounds_and_where_they_come_from() {
        let usual =
            "at most 256 threads of this process make requests (the default of network.maxConcurrency)";
        assert_eq!(line(&Limits::default()), usual);
        let limits = Limits { max_concurrency: 64, upload_max_concurrency: Some(8), ..Limits::default() };
        let said = "at most 64 threads of this process make requests (network.maxConcurrency); at most 8 for a writer \
                    (checkpointConfig.uploadConcurrency)";
        assert_eq!(line(&limits), said);
    }

    #[test]
    fn a_thread_counts_while_it_runs() {
        let process = process(1);
        let crew = Crew::of(&process);
        let (go_on, held) = channel::<()>();
        let thread = crew.spawn("held", move || held.recv().expect("a word")).expect("a thread");
        let refused = crew.spawn("refused", || ()).expect_err("the bound is reached");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        go_on.send(()).expect("it waits");
        thread.join().expect("no panic");
        assert!(crew.place().is_ok());
    }
}
