//! The counters of all clients of this process, those that are gone included.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use oss_client::client::Client;
use oss_client::fork;
use oss_client::logs;
use oss_client::stats::Amount;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use pyo3::types::PyDict;

type Counters = BTreeMap<String, Amount>;

#[derive(Default)]
struct Registry {
    generation: u32,
    next: u64,
    live: HashMap<u64, Client>,
    gone: Counters,
}

static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);

/// Locks the registry; the GIL is held, so that no thread of this process is in here while it forks.
fn with<R>(_py: Python<'_>, work: impl FnOnce(&mut Registry) -> R) -> R {
    let mut guard = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
    let registry = guard.get_or_insert_default();
    if registry.generation != fork::generation() {
        // What the parent counted is the parent's.
        registry.generation = fork::generation();
        registry.gone.clear();
    }
    work(registry)
}

/// Keeps an eye on one client; the number is for [`leave`].
pub(crate) fn enter(py: Python<'_>, client: Client) -> u64 {
    with(py, |registry| {
        registry.next += 1;
        registry.live.insert(registry.next, client);
        registry.next
    })
}

/// Keeps what a client counted, now that it goes; what of it was a state, Python leaves out.
pub(crate) fn leave(py: Python<'_>, number: u64) {
    with(py, |registry| {
        if let Some(client) = registry.live.remove(&number) {
            for (name, amount) in client.stats().iter() {
                let total = registry.gone.entry(name.to_owned()).or_insert(Amount::Count(0));
                *total = *total + amount;
            }
        }
    });
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
    let (gone, live) = with(py, |registry| {
        let clients: Vec<_> = registry.live.values().collect();
        (registry.gone.clone(), Client::stats_of_all(&clients))
    });
    let gone = as_dict(py, gone.iter().map(|(name, amount)| (name.as_str(), *amount)))?;
    let live = live.iter().map(|snapshot| as_dict(py, snapshot.iter()));
    std::iter::once(Ok(gone)).chain(live).collect()
}

/// Takes the waiting log records: (level as in `logging`, module, text).
#[pyfunction]
pub(crate) fn drain_logs() -> Vec<(i32, &'static str, String)> {
    logs::drain().into_iter().map(|record| (record.level as i32, record.module, record.text)).collect()
}
