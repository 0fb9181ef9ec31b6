//! Tests of the cache under two threads: one asks the source, the other waits for it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use oss_protocol::sign::Credentials;
use oss_protocol::time::UtcTime;

use super::{CallbackProvider, CredentialsCache, CredentialsProvider, Fetched};
use crate::asker::Asker;
use crate::cancel::Cancel;
use crate::clock::{Clock, ManualClock, ServerClock};
use crate::error::{Error, ErrorKind};
use crate::sync::{Arc, JoinHandle, Mutex, spawn};

/// For what comes soon, on the busiest machine.
const SOON: Duration = Duration::from_secs(30);
/// How long the source may take: more than the half minute that a function of a user gets by itself.
const PATIENCE: Duration = Duration::from_secs(100);

type Got = Result<String, Error>;

/// A function of a user behind a cache. It says that it was called, and holds its answer until it is let go.
struct Stage {
    clock: Arc<ManualClock>,
    cache: Arc<CredentialsCache>,
    calls: Receiver<()>,
    let_go: Sender<Option<i64>>,
    looks: Receiver<()>,
}

/// Says whenever somebody who waits looks how long that is worth it.
#[derive(Debug)]
struct Watched {
    function: CallbackProvider,
    looks: Sender<()>,
}

impl CredentialsProvider for Watched {
    fn fetch_unless(&self, asker: &Asker<'_>) -> Result<Fetched, Error> {
        self.function.fetch_unless(asker)
    }

    fn patience(&self) -> Duration {
        // Whoever listened is gone at the end of a test.
        let _ = self.looks.send(());
        self.function.patience()
    }

    fn source(&self) -> String {
        self.function.source()
    }
}

impl Stage {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(UtcTime(1_000_000)));
        let (called, calls) = channel();
        let (let_go, held) = channel::<Option<i64>>();
        let (look, looks) = channel();
        let (held, wall) = (Mutex::new(held), Arc::clone(&clock));
        let function = CallbackProvider::new("my.Vault", move || {
            called.send(()).expect("the test listens");
            let lifetime = held.lock().recv().expect("a word");
            let credentials = Some(Credentials::new("id", "secret", None));
            Ok(Fetched { credentials, expires_at: lifetime.map(|seconds| UtcTime(wall.wall().0 + seconds)) })
        });
        let provider = Watched { function: function.with_patience(PATIENCE), looks: look };
        let server = Arc::new(ServerClock::new(Arc::clone(&clock) as Arc<dyn Clock>));
        let cache = Arc::new(CredentialsCache::new(Arc::new(provider), "cn-local", server));
        Stage { clock, cache, calls, let_go, looks }
    }

    fn ask(&self, cancel: &Cancel) -> JoinHandle<Got> {
        let (cache, cancel, now) = (Arc::clone(&self.cache), cancel.clone(), self.clock.now());
        let get = move || {
            let current = cache.get(now, &Asker::silent(&cancel))?;
            let id = current.signer.as_ref().map(|signer| signer.credentials().access_key_id.clone());
            Ok(id.unwrap_or_default())
        };
        spawn("asker", get).expect("a thread")
    }

    /// One that asks the source, and one that waits for it.
    fn two(&self, first: &Cancel) -> [JoinHandle<Got>; 2] {
        let asking = self.ask(first);
        self.calls.recv_timeout(SOON).expect("the function is called");
        let waiting = self.ask(&Cancel::new());
        self.see_a_wait();
        [asking, waiting]
    }

    /// Comes back once somebody has looked at the clock as it is now, and goes on waiting.
    fn see_a_wait(&self) {
        while self.looks.try_recv().is_ok() {}
        // The first look may have begun before, and what follows from the second is seen by the third.
        for _ in 0..3 {
            self.looks.recv_timeout(SOON).expect("somebody waits");
        }
    }

    fn let_go(&self, lifetime: Option<i64>) {
        self.let_go.send(lifetime).expect("it is held");
    }
}

#[test]
fn who_waits_for_a_thread_that_gives_up_takes_over() {
    let stage = Stage::new();
    let first = Cancel::new();
    let [asking, waiting] = stage.two(&first);
    first.cancel();
    assert_eq!(asking.join().expect("no panic").expect_err("given up").kind, ErrorKind::Cancelled);
    stage.let_go(None);
    assert_eq!(waiting.join().expect("no panic").expect("keys"), "id");
    assert!(stage.calls.try_recv().is_err(), "its function was called once");
}

#[test]
fn test_f97_a_slow_provider_is_waited_for_as_long_as_it_may_take() {
    let stage = Stage::new();
    let both_get_keys = || {
        let asked = stage.two(&Cancel::new());
        stage.clock.advance(Duration::from_secs(99));
        stage.see_a_wait();
        stage.let_go(Some(50));
        for one in asked {
            assert_eq!(one.join().expect("no panic").expect("keys"), "id");
        }
    };
    both_get_keys();
    // Nobody asked for longer than they lived.
    stage.clock.advance(Duration::from_secs(3600));
    both_get_keys();
}

#[test]
fn who_waits_in_vain_says_for_whom_and_how_long() {
    let stage = Stage::new();
    let [asking, waiting] = stage.two(&Cancel::new());
    stage.clock.advance(Duration::from_secs(1000));
    let error = waiting.join().expect("no panic").expect_err("no answer").to_string();
    assert!(error.contains("my.Vault: no answer within 205 s"), "{error}");
    stage.let_go(None);
    assert_eq!(asking.join().expect("no panic").expect("keys"), "id");
}

#[test]
fn a_refusal_waits_for_a_refresh_under_way_and_begins_none_beside_it() {
    let stage = Stage::new();
    let first = stage.ask(&Cancel::new());
    stage.let_go(Some(50));
    first.join().expect("no panic").expect("keys");
    stage.calls.recv_timeout(SOON).expect("the function was called");
    stage.clock.advance(Duration::from_secs(3600));
    let [asking, waiting] = stage.two(&Cancel::new());
    let given_up = Cancel::new();
    given_up.cancel();
    assert_eq!(
        stage.cache.refused(1, &Asker::silent(&given_up)).expect_err("given up").kind,
        ErrorKind::Cancelled
    );
    assert!(stage.calls.try_recv().is_err(), "nobody else asks");
    stage.let_go(Some(50));
    for thread in [asking, waiting] {
        assert_eq!(thread.join().expect("no panic").expect("keys"), "id");
    }
}
