//! The client: values, and the engines that work for it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use oss_client::clock::SystemClock;
use oss_client::config::{self, ClientConfig, Place, Proxy};
use oss_client::error::Error;
use oss_client::index::{Patience, build_from_listing};
use oss_client::list::ListOptions;
use oss_client::objects::OneObject;
use oss_client::read::engine::ReadEngine;
use oss_client::read::object::ObjectReader;
use oss_client::read::prefetch::{Changed, Completion, Missing, Prefetch as PrefetchEngine};
use oss_client::write::UploadOptions;
use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyMapping, PyTuple};

use crate::arguments::{object_uri, options, positions, prefix_uri};
use crate::buckets;
use crate::buffer::with_bytes;
use crate::credentials::{self, Asking};
use crate::errors::OrRaise;
use crate::listing::{Entries, Listing};
use crate::order::Order;
use crate::prefetch::{Failures, Prefetch};
use crate::process;
use crate::reader::Reader;
use crate::tail::Rows;
use crate::uploads;
use crate::waiting::{without_gil, without_gil_telling};
use crate::writer::Writer;

/// What HEAD says of an object; a field the answer did not carry is None.
#[pyclass(frozen, get_all, module = "osstorchconnector._native")]
pub(crate) struct ObjectInfo {
    uri: String,
    size: u64,
    etag: Option<String>,
    crc64: Option<u64>,
    last_modified: Option<f64>,
    content_type: Option<String>,
    storage_class: Option<String>,
    metadata: HashMap<String, String>,
}

/// Source, why it, id of the key, and when it expires in seconds since the epoch.
type Identity = (String, Option<String>, Option<String>, Option<f64>);

/// One endpoint, one identity, one configuration.
#[pyclass(frozen, module = "osstorchconnector._native")]
pub(crate) struct Client {
    client: oss_client::client::Client,
    datasets: ReadEngine,
    checkpoints: ReadEngine,
    /// What asks the user's provider; the provider of `client` has it as well.
    asking: Option<Arc<Asking>>,
}

/// Handles of the client that this object has itself: its own, and those of the two engines.
const OWN_HANDLES: usize = 3;

#[pymethods]
impl Client {
    /// A provider that holds what it is the provider of makes a ring. While a reader, a writer or a request has the
    /// client too, nothing of the ring is garbage, and the collector is not shown that it is one.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        match &self.asking {
            Some(asking) if self.client.handles() == OWN_HANDLES => asking.traverse(&visit),
            _ => Ok(()),
        }
    }

    fn __clear__(&self) {
        if let Some(asking) = &self.asking {
            asking.clear();
        }
    }

    #[new]
    fn new(
        py: Python<'_>,
        endpoint: Option<&str>,
        region: Option<&str>,
        addressing: &str,
        credentials: &Bound<'_, PyTuple>,
        options: &Bound<'_, PyMapping>,
    ) -> PyResult<Self> {
        let place = Place { endpoint, region, addressing };
        let options = self::options(options)?;
        let named = options.iter().map(|(name, value)| (name.as_str(), value));
        let config = config::resolve(place, named, &config::environment_variable).or_raise(py)?;
        let (provider, asking) = credentials::provider(credentials, &config)?;
        let datasets = ceiling(&config, config.limits.dataset_max_concurrency);
        let checkpoints = ceiling(&config, config.limits.checkpoint_max_concurrency);
        let client = oss_client::client::Client::new(config, provider).or_raise(py)?;
        let datasets = ReadEngine::new(client.clone(), datasets);
        let checkpoints = ReadEngine::new(client.clone(), checkpoints);
        process::enter(py, &client);
        Ok(Self { client, datasets, checkpoints, asking })
    }

    /// Says how many processes read side by side with this one, before it reads: they share what one begins with.
    fn read_alongside(&self, processes: usize) {
        self.datasets.read_alongside(processes);
    }

    #[getter]
    fn endpoint(&self) -> String {
        self.client.config().endpoint.to_string()
    }

    #[getter]
    fn region(&self) -> &str {
        &self.client.config().region
    }

    /// `host:port` of the proxy that requests go through.
    #[getter]
    fn proxy(&self) -> Option<String> {
        self.client.config().proxy.as_ref().map(Proxy::place)
    }

    /// Whose requests these are: (source, why it, id of the key, when it expires).
    fn identity(&self, py: Python<'_>) -> PyResult<Identity> {
        let engine = &self.checkpoints;
        let found = without_gil(py, |watch| engine.call(watch, |client, cancel| client.identity(cancel)))?;
        #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch are far below 2^52")]
        let expires_at = found.expires_at.map(|time| time.0 as f64);
        Ok((found.source, found.reason, found.access_key_id, expires_at))
    }

    /// Lines about options that were changed to fit their bounds.
    #[getter]
    fn notes(&self) -> Vec<String> {
        self.client.config().notes.clone()
    }

    /// Asks for size, version and metadata of an object.
    fn head_object(&self, py: Python<'_>, uri: &str) -> PyResult<ObjectInfo> {
        let uri = object_uri(py, uri)?;
        let text = uri.to_string();
        let engine = &self.checkpoints;
        let info = without_gil(py, |watch| {
            engine.call(watch, move |client, cancel| client.head_object(&uri, cancel))
        })?;
        #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch are far below 2^52")]
        let last_modified = info.last_modified.map(|time| time.0 as f64);
        Ok(ObjectInfo {
            uri: text,
            size: info.size,
            etag: info.etag,
            crc64: info.crc64,
            last_modified,
            content_type: info.content_type,
            storage_class: info.storage_class,
            metadata: info.metadata.into_iter().collect(),
        })
    }

    /// Reads one whole object, verified.
    #[pyo3(signature = (uri, size = None, etag = None))]
    fn get_object(
        &self,
        py: Python<'_>,
        uri: &str,
        size: Option<u64>,
        etag: Option<String>,
    ) -> PyResult<Py<PyBytes>> {
        let source = Arc::new(OneObject { uri: object_uri(py, uri)?, size, etag });
        let position = Box::new(std::iter::once(0));
        let engine = PrefetchEngine::new(&self.datasets, source, position, Missing::Raise).or_raise(py)?;
        let bytes = Prefetch::new(engine, Failures::Raise).next_bytes(py)?;
        bytes.ok_or_else(|| Error::internal("GetObject", "one object was asked for, none came")).or_raise(py)
    }

    /// Yields (key, size, etag) in byte order of keys, a page at a time.
    #[pyo3(signature = (uri, delimiter = None))]
    fn list_objects(&self, py: Python<'_>, uri: &str, delimiter: Option<String>) -> PyResult<Listing> {
        Ok(Listing::new(self.checkpoints.clone(), &prefix_uri(py, uri)?, delimiter))
    }

    /// Yields (key, size or None for a common prefix, etag, last modified) in byte order.
    #[pyo3(signature = (uri, delimiter = Some("/".to_owned()), *, page_size = 1000))]
    fn list_entries(
        &self,
        py: Python<'_>,
        uri: &str,
        delimiter: Option<String>,
        page_size: u32,
    ) -> PyResult<Entries> {
        let options = ListOptions { delimiter, page_size, ..ListOptions::default() };
        Ok(Entries::new(self.checkpoints.clone(), &prefix_uri(py, uri)?, options))
    }

    /// Deletes objects, a thousand a request; one that is not there is success.
    fn delete_objects(&self, py: Python<'_>, uris: Vec<String>) -> PyResult<()> {
        let uris = uris.iter().map(|uri| object_uri(py, uri)).collect::<PyResult<Vec<_>>>()?;
        let engine = &self.checkpoints;
        without_gil(py, |watch| engine.call(watch, move |client, cancel| client.delete_all(&uris, cancel)))
    }

    /// Deletes an object; one that is not there is success.
    fn delete_object(&self, py: Python<'_>, uri: &str) -> PyResult<()> {
        let uri = object_uri(py, uri)?;
        let engine = &self.checkpoints;
        without_gil(py, |watch| {
            engine.call(watch, move |client, cancel| client.delete_object(&uri, None, cancel))
        })
    }

    /// Copies an object within the region, of any size.
    #[pyo3(signature = (source, target, size = None))]
    fn copy_object(&self, py: Python<'_>, source: &str, target: &str, size: Option<u64>) -> PyResult<()> {
        let (source, target) = (object_uri(py, source)?, object_uri(py, target)?);
        let engine = &self.checkpoints;
        without_gil(py, |watch| {
            engine.call(watch, move |client, cancel| client.copy_any(&source, &target, size, cancel))
        })
    }

    /// Writes a whole object and returns its ETag; visible complete or not at all, its CRC-64 compared.
    #[pyo3(signature = (uri, data, *, if_absent = false, content_type = None, storage_class = None, metadata = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of the Python call")]
    fn put_object(
        &self,
        py: Python<'_>,
        uri: &str,
        data: &Bound<'_, PyAny>,
        if_absent: bool,
        content_type: Option<String>,
        storage_class: Option<String>,
        metadata: Option<HashMap<String, String>>,
    ) -> PyResult<Option<String>> {
        let size = with_bytes(data, |_, bytes| Ok(bytes.len() as u64))?;
        let writer =
            self.open_writer(py, uri, Some(size), if_absent, content_type, storage_class, metadata)?;
        writer.write(data)?;
        writer.published(py)
    }

    /// Makes a URL with which anybody can get the object for a while; sends nothing.
    fn presign_get(&self, py: Python<'_>, uri: &str, expires_seconds: u32) -> PyResult<String> {
        let uri = object_uri(py, uri)?;
        let engine = &self.checkpoints;
        without_gil(py, |watch| {
            engine.call(watch, move |client, cancel| client.presign_get(&uri, expires_seconds, cancel))
        })
    }

    /// Makes a reader; the first request goes out with its first use.
    #[pyo3(signature = (uri, size = None, etag = None))]
    fn open_reader(
        &self,
        py: Python<'_>,
        uri: &str,
        size: Option<u64>,
        etag: Option<String>,
    ) -> PyResult<Reader> {
        let uri = object_uri(py, uri)?;
        Ok(Reader::new(ObjectReader::new(&self.checkpoints, uri, size, etag).or_raise(py)?))
    }

    /// Makes a writer; the object becomes visible by its `publish` alone.
    #[pyo3(signature = (uri, *, size_hint_bytes = None, if_absent = false, content_type = None, storage_class = None, metadata = None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of the Python call")]
    fn open_writer(
        &self,
        py: Python<'_>,
        uri: &str,
        size_hint_bytes: Option<u64>,
        if_absent: bool,
        content_type: Option<String>,
        storage_class: Option<String>,
        metadata: Option<HashMap<String, String>>,
    ) -> PyResult<Writer> {
        let uri = object_uri(py, uri)?;
        let options = UploadOptions {
            size_hint_bytes,
            if_absent,
            content_type,
            storage_class,
            metadata: metadata.unwrap_or_default().into_iter().collect(),
        };
        Ok(Writer::open(&self.client, uri, options))
    }

    /// The time by the service's clock, in seconds since 1970.
    fn server_now(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a date needs no more than 52 bits")]
        let seconds = self.client.server_now().0 as f64;
        seconds
    }

    /// Lists the buckets of the account: (name, region, created at, storage class, public endpoint, inner endpoint).
    fn list_buckets(&self, py: Python<'_>) -> PyResult<Vec<buckets::Row>> {
        buckets::list(py, &self.checkpoints)
    }

    /// Finds uploads that were begun and never ended: (uri, upload id, begun, age, parts, bytes, whose).
    #[pyo3(signature = (uri, older_than_seconds = 0.0))]
    fn abandoned_uploads(
        &self,
        py: Python<'_>,
        uri: &str,
        older_than_seconds: f64,
    ) -> PyResult<Vec<uploads::Row>> {
        uploads::find(py, &self.checkpoints, uri, older_than_seconds)
    }

    /// Drops an upload and its parts; one that is gone is success. No object changes.
    fn remove_abandoned(&self, py: Python<'_>, uri: &str, upload_id: String) -> PyResult<()> {
        uploads::remove(py, &self.checkpoints, uri, upload_id)
    }

    /// Lists everything below `uri` into the index file `path`, unless it is there already.
    ///
    /// `progress` is called now and then with the keys and the pages so far.
    #[pyo3(signature = (uri, path, include_empty, progress = None))]
    fn build_index(
        &self,
        py: Python<'_>,
        uri: &str,
        path: PathBuf,
        include_empty: bool,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<u64> {
        let uri = prefix_uri(py, uri)?;
        let deadline = self.client.config().timeouts.deadline;
        let built = without_gil_telling(py, progress.as_ref(), |watch, told| {
            let mut patience = Patience { clock: &SystemClock, deadline, watch };
            build_from_listing(&self.client, &uri, &path, include_empty, told, &mut patience)
        })?;
        Ok(built.left_out_empty)
    }

    /// Fetches whole objects ahead, those at `positions` of `order`.
    #[pyo3(signature = (index, positions, *, order = None, missing = "raise", changed = "reread", failures = "raise", ordered = true))]
    #[expect(clippy::too_many_arguments, reason = "keywords of the Python call")]
    fn prefetch(
        &self,
        py: Python<'_>,
        index: Rows<'_>,
        positions: &Bound<'_, PyAny>,
        order: Option<&Order>,
        missing: &str,
        changed: &str,
        failures: &str,
        ordered: bool,
    ) -> PyResult<Prefetch> {
        let missing = one_of("missing", missing, [("raise", Missing::Raise), ("skip", Missing::Skip)])?;
        let changed = one_of("changed", changed, [("raise", Changed::Raise), ("reread", Changed::Reread)])?;
        let failures =
            one_of("failures", failures, [("raise", Failures::Raise), ("yield", Failures::Yield)])?;
        let completion = if ordered { Completion::InOrder } else { Completion::AsCompleted };
        let positions = self::positions(positions)?;
        let source = index.ordered(order);
        let engine = PrefetchEngine::new(&self.datasets, source, positions, missing).or_raise(py)?;
        Ok(Prefetch::new(engine.with(changed, completion), failures))
    }

    /// Counters and state of this client in this process.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        process::as_dict(py, self.client.stats().iter())
    }
}

/// Requests in flight at most: the user's bound for this use, within the process's.
fn ceiling(config: &ClientConfig, chosen: Option<u64>) -> usize {
    let most = config.limits.max_concurrency;
    usize::try_from(chosen.unwrap_or(most).min(most)).unwrap_or(usize::MAX)
}

/// The meaning of a keyword's text.
fn one_of<T>(keyword: &str, given: &str, meanings: [(&str, T); 2]) -> PyResult<T> {
    let [first, second] = meanings;
    let text = format!("{keyword} is {:?} or {:?}, not {given:?}", first.0, second.0);
    [first, second]
        .into_iter()
        .find_map(|(name, meaning)| (name == given).then_some(meaning))
        .ok_or_else(|| PyValueError::new_err(text))
}
