//! The worker threads of one client in one process, and how many of them may work at once.
//!
//! Jobs wait in one queue. A worker that ends a job takes the next without sleeping; only when the queue is empty
//! does it park, and only a parked worker is ever woken, one for each new job. Threads are made when jobs wait
//! and the [`Window`] and the bound of the process ([`Crew`]) allow one more; an idle one ends after [`IDLE`]. If no
//! thread can be made at all, [`Workers::run_one`] lets the caller do the work.
//!
//! Nobody wakes more than [`FAN_OUT`] workers at a time; each of those wakes as many more for what still waits. So who
//! brings a hundred jobs pays for two calls, all are awake after a few turns, and where jobs are done faster than
//! threads awake, only as many come as there is work for.
//!
//! A woken worker counts as parked no longer from the moment it is called, not from when it runs: otherwise two
//! jobs in a row would call the same one. And a worker that ends, because the window shrank or others want its place,
//! passes the call on: it may have been the only one awake.
//!
//! Lock order: the queue's lock is the only one here, and only the crew, whose lock is the last, is asked while it is
//! held.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::clock::Clock;
use crate::crew::Crew;
use crate::sync::{self, Arc, Condvar, Mutex, Weak};
use crate::telling::crowd::{Load, Told};
use crate::window::Window;

/// A parked worker ends after this long without a job.
const IDLE: Duration = Duration::from_secs(10);

/// How many parked workers one thread wakes for the jobs that wait.
const FAN_OUT: usize = 2;

/// One request to make; it says how many body bytes it received. Its maker turns a panic into the request's error.
pub type Job = Box<dyn FnOnce() -> u64 + Send>;

/// A pool of worker threads behind a concurrency window.
#[derive(Clone)]
pub struct Workers {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    clock: Arc<dyn Clock>,
    crew: Crew,
}

struct Queue {
    /// Each with the number of the batch it came in.
    jobs: VecDeque<(u64, Job)>,
    batches: u64,
    threads: usize,
    /// Waiting, and nobody called them.
    parked: usize,
    /// Called, and not awake yet.
    called: usize,
    running: usize,
    window: Window,
    stopping: bool,
}

/// What a change of the queue asks for, to be done when its lock was let go.
#[derive(Clone, Copy)]
struct Hands {
    wake: usize,
    spawn: usize,
}

/// Does a job. A panic that its maker let through ends the job, never the thread: the pool would lose its place.
fn done(job: Job) -> u64 {
    panic::catch_unwind(AssertUnwindSafe(job)).unwrap_or(0)
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = self.shared.queue.lock();
        f.debug_struct("Workers")
            .field("waiting", &queue.jobs.len())
            .field("threads", &queue.threads)
            .field("window", &queue.window.width())
            .finish()
    }
}

impl Workers {
    /// Makes a pool without threads; `max_concurrency` bounds both the window and the threads. So many `processes` read
    /// side by side.
    #[must_use]
    pub fn new(max_concurrency: usize, processes: usize, clock: Arc<dyn Clock>) -> Self {
        Self::of(Crew::default(), max_concurrency, processes, clock)
    }

    /// As [`Workers::new`], of threads that keep the bound of their process too.
    #[must_use]
    pub fn of(crew: Crew, max_concurrency: usize, processes: usize, clock: Arc<dyn Clock>) -> Self {
        let queue = Queue {
            jobs: VecDeque::new(),
            batches: 0,
            threads: 0,
            parked: 0,
            called: 0,
            running: 0,
            window: Window::of_several(processes, max_concurrency, clock.now()),
            stopping: false,
        };
        Self { shared: Arc::new(Shared { queue: Mutex::new(queue), work: Condvar::new(), clock, crew }) }
    }

    /// What there is to tell of them.
    pub(crate) fn told(&self) -> Weak<dyn Told> {
        Arc::downgrade(&self.shared) as Weak<dyn Told>
    }

    /// Puts `jobs` at the end of the queue, in order; returns their number as a batch, for [`Workers::withdraw`].
    pub fn submit(&self, jobs: impl IntoIterator<Item = Job>) -> u64 {
        let mut queue = self.shared.queue.lock();
        let was_idle = queue.running == 0 && queue.jobs.is_empty();
        let batch = queue.next_batch();
        queue.jobs.extend(jobs.into_iter().map(|job| (batch, job)));
        if was_idle {
            let waiting = queue.jobs.len();
            queue.window.resume(waiting, self.shared.clock.now());
        }
        let hands = queue.call_hands();
        drop(queue);
        self.shared.put_to_work(hands);
        batch
    }

    /// Takes the jobs of a batch back that no worker has begun with.
    ///
    /// Whoever gave up waiting for them need not stand in line behind what others wait for.
    #[must_use]
    pub fn withdraw(&self, batch: u64) -> Vec<Job> {
        let mut queue = self.shared.queue.lock();
        let (withdrawn, left) =
            std::mem::take(&mut queue.jobs).into_iter().partition::<VecDeque<_>, _>(|(of, _)| *of == batch);
        queue.jobs = left;
        drop(queue);
        withdrawn.into_iter().map(|(_, job)| job).collect()
    }

    /// Puts a job at the front of the queue: somebody is waiting for it.
    pub fn submit_first(&self, job: Job) {
        let mut queue = self.shared.queue.lock();
        let batch = queue.next_batch();
        queue.jobs.push_front((batch, job));
        let hands = queue.call_hands();
        drop(queue);
        self.shared.put_to_work(hands);
    }

    /// How many requests may be in flight now.
    #[must_use]
    pub fn window(&self) -> usize {
        self.shared.queue.lock().window.width()
    }

    /// Runs one waiting job on the calling thread, if there is no worker to do it; true if it did.
    ///
    /// A process that may not make threads still makes progress, one request at a time.
    pub fn run_one(&self) -> bool {
        let mut queue = self.shared.queue.lock();
        if queue.threads > 0 {
            return false;
        }
        let job = queue.jobs.pop_front();
        drop(queue);
        job.map(|(_, job)| done(job)).is_some()
    }

    /// Tells the window that the service asked to slow down.
    pub fn throttled(&self) {
        let now = self.shared.clock.now();
        self.shared.queue.lock().window.throttled(now);
    }

    /// Drops what waits and lets every worker end after its present job.
    pub fn stop(&self) {
        let mut queue = self.shared.queue.lock();
        queue.stopping = true;
        let waiting = std::mem::take(&mut queue.jobs);
        drop(queue);
        drop(waiting);
        self.shared.work.notify_all();
    }
}

impl Told for Shared {
    fn load(&self, now: Instant) -> Load {
        let queue = self.queue.lock();
        let width = queue.window.width();
        let changed = queue.window.last_change();
        Load {
            jobs_waiting: queue.jobs.len() as u64,
            worker_threads: queue.threads as u64,
            in_flight_limit: width as u64,
            in_flight_limit_before: changed.map_or(width, |(before, _)| before) as u64,
            in_flight_limit_age: changed.map(|(_, at)| now.saturating_duration_since(at)),
            ..Load::default()
        }
    }

    fn tell(&self, now: Instant) -> Value {
        let load = self.load(now);
        let running = self.queue.lock().running;
        json!({
            "kind": "workers",
            "running": running,
            "threads": load.worker_threads,
            "jobs_waiting": load.jobs_waiting,
            "limit": load.in_flight_limit,
            "limit_before": load.in_flight_limit_before,
            "limit_changed_seconds_ago": load.in_flight_limit_age.map(|age| age.as_secs_f64()),
        })
    }
}

impl Queue {
    fn next_batch(&mut self) -> u64 {
        self.batches += 1;
        self.batches
    }

    /// Decides how many parked workers to wake and how many threads to add for the jobs that wait.
    fn call_hands(&mut self) -> Hands {
        if self.stopping {
            return Hands { wake: 0, spawn: 0 };
        }
        let lacking = self.wanted().saturating_sub(self.parked);
        let spawn = lacking.min(self.window.width().saturating_sub(self.threads));
        self.threads += spawn;
        Hands { wake: self.call_parked(), spawn }
    }

    /// How many more could work now, beside those that were called.
    fn wanted(&self) -> usize {
        let room = self.window.width().saturating_sub(self.running);
        room.min(self.jobs.len()).saturating_sub(self.called)
    }

    /// Decides how many parked workers to wake.
    fn call_parked(&mut self) -> usize {
        let wake = self.wanted().min(self.parked).min(FAN_OUT);
        self.parked -= wake;
        self.called += wake;
        wake
    }

    /// One waiting worker is awake again; if it was not called, it is as good as one that was.
    fn awoke(&mut self) {
        if self.called > 0 {
            self.called -= 1;
        } else {
            self.parked -= 1;
        }
    }

    /// Takes the next job if one waits and the window has room.
    fn take(&mut self) -> Option<Job> {
        if self.running >= self.window.width() {
            return None;
        }
        let (_, job) = self.jobs.pop_front()?;
        self.running += 1;
        Some(job)
    }

    /// True when this worker should end: the pool stops, or the window shrank below the threads.
    fn has_too_many_threads(&self) -> bool {
        self.stopping || self.threads > self.window.width()
    }
}

impl Shared {
    fn put_to_work(self: &Arc<Self>, hands: Hands) {
        for _ in 0..hands.wake {
            self.work.notify_one();
        }
        for number in 0..hands.spawn {
            let shared = Arc::clone(self);
            let is_admitted = self.crew.enter();
            if is_admitted && sync::spawn("oss-worker", move || shared.work_until_idle()).is_ok() {
                continue;
            }
            if is_admitted {
                self.crew.leave();
            }
            self.queue.lock().threads -= hands.spawn - number;
            break;
        }
    }

    fn work_until_idle(self: &Arc<Self>) {
        while let Some(job) = self.next_job() {
            let bytes = done(job);
            self.account(bytes);
        }
    }

    /// Notes the end of a job; a wider window puts more threads to work.
    fn account(self: &Arc<Self>, bytes: u64) {
        let now = self.clock.now();
        let mut queue = self.queue.lock();
        queue.running -= 1;
        if queue.window.completed(1, bytes, now) {
            let hands = queue.call_hands();
            drop(queue);
            self.put_to_work(hands);
        }
    }

    /// Waits for a job; None when the thread should end.
    fn next_job(self: &Arc<Self>) -> Option<Job> {
        let mut queue = self.queue.lock();
        let mut parked_until = None;
        loop {
            if queue.has_too_many_threads() || self.crew.has_too_many() {
                break;
            }
            if let Some(job) = queue.take() {
                let wake = queue.call_parked();
                drop(queue);
                self.put_to_work(Hands { wake, spawn: 0 });
                return Some(job);
            }
            let now = self.clock.now();
            let until = *parked_until.get_or_insert(now + IDLE);
            if now >= until {
                break;
            }
            queue.parked += 1;
            queue = self.work.wait_for(queue, until - now);
            queue.awoke();
        }
        queue.threads -= 1;
        self.crew.leave();
        let hands = queue.call_hands();
        drop(queue);
        self.put_to_work(hands);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, SystemClock};
    use crate::sync::atomic::{AtomicUsize, Ordering};
    use oss_protocol::time::UtcTime;
    use std::sync::mpsc;

    fn pool(max_concurrency: usize) -> Workers {
        Workers::new(max_concurrency, 1, Arc::new(SystemClock))
    }

    #[test]
    fn what_was_not_begun_can_be_taken_back() {
        let workers = pool(1);
        let (go_on, held) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        workers.submit([Box::new(move || {
            begun.send(()).unwrap();
            held.recv().unwrap();
            0_u64
        }) as Job]);
        has_begun.recv().unwrap();
        let ran = Arc::new(AtomicUsize::new(0));
        let counted = |ran: &Arc<AtomicUsize>| {
            let ran = Arc::clone(ran);
            Box::new(move || ran.fetch_add(1, Ordering::SeqCst) as u64) as Job
        };
        let batch = workers.submit([counted(&ran), counted(&ran)]);
        let (done, is_done) = mpsc::channel();
        workers.submit([Box::new(move || {
            done.send(()).unwrap();
            0_u64
        }) as Job]);
        assert_eq!(workers.withdraw(batch).len(), 2);
        assert!(workers.withdraw(batch).is_empty());
        go_on.send(()).unwrap();
        is_done.recv().unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), 0, "they are the caller's now");
    }

    #[test]
    fn test_f95_a_job_that_panics_costs_the_pool_nothing() {
        let workers = pool(2);
        let (done, results) = mpsc::channel();
        workers.submit((0..100).map(|number| {
            let done = done.clone();
            Box::new(move || {
                assert!(number % 2 == 0, "on purpose");
                done.send(number).unwrap();
                1_u64
            }) as Job
        }));
        assert_eq!(results.iter().take(50).count(), 50);
        while workers.shared.queue.lock().running > 0 {
            std::thread::yield_now();
        }
        workers.stop();
    }

    #[test]
    fn every_job_runs_once() {
        let workers = pool(8);
        let (done, results) = mpsc::channel();
        workers.submit((0..1000).map(|number| {
            let done = done.clone();
            Box::new(move || {
                done.send(number).unwrap();
                1_u64
            }) as Job
        }));
        let mut seen: Vec<i32> = results.iter().take(1000).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..1000).collect::<Vec<_>>());
        workers.stop();
    }

    #[test]
    fn no_more_run_at_once_than_the_window_allows() {
        let workers = pool(3);
        let running = Arc::new(AtomicUsize::new(0));
        let (done, results) = mpsc::channel();
        workers.submit((0..200).map(|_| {
            let (running, done) = (Arc::clone(&running), done.clone());
            Box::new(move || {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
                done.send(now).unwrap();
                1_u64
            }) as Job
        }));
        assert!(results.iter().take(200).all(|together| together <= 3));
        workers.stop();
    }

    #[test]
    fn jobs_are_done_though_the_window_shrank_below_the_threads() {
        let clock = Arc::new(ManualClock::new(UtcTime(0)));
        let workers = Workers::new(16, 1, Arc::clone(&clock) as Arc<dyn Clock>);
        let (started, starts) = mpsc::channel();
        let (ended, ends) = mpsc::channel();
        let gates: Vec<_> = (0..16)
            .map(|_| {
                let (open, gate) = mpsc::channel::<()>();
                let (started, ended) = (started.clone(), ended.clone());
                workers.submit([Box::new(move || {
                    started.send(()).unwrap();
                    gate.recv().unwrap();
                    ended.send(()).unwrap();
                    1_u64
                }) as Job]);
                open
            })
            .collect();
        starts.iter().take(16).for_each(drop);
        gates[..10].iter().for_each(|gate| gate.send(()).unwrap());
        while workers.shared.queue.lock().parked < 10 {
            std::thread::yield_now();
        }
        // 16, 11, 7, 4: fewer than the six that run, so what is submitted now wakes nobody.
        for _ in 0..3 {
            clock.advance(Duration::from_secs(2));
            workers.throttled();
        }
        let (done, results) = mpsc::channel();
        workers.submit((0..3).map(|_| {
            let done = done.clone();
            Box::new(move || {
                done.send(()).unwrap();
                1_u64
            }) as Job
        }));
        gates[10..].iter().for_each(|gate| gate.send(()).unwrap());
        for _ in 0..3 {
            results.recv_timeout(IDLE / 2).expect("somebody is awake to do it");
        }
        assert_eq!(ends.iter().take(16).count(), 16);
        workers.stop();
    }

    #[test]
    fn parked_workers_wake_each_other_until_all_jobs_are_begun() {
        let workers = pool(4);
        let gates = Arc::new(std::sync::Barrier::new(5));
        for _ in 0..20 {
            // Each round ends when all four are in their jobs at once, and they park before the next.
            while workers.shared.queue.lock().running > 0 {
                std::thread::yield_now();
            }
            workers.submit((0..4).map(|_| {
                let gates = Arc::clone(&gates);
                Box::new(move || {
                    gates.wait();
                    1_u64
                }) as Job
            }));
            gates.wait();
        }
        assert_eq!(workers.shared.queue.lock().threads, 4);
        workers.stop();
    }

    #[test]
    fn stop_drops_what_waits() {
        let workers = pool(1);
        let (go, wait) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let (ran, runs) = mpsc::channel();
        workers.submit([Box::new(move || {
            started.send(()).unwrap();
            wait.recv().unwrap();
            1_u64
        }) as Job]);
        has_started.recv().unwrap();
        workers.submit([Box::new(move || {
            ran.send(()).unwrap();
            1_u64
        }) as Job]);
        workers.stop();
        go.send(()).unwrap();
        assert!(runs.recv().is_err(), "the waiting job was dropped, and its sender with it");
    }
}
