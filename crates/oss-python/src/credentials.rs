//! Credentials as Python says them, and user providers called back.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oss_client::config::ClientConfig;
use oss_client::credentials::{
    AnonymousProvider, CallbackProvider, ChainProvider, CredentialsProvider, Fetched, JsonFileProvider,
    ProcessProvider, StaticProvider, Surroundings,
};
use oss_client::error::{Error, ErrorKind};
use oss_protocol::sign::{Credentials, Secret};
use oss_protocol::time::UtcTime;
use pyo3::exceptions::PyValueError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::errors::OrRaise;
use crate::{errors, leaving};

type Given = (String, String, Option<String>, Option<f64>);

/// A provider, and what of it is the user's own.
type Provider = (Arc<dyn CredentialsProvider>, Option<Arc<Asking>>);

/// The function that asks a user's provider. It may lead back to the client that holds it, so the collector of garbage
/// looks in here.
#[derive(Debug)]
pub(crate) struct Asking(Mutex<Option<Py<PyAny>>>);

impl Asking {
    fn function(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.held().as_ref().map(|function| function.clone_ref(py))
    }

    /// Shows the collector what is held.
    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Held for a moment and never waited for: who holds it has a reference, and so it is no garbage.
        match self.0.try_lock() {
            Ok(held) => visit.call(&*held),
            Err(_) => Ok(()),
        }
    }

    /// Lets go of it: whoever could ask is garbage.
    pub(crate) fn clear(&self) {
        let held = self.held().take();
        drop(held);
    }

    fn held(&self) -> MutexGuard<'_, Option<Py<PyAny>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the provider that `spec` describes (see `_native.pyi`); nothing is fetched yet. `config` says which
/// authorities are trusted, and how long a user's own provider is waited for. A user's own is given apart, too.
pub(crate) fn provider(spec: &Bound<'_, PyTuple>, config: &ClientConfig) -> PyResult<Provider> {
    let mut users = None;
    let around = || Surroundings::new().trusting(config.ca_file.clone());
    let kind: String = spec.get_item(0)?.extract()?;
    let provider: Arc<dyn CredentialsProvider> = match kind.as_str() {
        "chain" => Arc::new(ChainProvider::new(around())),
        "environment" => Arc::new(ChainProvider::of_environment(around())),
        "process" => {
            Arc::new(ProcessProvider::new(&spec.get_item(1)?.extract::<String>()?).or_raise(spec.py())?)
        }
        "anonymous" => Arc::new(AnonymousProvider),
        "file" => Arc::new(JsonFileProvider::new(spec.get_item(1)?.extract::<PathBuf>()?)),
        "static" => {
            let (_, id, secret, token) = spec.extract::<(String, String, String, Option<String>)>()?;
            Arc::new(StaticProvider::new(credentials_of(id, secret, token)).or_raise(spec.py())?)
        }
        "provider" => {
            let (_, function, name) = spec.extract::<(String, Py<PyAny>, String)>()?;
            let asking = Arc::new(Asking(Mutex::new(Some(function))));
            users = Some(Arc::clone(&asking));
            let source = name.clone();
            let ask = move || call_back(&asking, &source);
            Arc::new(CallbackProvider::new(name, ask).with_patience(config.timeouts.provider))
        }
        other => return Err(PyValueError::new_err(format!("unknown kind of credentials {other:?}"))),
    };
    Ok((provider, users))
}

/// Asks the user's provider. Called on a thread of its own, with none of our locks held.
fn call_back(asking: &Asking, name: &str) -> Result<Fetched, Error> {
    let failed = |what: String| {
        let text = format!("credentials provider {name} {what}");
        Error::new(ErrorKind::Credentials, "credentials", text)
    };
    // It may come by while the interpreter shuts down: then it is refused, not left hanging.
    let Some(_visit) = leaving::enter() else {
        return Err(failed("was asked while Python shut down".to_owned()));
    };
    let given = Python::try_attach(|py| {
        let function =
            asking.function(py).ok_or_else(|| failed("is gone, and its client with it".to_owned()))?;
        let given = function.call0(py).and_then(|given| given.extract::<Given>(py));
        given.map_err(|raised| {
            // `osstorchconnector.credentials` says it all, and names the provider. What else may come is not known.
            let error = match errors::is_ours(py, &raised) {
                true => Error::new(ErrorKind::Credentials, "credentials", raised.value(py).to_string()),
                false => failed(format!("gave what cannot be read ({})", raised.get_type(py))),
            };
            error.with_origin(raised)
        })
    });
    let (id, secret, token, expires_at) =
        given.ok_or_else(|| failed("was asked while Python shut down".to_owned()))??;
    #[expect(clippy::cast_possible_truncation, reason = "seconds since the epoch fit in an i64")]
    let expires_at = expires_at.map(|seconds| UtcTime(seconds as i64));
    Ok(Fetched { credentials: Some(credentials_of(id, secret, token)), expires_at })
}

fn credentials_of(id: String, secret: String, token: Option<String>) -> Credentials {
    Credentials {
        access_key_id: id,
        access_key_secret: Secret::from(secret),
        security_token: token.filter(|token| !token.is_empty()).map(Secret::from),
    }
}
