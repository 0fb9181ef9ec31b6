//! A client with the worker threads that read for it, in whichever process it is used.

use crate::cancel::Cancel;
use crate::client::Client;
use crate::clock::SystemClock;
use crate::crew::Crew;
use crate::error::{Error, ErrorKind};
use crate::fork::ForkCell;
use crate::interrupt::{SLICE, Watch};
use crate::read::fetch;
use crate::read::hedge::Allowance;
use crate::read::nap::Calm;
use crate::read::slot::{Bell, Slot};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use crate::workers::{Job, Workers};

/// Reads for one client, with at most `max_concurrency` requests in flight in a process.
///
/// Cheap to clone. The threads come with the first request; a forked child makes its own.
#[derive(Clone, Debug)]
pub struct ReadEngine {
    client: Client,
    max_concurrency: usize,
    workers: Arc<ForkCell<Workers>>,
    allowance: Arc<Allowance>,
    usual_bytes: Arc<AtomicU64>,
    calm: Arc<Calm>,
    /// How many processes read side by side.
    processes: Arc<AtomicUsize>,
}

impl ReadEngine {
    /// Makes an engine; no thread is started.
    #[must_use]
    pub fn new(client: Client, max_concurrency: usize) -> Self {
        let workers = Arc::new(ForkCell::new());
        let processes = Arc::new(AtomicUsize::new(1));
        Self {
            client,
            max_concurrency,
            workers,
            allowance: Arc::default(),
            usual_bytes: Arc::default(),
            calm: Arc::default(),
            processes,
        }
    }

    /// Says how many processes read side by side, before the first request of this one: they share what one begins
    /// with.
    pub fn read_alongside(&self, processes: usize) {
        self.processes.store(processes, Ordering::Relaxed);
    }

    /// The client that is read with.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What second requests may cost.
    pub(crate) fn allowance(&self) -> &Arc<Allowance> {
        &self.allowance
    }

    /// The mean size of objects whose size was not known before they were asked for; 0 = none came yet.
    pub(crate) fn usual_bytes(&self) -> &Arc<AtomicU64> {
        &self.usual_bytes
    }

    /// How calm it was for those who waited last.
    pub(crate) fn calm(&self) -> &Arc<Calm> {
        &self.calm
    }

    /// The worker threads of this process.
    ///
    /// # Errors
    /// `Forked` after more nested forks than a handle can be passed through.
    pub fn workers(&self) -> Result<Workers, Error> {
        let make = || {
            let workers = Workers::of(
                Crew::new(&self.client.config().limits),
                self.max_concurrency,
                self.processes.load(Ordering::Relaxed),
                Arc::new(SystemClock),
            );
            if let Ok(transport) = self.client.transport("read") {
                transport.crowd.enter(workers.told());
            }
            workers
        };
        let workers = self.workers.get(make).ok_or_else(|| {
            Error::new(
                ErrorKind::Forked,
                "read",
                "too many nested forks; make the client anew in this process",
            )
        })?;
        Ok(Workers::clone(workers))
    }

    /// Runs `work` on a worker thread and waits for it, watching; an interrupt cancels it.
    ///
    /// # Errors
    /// Those of `work` and of `watch`.
    pub fn call<T: Send + 'static>(
        &self,
        watch: Watch<'_>,
        work: impl FnOnce(&Client, &Cancel) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let client = self.client.clone();
        call(&self.workers()?, watch, move |cancel| work(&client, cancel))
    }
}

/// Runs `work` on a worker thread and waits for it, watching; an interrupt cancels it.
pub(crate) fn call<T: Send + 'static>(
    workers: &Workers,
    watch: Watch<'_>,
    work: impl FnOnce(&Cancel) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let slot = Slot::new(0, &Bell::new());
    let cancel = Cancel::new();
    let job = {
        let (slot, cancel) = (Arc::clone(&slot), cancel.clone());
        Box::new(move || {
            slot.put(fetch::guarded(|| work(&cancel)));
            0_u64
        }) as Job
    };
    workers.submit([job]);
    wait_watched(workers, &slot, watch).inspect_err(|_| cancel.cancel())?
}

/// Waits for an outcome, watching between slices; the outer error is the watcher's.
pub(crate) fn wait_watched<T>(
    workers: &Workers,
    slot: &Slot<T>,
    watch: Watch<'_>,
) -> Result<Result<T, Error>, Error> {
    loop {
        if let Some(outcome) = slot.take() {
            return Ok(outcome);
        }
        watch()?;
        if !workers.run_one() {
            slot.wait(SLICE);
        }
    }
}
