//! The cache in front of a provider: generations, one refresh at a time, windows (`faults.md`, section 6).
//!
//! There is no background thread. Whoever asks inside the refresh window refreshes, the others go on with
//! the present value until a minute before it expires; without one they wait for whoever asks, as long as the source
//! itself may take, and ask themselves if that thread gave up. A refusal by the service forces one refresh for the
//! generation that signed, however many requests were refused at once; one that failed is tried again, spaced as
//! any other, and one that its thread gave up leaves no trace.
//!
//! Locks: `state` only, and never while the provider is called.

use std::time::{Duration, Instant};

use oss_protocol::sign::Signer;
use oss_protocol::time::UtcTime;

use super::statics::check_characters;
use super::{CredentialsProvider, Fetched, Identity};
use crate::asker::Asker;
use crate::clock::ServerClock;
use crate::error::{Error, ErrorKind};
use crate::panics;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};

/// How often the source is looked at for something newer.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A source that gives no expiry is asked again after five minutes.
const ASK_AGAIN_SECONDS: i64 = 300;
/// The refresh window is the last fifth of the lifetime, a quarter of an hour at most.
const LONGEST_WINDOW_SECONDS: i64 = 900;
/// Until a minute before the expiry nobody waits for the one who refreshes.
const GO_ON_SECONDS: i64 = 60;
/// How long one waits for another thread's refresh when the present value is about to expire.
const WAIT_FOR_REFRESH: Duration = Duration::from_secs(5);
/// Beyond what the source itself may take, what waits for it gives a busy machine so much more.
const SLACK: Duration = Duration::from_secs(5);
/// Failed refreshes are spaced 1 s, doubling to 60 s.
const LONGEST_SPACING: Duration = Duration::from_secs(60);
/// Waits are cut into slices, to notice a cancelled operation.
const SLICE: Duration = Duration::from_millis(50);

/// Credentials in use, with the number of their generation.
#[derive(Debug)]
pub struct Current {
    /// Rises by one whenever the provider gives something new; starts at 1.
    pub generation: u64,
    /// Signs requests; `None` = anonymous.
    pub signer: Option<Signer>,
}

/// What there is to sign with after a refusal.
#[derive(Debug)]
pub enum AfterRefusal {
    /// Newer credentials.
    Newer,
    /// The refused ones: the source stands by them.
    Same,
    /// The refused ones: the source could not be asked, and this is why.
    Failed(Error),
}

#[derive(Debug)]
struct State {
    current: Option<Arc<Current>>,
    expires_at: Option<UtcTime>,
    fetched_at: UtcTime,
    /// Nothing needs a look before this moment.
    quiet_until: Instant,
    refreshing: bool,
    failures: u32,
    next_try: Instant,
    last_error: Option<Error>,
    /// The generation that was refused and that the source, asked for that reason, gave again or replaced.
    confirmed: u64,
}

/// The present credentials of one process, shared by all its requests.
#[derive(Debug)]
pub struct CredentialsCache {
    provider: Arc<dyn CredentialsProvider>,
    region: String,
    clock: Arc<ServerClock>,
    state: Mutex<State>,
    refreshed: Condvar,
}

impl CredentialsCache {
    /// Asks `provider` at the first [`CredentialsCache::get`]; signs for `region`.
    pub fn new(provider: Arc<dyn CredentialsProvider>, region: &str, clock: Arc<ServerClock>) -> Self {
        let now = clock.clock().now();
        let state = State {
            current: None,
            expires_at: None,
            fetched_at: UtcTime(0),
            quiet_until: now,
            refreshing: false,
            failures: 0,
            next_try: now,
            last_error: None,
            confirmed: 0,
        };
        CredentialsCache {
            provider,
            region: region.to_owned(),
            clock,
            state: Mutex::new(state),
            refreshed: Condvar::new(),
        }
    }

    /// The credentials to sign with at `now`.
    ///
    /// # Errors
    /// `Credentials`, naming the source, when there is nothing valid; `Cancelled`.
    pub fn get(&self, now: Instant, asker: &Asker<'_>) -> Result<Arc<Current>, Error> {
        let state = self.state.lock();
        if now < state.quiet_until
            && let Some(current) = &state.current
        {
            return Ok(Arc::clone(current));
        }
        self.look(state, now, asker)
    }

    /// Whose credentials these are; fetches them if there are none yet.
    ///
    /// # Errors
    /// As [`CredentialsCache::get`].
    pub fn identity(&self, asker: &Asker<'_>) -> Result<Identity, Error> {
        let current = self.get(self.clock.clock().now(), asker)?;
        Ok(Identity {
            source: self.provider.source(),
            reason: self.provider.reason(),
            access_key_id: current.signer.as_ref().map(|signer| signer.credentials().access_key_id.clone()),
            expires_at: self.state.lock().expires_at,
        })
    }

    /// Seconds until the present credentials expire; None if there are none, or nobody said when.
    pub(crate) fn expires_in(&self) -> Option<f64> {
        let expiry = self.state.lock().expires_at?;
        #[expect(clippy::cast_precision_loss, reason = "seconds of a life are far below 2^52")]
        let seconds = expiry.0.saturating_sub(self.clock.server_now().0) as f64;
        Some(seconds)
    }

    /// The service refused what `generation` signed: asks the source, unless it answered for that generation before.
    ///
    /// # Errors
    /// `Cancelled`.
    pub fn refused(&self, generation: u64, asker: &Asker<'_>) -> Result<AfterRefusal, Error> {
        let mut state = self.while_refreshing(self.state.lock(), asker, |_state| self.longest_wait());
        if !asker.is_gone() && self.may_ask_for(&state, generation) {
            let has_answered;
            (state, has_answered) = self.refresh(state, asker);
            if has_answered {
                state.confirmed = state.confirmed.max(generation);
            }
        }
        if asker.is_gone() {
            return Err(Error::cancelled("credentials"));
        }
        Ok(self.after_refusal(&state, generation))
    }

    /// Whether a refusal of `generation` is a reason to ask the source now.
    fn may_ask_for(&self, state: &State, generation: u64) -> bool {
        let is_settled =
            is_newer(state, generation) || state.confirmed >= generation || self.provider.is_static();
        !is_settled && !state.refreshing && self.clock.clock().now() >= state.next_try
    }

    fn after_refusal(&self, state: &State, generation: u64) -> AfterRefusal {
        if is_newer(state, generation) {
            return AfterRefusal::Newer;
        }
        let open = state.confirmed < generation;
        match &state.last_error {
            _ if open && state.refreshing => AfterRefusal::Failed(self.no_answer()),
            Some(error) if open => AfterRefusal::Failed(error.clone()),
            _ => AfterRefusal::Same,
        }
    }

    /// The slow path: at most once a second, or while there is nothing valid.
    fn look<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        now: Instant,
        asker: &Asker<'_>,
    ) -> Result<Arc<Current>, Error> {
        let mut wanted = self.is_due(&state);
        if !wanted && state.current.is_some() {
            state.quiet_until = now + LOOK_EVERY;
            drop(state);
            wanted = self.provider.has_changed();
            state = self.state.lock();
        }
        if wanted && state.refreshing {
            state = self.while_refreshing(state, asker, |state| self.worth_waiting(state));
            // Whoever refreshed may have been given up meanwhile.
            wanted = self.is_due(&state);
        }
        let may_ask = !state.refreshing && !asker.is_gone() && self.clock.clock().now() >= state.next_try;
        if wanted && may_ask {
            (state, _) = self.refresh(state, asker);
        }
        if asker.is_gone() {
            return Err(Error::cancelled("credentials"));
        }
        self.valid(&state)
    }

    /// Whether the present value is missing, inside its refresh window, or was never dated and is old.
    fn is_due(&self, state: &State) -> bool {
        if state.current.is_none() {
            return true;
        }
        if self.provider.is_static() {
            return false;
        }
        let wall = self.clock.server_now().0;
        match state.expires_at {
            None => wall - state.fetched_at.0 >= ASK_AGAIN_SECONDS,
            Some(expiry) => {
                let window = LONGEST_WINDOW_SECONDS.min((expiry.0 - state.fetched_at.0) / 5);
                wall >= expiry.0 - window
            }
        }
    }

    /// Seconds for which the present value can still be used; `None` = there is none, or it expired.
    fn seconds_left(&self, state: &State) -> Option<i64> {
        state.current.as_ref()?;
        let expiry = state.expires_at.map_or(i64::MAX, |expiry| expiry.0);
        Some(expiry.saturating_sub(self.clock.server_now().0)).filter(|left| *left > 0)
    }

    /// The present value if it did not expire, else why there is none.
    fn valid(&self, state: &State) -> Result<Arc<Current>, Error> {
        match &state.current {
            Some(current) if self.seconds_left(state).is_some() => Ok(Arc::clone(current)),
            _ if state.refreshing => Err(self.no_answer()),
            _ => Err(state.last_error.clone().unwrap_or_else(|| self.expired_error(state.expires_at))),
        }
    }

    fn expired_error(&self, expiry: Option<UtcTime>) -> Error {
        let since =
            expiry.map_or_else(String::new, |time| format!(" since {}", time.to_iso_extended_millis()));
        let text = format!("{}: expired{since}; put fresh credentials there", self.provider.source());
        Error::new(ErrorKind::Credentials, "credentials", text)
    }

    /// Waits while another thread refreshes, as long as `limit` says of the state as it is then.
    fn while_refreshing<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        asker: &Asker<'_>,
        limit: impl Fn(&State) -> Duration,
    ) -> MutexGuard<'a, State> {
        let begun = self.clock.clock().now();
        let waited = || self.clock.clock().now().saturating_duration_since(begun);
        while state.refreshing && !asker.is_gone() && waited() < limit(&state) {
            state = self.refreshed.wait_for(state, SLICE);
        }
        state
    }

    /// How long another thread's refresh is waited for.
    fn worth_waiting(&self, state: &State) -> Duration {
        match self.seconds_left(state) {
            Some(GO_ON_SECONDS..) => Duration::ZERO,
            Some(_) => WAIT_FOR_REFRESH,
            None => self.longest_wait(),
        }
    }

    /// As long as whoever asks the source could be waiting for it: what came may have expired, then it is asked twice.
    fn longest_wait(&self) -> Duration {
        2 * self.provider.patience() + SLACK
    }

    fn no_answer(&self) -> Error {
        let seconds = self.longest_wait().as_secs();
        let text = format!("{}: no answer within {seconds} s", self.provider.source());
        Error::new(ErrorKind::Credentials, "credentials", text)
    }

    /// Asks the provider, without the lock, and stores what it says; tells whether it said anything.
    fn refresh<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        asker: &Asker<'_>,
    ) -> (MutexGuard<'a, State>, bool) {
        state.refreshing = true;
        drop(state);
        let fetched = self.fetch_valid(asker);
        let now = self.clock.clock().now();
        let mut state = self.state.lock();
        state.refreshing = false;
        let has_answered = fetched.is_ok();
        match fetched {
            Ok(fetched) => self.store(&mut state, fetched, now),
            Err(error) if error.kind == ErrorKind::Cancelled => {}
            Err(error) => {
                state.failures += 1;
                let spacing = LOOK_EVERY * 2u32.pow((state.failures - 1).min(6));
                state.next_try = now + spacing.min(LONGEST_SPACING);
                state.quiet_until = if self.seconds_left(&state).is_some() { now + LOOK_EVERY } else { now };
                state.last_error = Some(error);
            }
        }
        self.refreshed.notify_all();
        (state, has_answered)
    }

    /// Fetches, once more if what came had expired already: a file may just be being rewritten.
    fn fetch_valid(&self, asker: &Asker<'_>) -> Result<Fetched, Error> {
        let fetched = self.fetch(asker)?;
        if self.is_alive(&fetched) {
            return Ok(fetched);
        }
        let again = self.fetch(asker)?;
        if self.is_alive(&again) { Ok(again) } else { Err(self.expired_error(again.expires_at)) }
    }

    fn fetch(&self, asker: &Asker<'_>) -> Result<Fetched, Error> {
        let fetched = panics::as_error("credentials", || self.provider.fetch_unless(asker));
        // Whoever gave up says nothing about the source, whatever came of it.
        let fetched =
            fetched.map_err(|why| if asker.is_gone() { Error::cancelled("credentials") } else { why })?;
        if let Some(credentials) = &fetched.credentials {
            check_characters(credentials, &self.provider.source())?;
        }
        Ok(fetched)
    }

    fn is_alive(&self, fetched: &Fetched) -> bool {
        fetched.expires_at.is_none_or(|expiry| expiry > self.clock.server_now())
    }

    fn store(&self, state: &mut State, fetched: Fetched, now: Instant) {
        state.failures = 0;
        state.next_try = now;
        state.last_error = None;
        state.expires_at = fetched.expires_at;
        state.fetched_at = self.clock.server_now();
        state.quiet_until = now + LOOK_EVERY;
        let known = state.current.as_ref().map(|current| current.signer.as_ref().map(Signer::credentials));
        if known == Some(fetched.credentials.as_ref()) {
            return;
        }
        let generation = state.current.as_ref().map_or(1, |current| current.generation + 1);
        let signer = fetched.credentials.map(|credentials| Signer::new(credentials, self.region.clone()));
        state.current = Some(Arc::new(Current { generation, signer }));
    }
}

fn is_newer(state: &State, generation: u64) -> bool {
    state.current.as_ref().is_some_and(|current| current.generation > generation)
}

#[cfg(test)]
mod tests {
    use oss_protocol::sign::Credentials;

    use super::*;
    use crate::cancel::Cancel;
    use crate::clock::{Clock, ManualClock};
    use crate::sync::atomic::{AtomicUsize, Ordering};
    use crate::sync::spawn;

    /// Gives `key-<n>` for the n-th fetch, or fails, as the test says.
    #[derive(Debug)]
    struct Scripted {
        clock: Arc<ManualClock>,
        lifetime: Option<i64>,
        fetches: AtomicUsize,
        script: Mutex<Vec<&'static str>>,
    }

    impl CredentialsProvider for Scripted {
        fn fetch_unless(&self, asker: &Asker<'_>) -> Result<Fetched, Error> {
            let number = self.fetches.fetch_add(1, Ordering::SeqCst);
            let id = self.script.lock().get(number).copied().unwrap_or("same");
            assert_ne!(id, "panic", "on purpose");
            if id == "fail" {
                return Err(Error::new(ErrorKind::Credentials, "credentials", "scripted failure"));
            }
            if id == "cancelled meanwhile" {
                asker.cancel().cancel();
                return Err(Error::cancelled("credentials"));
            }
            let expires_at = self.lifetime.map(|seconds| UtcTime(self.clock.wall().0 + seconds));
            Ok(Fetched { credentials: Some(Credentials::new(id, "secret", None)), expires_at })
        }

        fn source(&self) -> String {
            "the script".to_owned()
        }
    }

    struct Stage {
        clock: Arc<ManualClock>,
        provider: Arc<Scripted>,
        cache: CredentialsCache,
    }

    fn stage(lifetime: Option<i64>, script: &[&'static str]) -> Stage {
        let clock = Arc::new(ManualClock::new(UtcTime(1_000_000)));
        let script = Mutex::new(script.to_vec());
        let provider =
            Arc::new(Scripted { clock: Arc::clone(&clock), lifetime, fetches: AtomicUsize::new(0), script });
        let server = Arc::new(ServerClock::new(Arc::clone(&clock) as Arc<dyn Clock>));
        let cache =
            CredentialsCache::new(Arc::clone(&provider) as Arc<dyn CredentialsProvider>, "cn-local", server);
        Stage { clock, provider, cache }
    }

    impl Stage {
        fn get(&self) -> Result<(u64, String), Error> {
            let current = self.cache.get(self.clock.now(), &Asker::silent(&Cancel::new()))?;
            let id = current.signer.as_ref().map(|signer| signer.credentials().access_key_id.clone());
            Ok((current.generation, id.unwrap_or_default()))
        }

        /// Whether there is something newer after a refusal of the first generation.
        fn refused(&self, cancel: &Cancel) -> Result<bool, Error> {
            Ok(matches!(self.cache.refused(1, &Asker::silent(cancel))?, AfterRefusal::Newer))
        }

        fn advance(&self, seconds: u64) {
            self.clock.advance(Duration::from_secs(seconds));
        }

        fn fetches(&self) -> usize {
            self.provider.fetches.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn test_f95_a_provider_that_panics_fails_this_fetch_and_no_other() {
        let stage = stage(None, &["panic", "a"]);
        let error = stage.get().expect_err("it panicked");
        assert_eq!(error.kind, ErrorKind::Internal);
        stage.advance(2);
        assert_eq!(stage.get().expect("valid"), (1, "a".to_owned()));
    }

    /// The wall clock jumps by an hour, as when somebody sets it or a machine wakes up; the monotonic one does not.
    #[test]
    fn test_f90_a_wall_clock_that_jumps_moves_the_expiry_of_keys_and_no_timer() {
        let stage = stage(Some(1000), &["a", "b", "c"]);
        assert_eq!(stage.get().expect("valid").0, 1);
        stage.clock.jump(3600);
        stage.advance(1);
        assert_eq!(stage.get().expect("newer ones"), (2, "b".to_owned()));
        stage.clock.jump(-7200);
        stage.advance(1);
        assert_eq!(stage.get().expect("valid for longer now").0, 2);
        assert_eq!(stage.fetches(), 2);
    }

    #[test]
    fn the_value_is_kept_until_its_refresh_window() {
        let stage = stage(Some(1000), &["a", "b"]);
        assert_eq!(stage.get().expect("valid"), (1, "a".to_owned()));
        stage.advance(799);
        assert_eq!(stage.get().expect("valid").0, 1);
        assert_eq!(stage.fetches(), 1);
        stage.advance(2);
        assert_eq!(stage.get().expect("valid"), (2, "b".to_owned()));
    }

    #[test]
    fn a_value_without_expiry_is_asked_again_after_five_minutes() {
        let stage = stage(None, &["a", "a", "b"]);
        stage.get().expect("valid");
        stage.advance(301);
        assert_eq!(stage.get().expect("valid").0, 1, "the same again is no new generation");
        assert_eq!(stage.fetches(), 2);
        stage.advance(301);
        assert_eq!(stage.get().expect("valid"), (2, "b".to_owned()));
    }

    #[test]
    fn a_failed_refresh_keeps_the_value_until_it_expires() {
        let stage = stage(Some(1000), &["a", "fail", "fail", "fail", "fail"]);
        stage.get().expect("valid");
        stage.advance(850);
        assert_eq!(stage.get().expect("still valid").1, "a");
        stage.get().expect("still valid");
        assert_eq!(stage.fetches(), 2, "tries are spaced");
        stage.advance(151);
        for _ in 0..3 {
            let error = stage.get().expect_err("expired").to_string();
            assert!(error.contains("scripted failure"), "{error}");
        }
    }

    #[test]
    fn expired_credentials_are_read_twice_and_then_refused() {
        let stage = stage(Some(-5), &["a", "b"]);
        let error = stage.get().expect_err("both had expired").to_string();
        assert!(error.contains("expired since") && error.contains("the script"), "{error}");
        assert_eq!(stage.fetches(), 2);
    }

    #[test]
    fn a_thousand_refusals_make_one_refresh() {
        let stage = stage(None, &["a", "b", "c"]);
        stage.get().expect("valid");
        for _ in 0..1000 {
            assert!(stage.refused(&Cancel::new()).expect("newer"));
        }
        assert_eq!(stage.fetches(), 2);
        assert_eq!(stage.get().expect("valid"), (2, "b".to_owned()));
    }

    #[test]
    fn the_same_key_after_a_refusal_is_no_reason_to_try_again() {
        let stage = stage(None, &["a", "a", "a"]);
        stage.get().expect("valid");
        assert!(!stage.refused(&Cancel::new()).expect("nothing newer"));
        assert!(!stage.refused(&Cancel::new()).expect("nothing newer"));
        assert_eq!(stage.fetches(), 2);
    }

    #[test]
    fn test_f33_a_refresh_that_failed_after_a_refusal_is_tried_again() {
        let stage = stage(Some(100_000), &["a", "fail", "b"]);
        stage.get().expect("valid");
        for _ in 0..10 {
            assert!(!stage.refused(&Cancel::new()).expect("nothing newer"));
        }
        assert_eq!(stage.fetches(), 2, "tries are spaced");
        stage.advance(2);
        assert!(stage.refused(&Cancel::new()).expect("newer"));
        assert_eq!(stage.get().expect("valid"), (2, "b".to_owned()));
    }

    #[test]
    fn a_refresh_that_its_thread_gave_up_is_left_to_the_next() {
        let stage = stage(Some(100_000), &["a", "cancelled meanwhile", "b"]);
        stage.get().expect("valid");
        assert_eq!(stage.refused(&Cancel::new()).expect_err("given up").kind, ErrorKind::Cancelled);
        assert!(stage.refused(&Cancel::new()).expect("newer"));
        assert_eq!(stage.get().expect("valid"), (2, "b".to_owned()));
    }

    #[test]
    fn many_threads_make_one_first_fetch() {
        let stage = Arc::new(stage(None, &["a"]));
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let stage = Arc::clone(&stage);
                spawn("asker", move || stage.get().expect("valid").1).expect("a thread")
            })
            .collect();
        for thread in threads {
            assert_eq!(thread.join().expect("no panic"), "a");
        }
        assert_eq!(stage.fetches(), 1);
    }
}
