//! What is repeated, after which pause, at which price. Pure: time and chance come in as values.
//!
//! The table is `faults.md`, 2.2; the pauses 2.3; the budget 2.4. Decided by [`Cause`], never by text.
//! A small number of tries would give up after a second of outage, and a rolling restart takes longer: so
//! the deadline bounds, and the pauses and the budget protect the service.

use std::time::{Duration, Instant};

use crate::config::RetryPolicy;
use crate::stats::Counter;

/// Why an attempt failed, as far as repeating it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The name lookup failed for the moment.
    Lookup,
    /// The name does not exist.
    NoSuchName,
    /// Refused, unreachable, timed out, or the handshake was cut.
    Connect,
    /// This process may open no more files: no fault of the service.
    Files,
    /// A reused connection ended before any byte of the answer.
    Stale,
    /// Reset, early end, short body.
    Broken,
    /// Silence, stall, or a rate below the floor.
    TimedOut,
    /// 408, 5xx and other transient refusals.
    Server,
    /// The service asked to slow down.
    Throttled,
    /// The service's clock differs from ours by more than it accepts.
    ClockSkew,
    /// Key or token refused; something newer may be there.
    Credentials,
    /// A checksum differs.
    Integrity,
    /// An answer that makes no sense.
    Protocol,
    /// Nothing that repeating would change.
    Permanent,
}

impl Cause {
    /// Whether the service was not reached at all.
    pub fn is_connect_class(self) -> bool {
        matches!(self, Cause::Lookup | Cause::NoSuchName | Cause::Connect)
    }

    /// Under which name a repetition is counted.
    pub fn counter(self) -> Counter {
        match self {
            Cause::Lookup | Cause::NoSuchName | Cause::Connect | Cause::Files => Counter::RetriesConnect,
            Cause::Stale => Counter::RetriesStale,
            Cause::Broken => Counter::RetriesBroken,
            Cause::TimedOut => Counter::RetriesTimeout,
            Cause::Server | Cause::Permanent => Counter::RetriesServer,
            Cause::Throttled => Counter::RetriesThrottled,
            Cause::ClockSkew => Counter::RetriesClock,
            Cause::Credentials => Counter::RetriesCredentials,
            Cause::Integrity => Counter::RetriesIntegrity,
            Cause::Protocol => Counter::RetriesProtocol,
        }
    }
}

/// What one operation has been through.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Repetitions since the start or since enough new bytes came.
    retries: u32,
    no_such_name: u32,
    integrity: u32,
    protocol: u32,
    credentials: u32,
    stale: bool,
    clock: bool,
    /// What the repetitions cost; given back when the operation succeeds.
    pub tokens: u32,
}

/// The circumstances of a decision.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances {
    /// Time left until the operation's deadline.
    pub left: Duration,
    /// Time left for connect-class failures, when the endpoint never answered this process.
    pub first_contact_left: Option<Duration>,
    /// Pause the service asked for.
    pub hint: Option<Duration>,
    /// A random number, 0 <= unit < 1.
    pub unit: f64,
    /// Most of the budget is there: few of this endpoint's requests fail.
    pub is_rare: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision {
    /// Again after a pause, at a price in tokens.
    Again {
        /// The pause.
        after: Duration,
        /// Price of the repetition.
        tokens: u32,
    },
    /// Stop, for a reason.
    Stop(Stop),
}

/// Why it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Repeating would not change the answer.
    Permanent,
    /// Repeated as often as this cause allows.
    Exhausted,
    /// The next pause would pass the deadline.
    Deadline,
    /// The endpoint never answered this process.
    FirstContact,
}

/// Key generations that one operation tries: three, as a rotation may overtake itself.
const CREDENTIAL_RETRIES: u32 = 3;

const AT_ONCE: Decision = Decision::Again { after: Duration::ZERO, tokens: 0 };

impl History {
    /// Decides what follows a failure, and remembers it.
    pub fn decide(&mut self, policy: &RetryPolicy, cause: Cause, now: Circumstances) -> Decision {
        match cause {
            Cause::Permanent => Decision::Stop(Stop::Permanent),
            // Once a request, and on a fresh connection: a second close is no accident.
            Cause::Stale if !std::mem::replace(&mut self.stale, true) => AT_ONCE,
            Cause::ClockSkew if !std::mem::replace(&mut self.clock, true) => AT_ONCE,
            // Whether there is something newer to sign with was asked already; a source whose every new key is
            // refused must not make a loop without pauses.
            Cause::Credentials => {
                self.credentials += 1;
                match self.credentials {
                    1 => AT_ONCE,
                    again => self.bounded(policy, again, CREDENTIAL_RETRIES, cause, now),
                }
            }
            Cause::ClockSkew => Decision::Stop(Stop::Exhausted),
            Cause::NoSuchName => {
                self.no_such_name += 1;
                self.bounded(policy, self.no_such_name, policy.no_such_name_tries - 1, cause, now)
            }
            Cause::Integrity => {
                self.integrity += 1;
                self.bounded(policy, self.integrity, policy.integrity_retries, cause, now)
            }
            Cause::Protocol => {
                self.protocol += 1;
                self.bounded(policy, self.protocol, policy.protocol_retries, cause, now)
            }
            _ => self.pause(policy, cause, now),
        }
    }

    /// The same bytes came damaged before this operation, so often; that counts against its refetches.
    pub fn was_damaged(&mut self, times: u32) {
        self.integrity = self.integrity.saturating_add(times);
    }

    /// New bytes came, enough to begin again with short pauses.
    pub fn progressed(&mut self) {
        self.retries = 0;
    }

    fn bounded(
        &mut self,
        policy: &RetryPolicy,
        count: u32,
        most: u32,
        cause: Cause,
        now: Circumstances,
    ) -> Decision {
        if count > most { Decision::Stop(Stop::Exhausted) } else { self.pause(policy, cause, now) }
    }

    fn pause(&mut self, policy: &RetryPolicy, cause: Cause, now: Circumstances) -> Decision {
        self.retries += 1;
        // One failure among many successes is an accident, and what it holds up is worth more than a pause would spare
        // the service. Once half of the budget is gone it is no accident any more.
        let is_accident = now.is_rare && self.retries == 1 && matches!(cause, Cause::Broken | Cause::Server);
        let own = if is_accident { Duration::ZERO } else { backoff(policy, self.retries, now.unit) };
        let after = match now.hint {
            Some(hint) => hint.min(policy.longest_hint).max(own),
            None => own,
        };
        if cause.is_connect_class() && now.first_contact_left.is_some_and(|left| after >= left) {
            return Decision::Stop(Stop::FirstContact);
        }
        if after >= now.left {
            return Decision::Stop(Stop::Deadline);
        }
        let tokens = match cause {
            Cause::Throttled | Cause::Files => 0,
            Cause::TimedOut => policy.timeout_tokens,
            _ => policy.retry_tokens,
        };
        self.tokens = self.tokens.saturating_add(tokens);
        Decision::Again { after, tokens }
    }
}

/// The pause before the n-th repetition, n from 1: full jitter first, equal jitter later.
fn backoff(policy: &RetryPolicy, retry: u32, unit: f64) -> Duration {
    let doubled = policy.base.saturating_mul(2u32.saturating_pow(retry.saturating_sub(1).min(20)));
    let bound = doubled.min(policy.cap);
    let share = if retry <= policy.full_jitter_retries { unit } else { 0.5 + unit / 2.0 };
    bound.mul_f64(share)
}

/// The tokens of one endpoint, shared by all requests of the process.
#[derive(Debug)]
pub struct Budget {
    tokens: u32,
    capacity: u32,
    slow_interval: Duration,
    slow: bool,
    successes_in_a_row: u32,
    next_slot: Option<Instant>,
}

impl Budget {
    /// A full bucket.
    pub fn new(policy: &RetryPolicy) -> Self {
        Budget {
            tokens: policy.budget_tokens,
            capacity: policy.budget_tokens,
            slow_interval: Duration::from_secs_f64(1.0 / policy.slow_mode_rate),
            slow: false,
            successes_in_a_row: 0,
            next_slot: None,
        }
    }

    /// Pays for a repetition. An empty bucket does not refuse, it enters slow mode; says so when it does.
    pub fn pay(&mut self, tokens: u32) -> bool {
        if tokens == 0 {
            return false;
        }
        self.successes_in_a_row = 0;
        if self.tokens >= tokens {
            self.tokens -= tokens;
            return false;
        }
        !std::mem::replace(&mut self.slow, true)
    }

    /// A request succeeded, after repetitions that cost `tokens`; says whether slow mode ended.
    pub fn succeed(&mut self, tokens: u32) -> bool {
        self.tokens = self.tokens.saturating_add(tokens.max(1)).min(self.capacity);
        self.successes_in_a_row += 1;
        let ends = self.slow && self.successes_in_a_row >= 2;
        if ends {
            self.slow = false;
            self.next_slot = None;
        }
        ends
    }

    /// Tokens that are left, and how many there can be.
    pub fn tokens(&self) -> (u32, u32) {
        (self.tokens, self.capacity)
    }

    /// Whether more than half of the tokens are there.
    pub fn has_plenty(&self) -> bool {
        !self.slow && self.tokens > self.capacity / 2
    }

    /// Whether only a few requests a second may go.
    pub fn is_slow(&self) -> bool {
        self.slow
    }

    /// Whether a first-try success has nothing to give back.
    pub fn is_full(&self) -> bool {
        self.tokens == self.capacity && !self.slow
    }

    /// When the next request may go: `now` outside slow mode, else the next free slot, which is taken.
    pub fn admit(&mut self, now: Instant) -> Instant {
        if !self.slow {
            return now;
        }
        let slot = self.next_slot.map_or(now, |slot| slot.max(now));
        self.next_slot = Some(slot + self.slow_interval);
        slot
    }

    /// A slot was taken that comes too late to be used: who comes next need not wait for it.
    pub fn give_back(&mut self) {
        let earlier = |slot: Instant| slot.checked_sub(self.slow_interval).unwrap_or(slot);
        self.next_slot = self.next_slot.map(earlier);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::random::Dice;

    fn within(left: Duration, unit: f64) -> Circumstances {
        Circumstances { left, first_contact_left: None, hint: None, unit, is_rare: false }
    }

    const LONG: Duration = Duration::from_secs(180);

    /// Requests of one stream whose every attempt fails after `each`.
    fn requests_until_deadline(cause: Cause, each: Duration, dice: &Dice) -> u32 {
        let (policy, mut history) = (RetryPolicy::default(), History::default());
        let (mut spent, mut requests) = (Duration::ZERO, 0);
        loop {
            requests += 1;
            spent += each;
            let left = LONG.saturating_sub(spent);
            match history.decide(&policy, cause, within(left, dice.unit())) {
                Decision::Again { after, .. } => spent += after,
                Decision::Stop(stop) => {
                    assert_eq!(stop, Stop::Deadline);
                    return requests;
                }
            }
        }
    }

    #[test]
    fn a_refusing_endpoint_gets_about_thirty_requests_in_a_deadline() {
        let dice = Dice::seeded(7);
        let counts: Vec<_> =
            (0..2000).map(|_| requests_until_deadline(Cause::Connect, Duration::ZERO, &dice)).collect();
        let mean = f64::from(counts.iter().sum::<u32>()) / counts.len() as f64;
        assert!(counts.iter().all(|count| (24..=40).contains(count)), "{counts:?}");
        assert!((28.0..32.0).contains(&mean), "{mean}");
        let silent = requests_until_deadline(Cause::TimedOut, Duration::from_secs(15), &dice);
        assert!((9..=12).contains(&silent), "{silent}");
    }

    #[test]
    fn some_causes_are_repeated_only_so_often() {
        let cases = [
            (Cause::Permanent, 0),
            (Cause::ClockSkew, 1),
            (Cause::Credentials, 3),
            (Cause::NoSuchName, 1),
            (Cause::Integrity, 3),
            (Cause::Protocol, 3),
        ];
        for (cause, expected) in cases {
            let mut history = History::default();
            let decide =
                |history: &mut History| history.decide(&RetryPolicy::default(), cause, within(LONG, 0.5));
            let again =
                (0..10).take_while(|_| matches!(decide(&mut history), Decision::Again { .. })).count();
            assert_eq!(again, expected, "{cause:?}");
        }
    }

    #[test]
    fn a_stale_connection_costs_nothing_once() {
        let mut history = History::default();
        let policy = RetryPolicy::default();
        assert_eq!(history.decide(&policy, Cause::Stale, within(LONG, 0.5)), AT_ONCE);
        let second = history.decide(&policy, Cause::Stale, within(LONG, 0.5));
        assert_eq!(second, Decision::Again { after: Duration::from_millis(50), tokens: 5 });
    }

    #[test]
    fn a_hint_is_honoured_up_to_its_cap_and_costs_no_tokens() {
        let decide = |hint, left| {
            let now =
                Circumstances { left, first_contact_left: None, hint: Some(hint), unit: 0.5, is_rare: false };
            History::default().decide(&RetryPolicy::default(), Cause::Throttled, now)
        };
        let again = |seconds| Decision::Again { after: Duration::from_secs(seconds), tokens: 0 };
        assert_eq!(decide(Duration::from_secs(7), LONG), again(7));
        assert_eq!(decide(Duration::from_secs(1_000_000), LONG), again(30));
        assert_eq!(decide(Duration::from_secs(20), Duration::from_secs(10)), Decision::Stop(Stop::Deadline));
    }

    #[test]
    fn an_endpoint_that_never_answered_is_given_up_early() {
        let now = Circumstances {
            left: LONG,
            first_contact_left: Some(Duration::from_millis(10)),
            hint: None,
            unit: 0.9,
            is_rare: false,
        };
        let decide = |cause| History::default().decide(&RetryPolicy::default(), cause, now);
        assert_eq!(decide(Cause::Connect), Decision::Stop(Stop::FirstContact));
        assert!(matches!(decide(Cause::TimedOut), Decision::Again { .. }));
    }

    #[test]
    fn progress_shortens_the_pauses_again() {
        let (policy, mut history) = (RetryPolicy::default(), History::default());
        for _ in 0..9 {
            history.decide(&policy, Cause::Broken, within(LONG, 0.99));
        }
        history.progressed();
        let next = history.decide(&policy, Cause::Broken, within(LONG, 0.99));
        assert!(matches!(next, Decision::Again { after, .. } if after < Duration::from_millis(100)));
    }

    /// Event simulation of 64 streams that start again whenever one ends, against an endpoint that is dead
    /// for five minutes.
    #[test]
    fn test_f30_sixty_four_streams_send_few_requests_to_a_dead_endpoint() {
        let (policy, dice) = (RetryPolicy::default(), Dice::seeded(11));
        let base = SystemClock.now();
        let end = Duration::from_secs(300);
        let mut budget = Budget::new(&policy);
        let mut streams: Vec<_> =
            (0..64).map(|_| (Duration::ZERO, Duration::ZERO, History::default())).collect();
        let mut requests = 0;
        while let Some(next) = (0..streams.len()).min_by_key(|index| streams[*index].0) {
            let (at, started, history) = &mut streams[next];
            if *at >= end {
                break;
            }
            let slot = budget.admit(base + *at) - base;
            if slot > *at {
                // The slot is taken; the request goes when its time has come.
                *at = slot;
                if slot >= end {
                    continue;
                }
            }
            requests += 1;
            let left = LONG.saturating_sub(at.saturating_sub(*started));
            match history.decide(&policy, Cause::Connect, within(left, dice.unit())) {
                Decision::Again { after, tokens } => {
                    budget.pay(tokens);
                    *at += after;
                }
                Decision::Stop(_) => {
                    *started = *at;
                    *history = History::default();
                }
            }
        }
        assert!((650..=900).contains(&requests), "{requests}");
    }

    #[test]
    fn the_first_repetition_after_an_accident_comes_at_once() {
        let policy = RetryPolicy::default();
        let after = |cause, is_rare, hint| {
            let mut history = History::default();
            let now = Circumstances { is_rare, hint, ..within(LONG, 0.5) };
            let pauses = [0, 1].map(|_| match history.decide(&policy, cause, now) {
                Decision::Again { after, tokens } => (after, tokens),
                Decision::Stop(stop) => panic!("{stop:?}"),
            });
            assert!(
                cause == Cause::Throttled || pauses.iter().all(|(_, tokens)| *tokens > 0),
                "never for nothing"
            );
            pauses.map(|(after, _)| after)
        };
        let ms = Duration::from_millis;
        for cause in [Cause::Broken, Cause::Server] {
            assert_eq!(after(cause, true, None), [ms(0), ms(100)]);
            assert_eq!(after(cause, false, None), [ms(50), ms(100)]);
            assert_eq!(after(cause, true, Some(ms(70))), [ms(70), ms(100)]);
        }
        for cause in [Cause::Throttled, Cause::Connect, Cause::TimedOut] {
            assert_eq!(after(cause, true, None), [ms(50), ms(100)]);
        }
    }

    #[test]
    fn half_a_budget_is_not_plenty() {
        let policy = RetryPolicy { budget_tokens: 20, ..RetryPolicy::default() };
        let mut budget = Budget::new(&policy);
        assert!(budget.has_plenty() && !budget.pay(5) && budget.has_plenty());
        assert!(!budget.pay(5) && !budget.has_plenty());
    }

    #[test]
    fn two_successes_leave_slow_mode() {
        let policy = RetryPolicy { budget_tokens: 7, ..RetryPolicy::default() };
        let mut budget = Budget::new(&policy);
        let base = SystemClock.now();
        assert!(!budget.pay(5) && budget.admit(base) == base);
        assert!(budget.pay(5), "the bucket is empty now");
        assert_eq!(budget.admit(base), base);
        assert_eq!(budget.admit(base), base + Duration::from_millis(500));
        assert!(!budget.succeed(0));
        assert!(budget.succeed(5), "slow mode ends");
        assert_eq!(budget.admit(base), base);
        assert!(budget.is_full());
    }
}
