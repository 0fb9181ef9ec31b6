//! Listings, a page at a time.

use std::sync::{Mutex, PoisonError};

use oss_client::cancel::Cancel;
use oss_client::error::Error;
use oss_client::interrupt::Watch;
use oss_client::list::{Entry, ListOptions, Pages};
use oss_client::operations::{ListPage, ListedObject};
use oss_client::read::engine::ReadEngine;
use oss_protocol::uri::ObjectUri;
use pyo3::prelude::*;

use crate::waiting::without_gil;

/// Lines of a listing; fetches the next page when the last one is used up.
struct Lines<T> {
    engine: ReadEngine,
    cancel: Cancel,
    of_page: fn(ListPage) -> Vec<T>,
    state: Mutex<State<T>>,
}

struct State<T> {
    pages: Option<Pages>,
    lines: std::vec::IntoIter<T>,
}

impl<T: Send> Lines<T> {
    fn new(
        engine: ReadEngine,
        uri: &ObjectUri,
        options: ListOptions,
        of_page: fn(ListPage) -> Vec<T>,
    ) -> Self {
        let cancel = Cancel::new();
        let pages = engine.client().list_objects(uri, options, &cancel);
        let state = State { pages: Some(pages), lines: Vec::new().into_iter() };
        Self { engine, cancel, of_page, state: Mutex::new(state) }
    }

    fn next(&self, py: Python<'_>) -> PyResult<Option<T>> {
        // Most keys are in memory: letting go of the GIL for each of them would cost more than the key.
        let waiting = self.state.try_lock().ok().and_then(|mut state| state.lines.next());
        if waiting.is_some() {
            return Ok(waiting);
        }
        without_gil(py, |watch| {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                if let Some(line) = state.lines.next() {
                    return Ok(Some(line));
                }
                let Some(pages) = state.pages.take() else { return Ok(None) };
                let Some((pages, page)) = self.next_page(pages, watch)? else { return Ok(None) };
                state.pages = Some(pages);
                state.lines = (self.of_page)(page).into_iter();
            }
        })
    }

    /// Fetches the next page on a worker thread; None after the last.
    fn next_page(&self, mut pages: Pages, watch: Watch<'_>) -> Result<Option<(Pages, ListPage)>, Error> {
        let fetched = self.engine.call(watch, move |_, _| {
            let page = pages.next().transpose()?;
            Ok(page.map(|page| (pages, page)))
        });
        fetched.inspect_err(|_| self.cancel.cancel())
    }
}

/// Yields (key, size, etag) in byte order of keys.
#[pyclass(frozen, module = "osstorchconnector._native")]
pub(crate) struct Listing(Lines<ListedObject>);

impl Listing {
    pub(crate) fn new(engine: ReadEngine, uri: &ObjectUri, delimiter: Option<String>) -> Self {
        let options = ListOptions { delimiter, ..ListOptions::default() };
        Self(Lines::new(engine, uri, options, |page| page.objects))
    }
}

#[pymethods]
impl Listing {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<(String, u64, String)>> {
        let object = self.0.next(py)?;
        Ok(object.map(|object| (object.key, object.size, object.etag)))
    }
}

/// (key, size, etag, last change); a group of keys has no size.
type EntryFields = (String, Option<u64>, String, f64);

/// Yields objects and common prefixes in byte order.
#[pyclass(frozen, module = "osstorchconnector._native")]
pub(crate) struct Entries(Lines<Entry>);

impl Entries {
    pub(crate) fn new(engine: ReadEngine, uri: &ObjectUri, options: ListOptions) -> Self {
        Self(Lines::new(engine, uri, options, ListPage::into_entries))
    }
}

#[pymethods]
impl Entries {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<EntryFields>> {
        Ok(self.0.next(py)?.map(|entry| match entry {
            #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch are far below 2^52")]
            Entry::Object(object) => {
                let changed = object.last_modified.map_or(0.0, |time| time.0 as f64);
                (object.key, Some(object.size), object.etag, changed)
            }
            Entry::Prefix(prefix) => (prefix, None, String::new(), 0.0),
        }))
    }
}
