//! A model of many processes that share what one account is admitted: virtual time, no sockets, the code that decides.
//!
//! Each process is a gate with its pacer, a window of workers, the back-off of refused requests, and a consumer that
//! takes objects in order, as an epoch does. They share a leaky bucket. What is measured is what `make performance`
//! measures: the share of the limit that was used, the share of requests that was refused, and the least of the
//! processes' shares, all from the first request on.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use super::call::LOOK_AT_THE_PACE;
use super::gate::{Gate, Turn};
use super::pace::Pace;
use crate::clock::{Clock, SystemClock};
use crate::config::RetryPolicy;
use crate::random::Dice;
use crate::read::plan;
use crate::retry::{Cause, Circumstances, Decision, History};
use crate::sync::Arc;
use crate::window::Window;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const CEILING: usize = 256;
/// What the bucket of the emulator holds: what a fifth of a second admits.
const BURST_SECONDS: f64 = 0.2;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The process asks for objects, its first or those after a rest.
    Begins,
    /// A request's turn may have come; then it is sent.
    Looks(u64),
    /// The answer to one sent at that moment comes: admitted or refused.
    Hears(u64, bool, Instant),
    /// The pause after a refusal is over.
    Repeats(u64),
}

/// What is run.
#[derive(Clone, Debug)]
struct Case {
    processes: usize,
    seconds: u64,
    /// Requests a second that are admitted, from these seconds on.
    limits: Vec<(u64, f64)>,
    latency: Duration,
    /// Processes begin within this time.
    stagger: Duration,
    /// The seconds in which no consumer asks for anything.
    rest: Range<u64>,
    seed: u64,
}

impl Case {
    /// So many processes, 2,000 requests a second, 30 ms to the first byte.
    fn of(processes: usize, seconds: u64) -> Self {
        let limits = vec![(0, 2000.0)];
        Case { processes, seconds, limits, latency: 30 * MS, stagger: Duration::ZERO, rest: 0..0, seed: 1 }
    }

    fn limit(&self, at: Duration) -> f64 {
        let now = at.as_secs_f64();
        self.limits.iter().rev().find(|(from, _)| *from as f64 <= now).map_or(0.0, |(_, limit)| *limit)
    }

    /// Requests that are admitted from one second to another.
    fn admitted(&self, from: u64, until: u64) -> f64 {
        (from..until).map(|second| self.limit(SECOND * u32::try_from(second).unwrap())).sum()
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    answered: u64,
    sent: u64,
    refused: u64,
}

/// What came of it, second by second, and of each process in all.
#[derive(Debug)]
struct Outcome {
    case: Case,
    seconds: Vec<Second>,
    /// Of each process, the share of a fair part of the limit since it began.
    shares: Vec<f64>,
}

impl Outcome {
    fn used(&self, from: u64) -> f64 {
        let answered: u64 = self.seconds[from as usize..].iter().map(|second| second.answered).sum();
        answered as f64 / self.case.admitted(from, self.case.seconds)
    }

    fn refused(&self, from: u64) -> f64 {
        let sum = |of: fn(&Second) -> u64| self.seconds[from as usize..].iter().map(of).sum::<u64>() as f64;
        sum(|second| second.refused) / sum(|second| second.sent)
    }

    fn least_share(&self) -> f64 {
        self.shares.iter().copied().fold(f64::MAX, f64::min)
    }

    fn line(&self) -> String {
        format!(
            "{:4} processes, {:3} s: used {:.3}, refused {:.4} (from the 4th second on {:.4}), least share {:.2}",
            self.case.processes,
            self.case.seconds,
            self.used(0),
            self.refused(0),
            self.refused(3),
            self.least_share(),
        )
    }
}

/// One process: what is asked for in order, and by how many workers.
struct Process {
    gate: Gate,
    window: Window,
    /// Objects from the first that was not delivered on: whether each is there.
    asked: VecDeque<bool>,
    delivered: u64,
    waiting: VecDeque<u64>,
    running: usize,
    histories: HashMap<u64, History>,
    turns: HashMap<u64, Turn>,
    begins: Instant,
    is_pacing: bool,
}

struct World {
    case: Case,
    start: Instant,
    events: BinaryHeap<Reverse<(Instant, u64, usize, What)>>,
    count: u64,
    dice: Dice,
    policy: RetryPolicy,
    tokens: f64,
    filled: Instant,
    all: Vec<Process>,
    outcome: Vec<Second>,
    answered: Vec<u64>,
}

/// A process's own.
fn gate(policy: &RetryPolicy, begins: Instant) -> Gate {
    let gate = Gate::new(policy, begins);
    gate.join(Arc::new(Pace::new(None, begins)));
    gate
}

impl World {
    fn new(case: Case) -> Self {
        let start = SystemClock.now();
        let policy = RetryPolicy::default();
        let dice = Dice::seeded(case.seed);
        let begins: Vec<_> = (0..case.processes).map(|_| start + case.stagger.mul_f64(dice.unit())).collect();
        let process = |begins: &Instant| Process {
            gate: gate(&policy, *begins),
            window: Window::new(CEILING, *begins),
            asked: VecDeque::new(),
            delivered: 0,
            waiting: VecDeque::new(),
            running: 0,
            histories: HashMap::default(),
            turns: HashMap::default(),
            begins: *begins,
            is_pacing: false,
        };
        let mut world = World {
            start,
            events: BinaryHeap::new(),
            count: 0,
            tokens: case.limit(Duration::ZERO) * BURST_SECONDS,
            filled: start,
            all: begins.iter().map(process).collect(),
            outcome: vec![Second::default(); case.seconds as usize],
            answered: vec![0; case.processes],
            case,
            dice,
            policy,
        };
        let rest = world.case.rest.clone();
        for (who, at) in begins.into_iter().enumerate() {
            world.will(at, who, What::Begins);
            if !rest.is_empty() {
                world.will(start + SECOND * u32::try_from(rest.end).unwrap(), who, What::Begins);
            }
        }
        world
    }

    fn will(&mut self, at: Instant, who: usize, what: What) {
        self.count += 1;
        self.events.push(Reverse((at, self.count, who, what)));
    }

    fn run(mut self) -> Outcome {
        let end = self.start + SECOND * u32::try_from(self.case.seconds).unwrap();
        while let Some(Reverse((now, _, who, what))) = self.events.pop() {
            if now >= end {
                break;
            }
            match what {
                What::Begins => self.work(who, now),
                What::Looks(object) => self.look(who, object, now),
                What::Repeats(object) => self.pass_gate(who, object, now),
                What::Hears(object, true, _) => self.answered(who, object, now),
                What::Hears(object, false, sent) => self.refused(who, object, sent, now),
            }
        }
        let whole = self.case.admitted(0, self.case.seconds) / self.case.processes as f64;
        let all = self.all.iter().zip(&self.answered);
        let shares = all.map(|(process, answered)| {
            let present = (end - process.begins).as_secs_f64() / self.case.seconds as f64;
            *answered as f64 / (whole * present)
        });
        Outcome { shares: shares.collect(), case: self.case, seconds: self.outcome }
    }

    /// The consumer tops up, and the workers take what they may.
    fn work(&mut self, who: usize, now: Instant) {
        if self.case.rest.contains(&(now - self.start).as_secs()) {
            return;
        }
        let process = &mut self.all[who];
        if std::mem::take(&mut process.is_pacing) {
            process.window.throttled(now);
        }
        let is_held_up = process.asked.front() == Some(&false);
        let held_up = if is_held_up { process.asked.iter().filter(|is_there| **is_there).count() } else { 0 };
        let ahead = plan::lookahead(process.window.width()) + held_up;
        if process.asked.len() <= ahead - (ahead - held_up) / 4 {
            while process.asked.len() < ahead {
                process.waiting.push_back(process.delivered + process.asked.len() as u64);
                process.asked.push_back(false);
            }
        }
        let mut begun = Vec::new();
        while process.running < process.window.width()
            && let Some(object) = process.waiting.pop_front()
        {
            process.running += 1;
            begun.push(object);
        }
        for object in begun {
            self.pass_gate(who, object, now);
        }
    }

    fn pass_gate(&mut self, who: usize, object: u64, now: Instant) {
        let process = &mut self.all[who];
        let turn = process.gate.opens(now);
        process.turns.insert(object, turn);
        self.will(turn.opens.min(now + LOOK_AT_THE_PACE), who, What::Looks(object));
    }

    fn look(&mut self, who: usize, object: u64, now: Instant) {
        let process = &mut self.all[who];
        let turn = process.gate.still(process.turns[&object], now);
        if turn.opens > now {
            self.will(turn.opens.min(now + LOOK_AT_THE_PACE), who, What::Looks(object));
        } else {
            process.turns.remove(&object);
            self.send(who, object, now);
        }
    }

    fn second(&mut self, now: Instant) -> &mut Second {
        &mut self.outcome[(now - self.start).as_secs() as usize]
    }

    fn send(&mut self, who: usize, object: u64, now: Instant) {
        let limit = self.case.limit(now - self.start);
        self.tokens = (self.tokens + (now - self.filled).as_secs_f64() * limit).min(limit * BURST_SECONDS);
        self.filled = now;
        let is_admitted = self.tokens >= 1.0;
        self.tokens -= if is_admitted { 1.0 } else { 0.0 };
        self.second(now).sent += 1;
        self.second(now).refused += u64::from(!is_admitted);
        let late = self.case.latency.mul_f64(1.0 + 0.1 * self.dice.unit());
        self.will(now + late, who, What::Hears(object, is_admitted, now));
    }

    fn answered(&mut self, who: usize, object: u64, now: Instant) {
        self.second(now).answered += 1;
        self.answered[who] += 1;
        let process = &mut self.all[who];
        process.gate.succeeded(0, now);
        process.histories.remove(&object);
        process.running -= 1;
        process.window.completed(1, 1024, now);
        process.asked[(object - process.delivered) as usize] = true;
        while process.asked.front() == Some(&true) {
            process.asked.pop_front();
            process.delivered += 1;
        }
        self.work(who, now);
    }

    fn refused(&mut self, who: usize, object: u64, sent: Instant, now: Instant) {
        let process = &mut self.all[who];
        process.is_pacing |= process.gate.throttled(sent, now).is_some();
        let circumstances = Circumstances {
            left: 180 * SECOND,
            first_contact_left: None,
            hint: None,
            unit: self.dice.unit(),
            is_rare: true,
        };
        let history = process.histories.entry(object).or_default();
        let Decision::Again { after, .. } = history.decide(&self.policy, Cause::Throttled, circumstances)
        else {
            panic!("180 s are left");
        };
        self.will(now + after, who, What::Repeats(object));
    }
}

fn run(case: Case) -> Outcome {
    World::new(case).run()
}

/// Asserts what every crowd must come to, whatever the seed.
fn check(case: &Case, most_refused: f64, least_share: f64) {
    for seed in 1..=2 {
        let outcome = run(Case { seed, ..case.clone() });
        assert!(outcome.used(0) >= 0.9, "{}", outcome.line());
        assert!(outcome.refused(0) <= most_refused, "{}", outcome.line());
        assert!(outcome.least_share() >= least_share, "{}", outcome.line());
    }
}

#[test]
fn one_process_uses_the_limit_and_is_hardly_refused() {
    let outcome = run(Case::of(1, 20));
    assert!(outcome.used(3) >= 0.9, "{}", outcome.line());
    assert!(outcome.refused(3) <= 0.02, "{}", outcome.line());
}

#[test]
fn processes_that_begin_together_share_a_limit_at_once() {
    for (processes, least_share) in [(4, 0.5), (16, 0.4), (64, 0.5)] {
        // 64 begin with a thousand requests at once, half a second of the limit.
        check(&Case::of(processes, 20), 0.065, least_share);
    }
}

#[test]
fn processes_that_begin_one_after_the_other_share_it_within_a_minute() {
    for (processes, least_share) in [(4, 0.25), (16, 0.5), (64, 0.5)] {
        check(&Case { stagger: 2 * SECOND, ..Case::of(processes, 60) }, 0.05, least_share);
    }
}

#[test]
fn two_hundred_and_fifty_six_share_it_too_though_more_is_refused() {
    // Eight requests a second each: a process hears too little to be quick, fair and hardly refused at once.
    check(&Case::of(256, 60), 0.16, 0.5);
}

#[test]
fn a_limit_that_changes_is_followed() {
    for processes in [1, 16, 64] {
        let limits = vec![(0, 2000.0), (20, 1000.0), (40, 2000.0)];
        check(&Case { limits, ..Case::of(processes, 60) }, 0.05, 0.5);
    }
}

#[test]
fn a_rest_that_all_take_together_leaves_them_at_their_pace() {
    for processes in [4, 16, 64] {
        for seed in 1..=2 {
            let outcome = run(Case { rest: 20..50, seed, ..Case::of(processes, 55) });
            assert!(outcome.used(50) >= 0.9, "{}", outcome.line());
            assert!(outcome.refused(50) <= 0.1, "{}", outcome.line());
        }
    }
}
