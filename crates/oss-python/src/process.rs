//! The counters of all clients of this process, those that are gone included.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use oss_client::fork;
use oss_client::logs;
use oss_client::read::engine::ReadEngine;
use pyo3::prelude::*;

const GAUGES: [&str; 3] = ["in_flight", "in_flight_limit", "requests_per_second_limit"];

#[derive(Default)]
struct Registry {
    generation: u32,
    next: u64,
    live: HashMap<u64, [ReadEngine; 2]>,
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

/// Keeps an eye on the engines of one client; the number is for [`leave`].
pub(crate) fn enter(py: Python<'_>, engines: [ReadEngine; 2]) -> u64 {
    with(py, |registry| {
        registry.next += 1;
        registry.live.insert(registry.next, engines);
        registry.next
    })
}

/// Keeps what a client counted, now that it goes.
pub(crate) fn leave(py: Python<'_>, number: u64) {
    with(py, |registry| {
        if let Some(engines) = registry.live.remove(&number) {
            let mut counted = counters(&engines);
            // What was a state and no count goes with the client.
            counted.retain(|name, _| !GAUGES.contains(&name.as_str()));
            add(&mut registry.gone, counted);
        }
    });
}

/// What one client counted, and the limits that it has found.
pub(crate) fn counters(engines: &[ReadEngine; 2]) -> BTreeMap<String, u64> {
    let snapshot = engines[0].client().stats();
    let mut counters: BTreeMap<_, _> =
        snapshot.iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let limit: usize = engines.iter().map(ReadEngine::in_flight_limit).sum();
    counters.insert("in_flight_limit".to_owned(), limit as u64);
    let pace = engines[0].client().pressure().requests_per_second.unwrap_or(0.0);
    counters.insert("requests_per_second_limit".to_owned(), pace.round() as u64);
    counters
}

fn add(totals: &mut BTreeMap<String, u64>, counters: BTreeMap<String, u64>) {
    for (name, value) in counters {
        let total = totals.entry(name).or_default();
        *total = total.wrapping_add(value);
    }
}

/// Counters of all clients of this process.
#[pyfunction]
pub(crate) fn process_stats(py: Python<'_>) -> BTreeMap<String, u64> {
    with(py, |registry| {
        let mut totals = registry.gone.clone();
        registry.live.values().for_each(|engines| add(&mut totals, counters(engines)));
        totals
    })
}

/// Takes the waiting log records: (level as in `logging`, module, text).
#[pyfunction]
pub(crate) fn drain_logs() -> Vec<(i32, &'static str, String)> {
    logs::drain().into_iter().map(|record| (record.level as i32, record.module, record.text)).collect()
}
