//! The counters of all clients of this process, those that are gone included.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oss_client::client::{Client, WeakClient};
use oss_client::fork::ForkCell;
use oss_client::logs;
use oss_client::stats::Amount;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyDict;

type Counters = BTreeMap<String, Amount>;

/// A client that somebody may still have a handle on: the object it was made for, or a reader or a writer of that.
struct Entry {
    client: WeakClient,
    has_ended: Arc<AtomicBool>,
}

static LIVE: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// What clients that are gone have counted, by process: what the parent counted is the parent's.
static GONE: ForkCell<Mutex<Counters>> = ForkCell::new();

/// How often it is looked whether a client that nobody has any more has left its counters. It does that at once, unless
/// a fork came in the middle of it: then they are the parent's.
const LOOKS: usize = 10_000;

/// Locks the list; the GIL is held, so that no thread of this process is in here while it forks.
fn live(_py: Python<'_>) -> MutexGuard<'static, Vec<Entry>> {
    let mut entries = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    entries.retain(|entry| !entry.has_ended.load(Ordering::Acquire));
    entries
}

fn with_gone<R>(work: impl FnOnce(&mut Counters) -> R) -> Option<R> {
    let gone = GONE.get(Mutex::default)?;
    Some(work(&mut gone.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// Keeps an eye on one client, and keeps what it counted when its last handle goes; what of that was a state, Python
/// leaves out.
pub(crate) fn enter(py: Python<'_>, client: &Client) {
    let has_ended = Arc::new(AtomicBool::new(false));
    live(py).push(Entry { client: client.downgrade(), has_ended: Arc::clone(&has_ended) });
    // The GIL need not be held then: a worker may be the last to let go.
    client.at_end(move |snapshot| {
        with_gone(|gone| {
            for (name, amount) in snapshot.iter() {
                let total = gone.entry(name.to_owned()).or_insert(Amount::Count(0));
                *total = *total + amount;
            }
        });
        has_ended.store(true, Ordering::Release);
    });
}

/// The clients that live. What others counted is among what is gone when this returns, so that no sum falls.
fn living(py: Python<'_>) -> Vec<Client> {
    let find = |entry: &Entry| {
        let found = entry.client.upgrade();
        if found.is_none() {
            let has_ended = |_: &usize| entry.has_ended.load(Ordering::Acquire);
            (0..LOOKS).inspect(|_| std::thread::yield_now()).find(has_ended);
        }
        found
    };
    live(py).iter().filter_map(find).collect()
}

/// Counters as a dict of numbers.
pub(crate) fn as_dict<'py, 'c>(
    py: Python<'py>,
    counters: impl IntoIterator<Item = (&'c str, Amount)>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, amount) in counters {
        let number = match amount {
            Amount::Count(count) => count.into_py_any(py)?,
            Amount::Real(real) => real.into_py_any(py)?,
        };
        dict.set_item(name, number)?;
    }
    Ok(dict)
}

/// Counters of the clients of this process: of those that are gone together, then of each that lives.
#[pyfunction]
pub(crate) fn process_stats(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let clients = living(py);
    let gone = with_gone(|gone| gone.clone()).unwrap_or_default();
    let live = Client::stats_of_all(&clients);
    let gone = as_dict(py, gone.iter().map(|(name, amount)| (name.as_str(), *amount)))?;
    let live = live.iter().map(|snapshot| as_dict(py, snapshot.iter()));
    std::iter::once(Ok(gone)).chain(live).collect()
}

/// Takes the waiting log records: (level as in `logging`, module, text).
#[pyfunction]
pub(crate) fn drain_logs() -> Vec<(i32, &'static str, String)> {
    logs::drain().into_iter().map(|record| (record.level as i32, record.module, record.text)).collect()
}
