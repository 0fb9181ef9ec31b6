//! Listings, a page at a time.

use std::sync::{Mutex, PoisonError};

use oss_client::cancel::Cancel;
use oss_client::error::Error;
use oss_client::interrupt::Watch;
use oss_client::list::{ListOptions, Pages};
use oss_client::operations::{ListPage, ListedObject};
use oss_client::read::engine::ReadEngine;
use oss_protocol::uri::ObjectUri;
use pyo3::prelude::*;

use crate::waiting::without_gil;

/// Yields (key, size, etag) in byte order of keys; fetches the next page when the last one is used up.
#[pyclass(frozen, module = "osstorchconnector._native")]
pub(crate) struct Listing {
    engine: ReadEngine,
    cancel: Cancel,
    state: Mutex<State>,
}

struct State {
    pages: Option<Pages>,
    objects: std::vec::IntoIter<ListedObject>,
}

impl Listing {
    pub(crate) fn new(engine: ReadEngine, uri: &ObjectUri, delimiter: Option<String>) -> Self {
        let cancel = Cancel::new();
        let options = ListOptions { delimiter, ..ListOptions::default() };
        let pages = engine.client().list_objects(uri, options, &cancel);
        let state = State { pages: Some(pages), objects: Vec::new().into_iter() };
        Self { engine, cancel, state: Mutex::new(state) }
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

#[pymethods]
impl Listing {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<(String, u64, String)>> {
        // Most keys are in memory: letting go of the GIL for each of them would cost more than the key.
        let waiting = self.state.try_lock().ok().and_then(|mut state| state.objects.next());
        if let Some(object) = waiting {
            return Ok(Some((object.key, object.size, object.etag)));
        }
        let object = without_gil(py, |watch| {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                if let Some(object) = state.objects.next() {
                    return Ok(Some(object));
                }
                let Some(pages) = state.pages.take() else { return Ok(None) };
                let Some((pages, page)) = self.next_page(pages, watch)? else { return Ok(None) };
                state.pages = Some(pages);
                state.objects = page.objects.into_iter();
            }
        })?;
        Ok(object.map(|object| (object.key, object.size, object.etag)))
    }
}
