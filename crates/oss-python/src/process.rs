//! The counters of all clients of this process, those that are gone included.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use oss_client::client::Client;
use oss_client::fork;
use oss_client::logs;
use pyo3::prelude::*;

#[derive(Default)]
struct Registry {
    generation: u32,
    next: u64,
    live: HashMap<u64, Client>,
    gone: BTreeMap<String, u64>,
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

/// Keeps an eye on a client; the number is for [`leave`].
pub(crate) fn enter(py: Python<'_>, client: &Client) -> u64 {
    with(py, |registry| {
        registry.next += 1;
        registry.live.insert(registry.next, client.clone());
        registry.next
    })
}

/// Keeps what a client counted, now that it goes.
pub(crate) fn leave(py: Python<'_>, number: u64) {
    with(py, |registry| {
        if let Some(client) = registry.live.remove(&number) {
            add(&mut registry.gone, &client);
        }
    });
}

fn add(totals: &mut BTreeMap<String, u64>, client: &Client) {
    for (name, value) in client.stats().iter() {
        let total = totals.entry(name.to_owned()).or_default();
        *total = total.wrapping_add(value);
    }
}

/// Counters of all clients of this process.
#[pyfunction]
pub(crate) fn process_stats(py: Python<'_>) -> BTreeMap<String, u64> {
    with(py, |registry| {
        let mut totals = registry.gone.clone();
        registry.live.values().for_each(|client| add(&mut totals, client));
        totals
    })
}

/// Takes the waiting log records: (level as in `logging`, module, text).
#[pyfunction]
pub(crate) fn drain_logs() -> Vec<(i32, &'static str, String)> {
    logs::drain().into_iter().map(|record| (record.level as i32, record.module, record.text)).collect()
}
