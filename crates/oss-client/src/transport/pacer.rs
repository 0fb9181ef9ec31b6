//! How many requests a second may go to an endpoint: found from what it refuses, below what the user allows. Pure.
//!
//! Without a refusal and without a bound nothing is paced. The first refusal sets the rate to what was admitted in the
//! second before it. From there the rate doubles every second until the next refusal (the first guess of a process that
//! was refused at once is poor), and then grows by a hundredth a second, at least by two requests a second, so that
//! processes which share a limit draw level: who sends more is refused more often, and each refusal takes the same
//! share. docs/decisions/0014 says how these numbers were chosen.

use std::time::{Duration, Instant};

/// What a refusal leaves of the rate, or of what was admitted if that is less.
const AFTER_REFUSAL: f64 = 0.93;
/// A refusal takes no more than this at once: what was admitted lately may be a poor sample.
const DEEPEST_CUT: f64 = 0.8;
/// Refusals within this time of a cut are answers to what was sent before it.
const BETWEEN_CUTS: Duration = Duration::from_millis(100);
/// Growth in a second, of the rate and at least.
const GROWTH: f64 = 0.01;
const LEAST_GROWTH: f64 = 2.0;
/// Growth in a second while the first guess is being corrected.
const SEARCHING: f64 = 1.0;
/// After this long without a refusal the limit has moved: growth is ten times as fast.
const CALM: Duration = Duration::from_secs(10);
const GROWTH_IN_CALM: f64 = 0.1;
/// After this long without a refusal there is no limit any more.
const FORGOTTEN: Duration = Duration::from_secs(60);
/// The rate that a first guess does not go below, and a cut does not.
const LEAST_GUESS: f64 = 10.0;
const LEAST: f64 = 1.0;
/// A pause leaves this much to be made good at once; more would be a burst.
const BURST: Duration = Duration::from_millis(10);

/// The pace of all requests of a process to one endpoint.
#[derive(Debug)]
pub(super) struct Pacer {
    bound: Option<f64>,
    found: Option<Found>,
    /// When the next request may go.
    next: Instant,
}

/// A rate that refusals taught.
#[derive(Debug)]
struct Found {
    rate: f64,
    refused: Instant,
    cut: Instant,
    grown: Instant,
    searching: bool,
}

impl Pacer {
    /// `bound` is the user's, in requests a second.
    pub(super) fn new(bound: Option<f64>, now: Instant) -> Self {
        Pacer { bound, found: None, next: now }
    }

    /// Requests a second; None while nothing holds them back.
    pub(super) fn rate(&self) -> Option<f64> {
        let found = self.found.as_ref().map(|found| found.rate);
        match (found, self.bound) {
            (Some(found), Some(bound)) => Some(found.min(bound)),
            (found, bound) => found.or(bound),
        }
    }

    /// When a refusal lowered the rate last.
    pub(super) fn cut(&self) -> Option<Instant> {
        self.found.as_ref().map(|found| found.cut)
    }

    /// Whether it is the user's bound, and not the service, that holds requests back.
    pub(super) fn is_at_bound(&self) -> bool {
        self.bound.is_some() && self.rate() == self.bound
    }

    /// When a request may go, `now` or later; the asker takes that moment.
    pub(super) fn admit(&mut self, now: Instant) -> Instant {
        self.grow(now);
        let Some(rate) = self.rate() else { return now };
        let moment = now.checked_sub(BURST).map_or(self.next, |earliest| self.next.max(earliest));
        self.next = moment + Duration::from_secs_f64(1.0 / rate);
        moment.max(now)
    }

    /// A moment was taken that comes too late to be used: who comes next need not wait for it.
    pub(super) fn give_back(&mut self) {
        let Some(rate) = self.rate() else { return };
        self.next = self.next.checked_sub(Duration::from_secs_f64(1.0 / rate)).unwrap_or(self.next);
    }

    /// The service refused a request because there were too many; `admitted` a second it had not refused lately.
    ///
    /// True if requests are paced from now on, and were not before.
    pub(super) fn refused(&mut self, admitted: f64, now: Instant) -> bool {
        let Some(found) = &mut self.found else {
            let guess = (admitted * AFTER_REFUSAL).max(LEAST_GUESS);
            self.found = Some(Found { rate: guess, refused: now, cut: now, grown: now, searching: true });
            self.next = self.next.max(now);
            return true;
        };
        found.refused = now;
        if now.saturating_duration_since(found.cut) >= BETWEEN_CUTS {
            let believed = admitted.clamp(found.rate * DEEPEST_CUT, found.rate);
            found.rate = (believed * AFTER_REFUSAL).max(LEAST);
            found.cut = now;
            found.searching = false;
        }
        false
    }

    fn grow(&mut self, now: Instant) {
        let Some(found) = &mut self.found else { return };
        let calm = now.saturating_duration_since(found.refused);
        if calm >= FORGOTTEN {
            self.found = None;
            return;
        }
        let share = if found.searching && calm > BETWEEN_CUTS {
            SEARCHING
        } else if calm >= CALM {
            GROWTH_IN_CALM
        } else {
            GROWTH
        };
        let seconds = now.saturating_duration_since(found.grown).as_secs_f64();
        found.rate += seconds * (found.rate * share).max(LEAST_GROWTH);
        found.grown = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use std::collections::{BTreeMap, VecDeque};

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn nothing_is_paced_before_a_refusal() {
        let now = SystemClock.now();
        let mut pacer = Pacer::new(None, now);
        assert!((0..1000).all(|_| pacer.admit(now) == now));
    }

    #[test]
    fn the_users_bound_holds_from_the_start() {
        let now = SystemClock.now();
        let mut pacer = Pacer::new(Some(100.0), now);
        let moments: Vec<_> = (0..101).map(|_| pacer.admit(now)).collect();
        assert_eq!(moments[0], now);
        assert_eq!(moments[100].duration_since(now).as_millis(), 1000);
        assert!(!pacer.refused(1e6, now) || pacer.rate() == Some(100.0), "a refusal does not widen it");
    }

    #[test]
    fn a_pause_is_made_good_by_a_few_requests_only() {
        let now = SystemClock.now();
        let mut pacer = Pacer::new(Some(1000.0), now);
        let later = now + Duration::from_secs(60);
        let at_once = (0..100).filter(|_| pacer.admit(later) == later).count();
        assert!((10..=11).contains(&at_once), "{at_once}");
    }

    #[test]
    fn a_minute_without_a_refusal_forgets_the_limit() {
        let now = SystemClock.now();
        let mut pacer = Pacer::new(None, now);
        assert!(pacer.refused(500.0, now));
        assert_eq!(pacer.rate(), Some(500.0 * AFTER_REFUSAL));
        pacer.admit(now + Duration::from_secs(61));
        assert_eq!(pacer.rate(), None);
    }

    /// One process of the model: so many requests in flight at most, paced.
    struct Process {
        pacer: Pacer,
        in_flight: usize,
        waiting_since: Option<Instant>,
        admitted: VecDeque<Instant>,
        done: u64,
    }

    /// What a model of `processes` sharing `limit` requests a second came to.
    struct Outcome {
        used: f64,
        refused: f64,
        refused_warm: f64,
        least_share: f64,
    }

    /// Lets processes that each keep 16 requests of 10 ms in flight share a leaky bucket for `seconds`.
    fn share(processes: usize, limit: f64, seconds: u64) -> Outcome {
        let start = SystemClock.now();
        let mut all: Vec<_> = (0..processes)
            .map(|_| Process {
                pacer: Pacer::new(None, start),
                in_flight: 0,
                waiting_since: None,
                admitted: VecDeque::new(),
                done: 0,
            })
            .collect();
        let burst = limit * 0.2;
        let (mut tokens, mut sent, mut refused, mut warm, mut warm_refused) =
            (burst, 0_u64, 0_u64, 0_u64, 0_u64);
        let mut answers: BTreeMap<u64, Vec<(usize, bool)>> = BTreeMap::new();
        for tick in 0..seconds * 1000 {
            let now = start + MS * u32::try_from(tick).unwrap();
            tokens = (tokens + limit / 1000.0).min(burst);
            for (who, admitted) in answers.remove(&tick).unwrap_or_default() {
                let process = &mut all[who];
                process.in_flight -= 1;
                while process.admitted.front().is_some_and(|at| now - *at > Duration::from_secs(1)) {
                    process.admitted.pop_front();
                }
                if admitted {
                    process.done += 1;
                    process.admitted.push_back(now);
                } else {
                    let lately = now.duration_since(start).as_secs_f64().clamp(0.2, 1.0);
                    process.pacer.refused(process.admitted.len() as f64 / lately, now);
                }
            }
            // Nobody is always first.
            for turn in 0..processes {
                let who = (turn + usize::try_from(tick).unwrap() * 7) % processes;
                let process = &mut all[who];
                while process.in_flight < 16 {
                    let moment = *process.waiting_since.get_or_insert_with(|| process.pacer.admit(now));
                    if moment > now {
                        break;
                    }
                    process.waiting_since = None;
                    process.in_flight += 1;
                    sent += 1;
                    warm += u64::from(tick > 5000);
                    let admitted = tokens >= 1.0;
                    if admitted {
                        tokens -= 1.0;
                    } else {
                        refused += 1;
                        warm_refused += u64::from(tick > 5000);
                    }
                    answers.entry(tick + 9 + (tick * 31 + who as u64) % 3).or_default().push((who, admitted));
                }
            }
        }
        let (total, fair) = (limit * seconds as f64, limit * seconds as f64 / processes as f64);
        Outcome {
            used: all.iter().map(|process| process.done).sum::<u64>() as f64 / total,
            refused: refused as f64 / sent as f64,
            refused_warm: warm_refused as f64 / warm as f64,
            least_share: all.iter().map(|process| process.done).min().unwrap() as f64 / fair,
        }
    }

    #[test]
    fn one_process_uses_the_limit_and_is_hardly_refused() {
        // 16 requests of 10 ms are 1,600 a second.
        let outcome = share(1, 1000.0, 30);
        assert!(outcome.used >= 0.9, "{}", outcome.used);
        assert!(outcome.refused_warm <= 0.02, "{}", outcome.refused_warm);
    }

    #[test]
    fn many_processes_share_a_limit_fairly() {
        let outcome = share(64, 2000.0, 40);
        assert!(outcome.used >= 0.9, "{}", outcome.used);
        assert!(outcome.refused <= 0.05, "{}", outcome.refused);
        assert!(outcome.least_share >= 0.5, "{}", outcome.least_share);
    }
}
