//! Credentials from a function of the user.
//!
//! Nobody knows what the function does: it may wait for ever. So it runs on a thread of its own, one at a time, and
//! who asks waits for it a bounded time. One that hangs is not called again before it has come back; what it says
//! then is for whoever asks next.

use std::fmt;
use std::time::Duration;

use super::statics::check_complete;
use super::{CredentialsProvider, Fetched};
use crate::asker::Asker;
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind};
use crate::fork::ForkCell;
use crate::panics;
use crate::sync::{self, Arc, Condvar, Mutex};

type Callback = Box<dyn Fn() -> Result<Fetched, Error> + Send + Sync>;

/// How long an answer is waited for by default: 30 s, as a vault may be far.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits are cut into slices, to notice a cancelled operation.
const SLICE: Duration = Duration::from_millis(50);

/// Asks a function, which may block and may take its own locks; none of ours is held meanwhile.
pub struct CallbackProvider {
    name: String,
    patience: Duration,
    callback: Arc<Callback>,
    /// The call of this process: a child of a fork has no thread of its parent to wait for.
    calls: ForkCell<Call>,
}

#[derive(Default)]
struct Call {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Default)]
struct State {
    is_running: bool,
    answer: Option<Result<Fetched, Error>>,
}

impl CallbackProvider {
    /// Wraps `callback`; `name` is what errors call it, such as the class of the user's object.
    pub fn new(
        name: impl Into<String>,
        callback: impl Fn() -> Result<Fetched, Error> + Send + Sync + 'static,
    ) -> Self {
        CallbackProvider {
            name: name.into(),
            patience: PATIENCE,
            callback: Arc::new(Box::new(callback)),
            calls: ForkCell::new(),
        }
    }

    /// Waits for an answer no longer than `patience`.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        CallbackProvider { patience, ..self }
    }

    /// Begins to ask, unless an earlier question was not answered yet.
    fn begin(&self, call: &Arc<Call>) {
        let mut state = call.state.lock();
        if state.is_running || state.answer.is_some() {
            return;
        }
        state.is_running = true;
        drop(state);
        let (callback, target) = (Arc::clone(&self.callback), Arc::clone(call));
        if sync::spawn("oss-provider", move || target.ask(&callback)).is_err() {
            call.ask(&self.callback);
        }
    }

    fn wait(&self, call: &Call, asker: &Asker<'_>) -> Result<Fetched, Error> {
        let end = SystemClock.now() + self.patience;
        let mut state = call.state.lock();
        loop {
            if let Some(answer) = state.answer.take() {
                return answer;
            }
            if asker.is_gone() {
                return Err(Error::cancelled("credentials"));
            }
            let left = end.saturating_duration_since(SystemClock.now());
            if left.is_zero() {
                let seconds = self.patience.as_secs_f64();
                let text = format!("{}: no answer within {seconds} s; let it answer sooner", self.source());
                return Err(Error::new(ErrorKind::Credentials, "credentials", text));
            }
            state = call.answered.wait_for(state, left.min(SLICE));
        }
    }
}

impl Call {
    fn ask(&self, callback: &Callback) {
        let answer = panics::as_error("credentials", callback);
        let mut state = self.state.lock();
        state.is_running = false;
        state.answer = Some(answer);
        drop(state);
        self.answered.notify_all();
    }
}

impl fmt::Debug for CallbackProvider {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CallbackProvider({})", self.name)
    }
}

impl CredentialsProvider for CallbackProvider {
    fn fetch_unless(&self, asker: &Asker<'_>) -> Result<Fetched, Error> {
        let call = self.calls.get(Call::default).ok_or_else(|| {
            let text = "this client was passed through too many nested forks; make a new one";
            Error::new(ErrorKind::Forked, "credentials", text)
        })?;
        self.begin(call);
        let fetched = self.wait(call, asker)?;
        if let Some(credentials) = &fetched.credentials {
            check_complete(credentials, &self.source())?;
        }
        Ok(fetched)
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn source(&self) -> String {
        format!("credentials provider {}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use oss_protocol::sign::Credentials;

    use super::*;
    use crate::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn an_incomplete_answer_is_an_error_that_names_the_provider() {
        let provider = CallbackProvider::new("my.Vault", || {
            Ok(Fetched { credentials: Some(Credentials::new("", "x", None)), expires_at: None })
        });
        let error = provider.fetch().expect_err("no id").to_string();
        assert!(error.contains("my.Vault") && error.contains("access key id"));
    }

    #[test]
    fn test_f97_a_provider_that_hangs_is_named_and_asked_once_until_it_answers() {
        let (go_on, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let provider = CallbackProvider::new("my.Vault", move || {
            counted.fetch_add(1, Ordering::SeqCst);
            held.lock().recv().expect("a word");
            Ok(Fetched { credentials: Some(Credentials::new("id", "x", None)), expires_at: None })
        })
        .with_patience(Duration::from_millis(20));
        for _ in 0..3 {
            let error = provider.fetch().expect_err("it hangs").to_string();
            assert!(error.contains("my.Vault") && error.contains("no answer within 0.02 s"), "{error}");
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        go_on.send(()).expect("it waits");
        let patient = provider.with_patience(Duration::from_secs(30));
        assert_eq!(patient.fetch().expect("an answer").credentials.expect("keys").access_key_id, "id");
        assert_eq!(calls.load(Ordering::SeqCst), 1, "its late answer served");
    }

    #[test]
    fn test_f95_a_provider_that_panics_is_an_error() {
        let provider = CallbackProvider::new("my.Vault", || panic!("on purpose"));
        assert_eq!(provider.fetch().expect_err("a panic").kind, ErrorKind::Internal);
        assert_eq!(provider.fetch().expect_err("a panic again").kind, ErrorKind::Internal);
    }
}
