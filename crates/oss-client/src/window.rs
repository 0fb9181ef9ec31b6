//! How many requests to keep in flight: found by looking at goodput, not configured.
//!
//! Pure: it is told of completed requests and of the time, and answers with a number. The window doubles every
//! round (one round = as many completions as the window is wide) while each doubling brings at least 10 % more bytes a
//! second, and goes back one step when it does not. A round that brings clearly less than the best is measured again
//! before it is believed: more requests do not bring less, but a hiccup of a busy machine does, and must not hold a
//! distant endpoint at a few requests for the next thousand objects. The other way round, what begins grows faster by
//! itself, with connections made and a listing that ends, and each doubling seems to pay. So where rounds are short, a
//! width is measured for as long as it gathers speed. And half of the width that was found is tried at once, and half
//! of that, for as long as a doubling would not be kept, measured like this. From then on the window tries, in turn, a
//! quarter more, which must pay, and a quarter less, which must cost nothing: the network may have changed. A trial
//! compares some rounds with some rounds; it comes soon after the last success, and later after each failure. A
//! throttle shrinks the window at once.
//!
//! Who reads in batches and asks for nothing ahead, as a map dataset does, leaves the workers idle in between. A batch
//! may be over before a round is, so a round goes on in the next one.

use std::time::{Duration, Instant};

/// Requests in flight at the start, and the fewest they settle on: enough to tell latency from bandwidth, and that a
/// few that hang do not hold up the others; few enough for any server.
const START: usize = 16;
/// Of processes that read side by side each begins with its part of them, but with so many.
const LEAST_START: usize = 4;
/// Throttles shrink it to so many at least: the pace holds the rate.
const LEAST: usize = 4;
/// What a doubling must add to goodput to be kept; a smaller step, at the ceiling, in proportion.
const WORTHWHILE: f64 = 0.10;
/// A trial of a quarter more must bring this much, so that noise does not widen the window step by step.
const WIDER_WORTHWHILE: f64 = 1.08;
/// If it brings this much, more than noise does, doubling begins again.
const DOUBLING_WORTHWHILE: f64 = 1.15;
/// A trial of a quarter less must leave this much: requests that bring nothing cost threads and connections.
const NARROWER_HARMLESS: f64 = 0.98;
/// Less than this share of the best rate is a hiccup, not what a wider window brings.
const HICCUP: f64 = 0.9;
/// Rounds that are measured again at one width before doubling ends.
const DOUBTS: u32 = 2;
/// One that brings so many times what the one before it brought still gathers speed, and is followed by another.
const GATHERING: f64 = 1.05;
/// So often at most.
const GATHERS: u32 = 8;
/// Rounds of a trial, and rounds before it that it is compared with: one alone is off by a tenth on a busy machine.
const TRIAL_ROUNDS: u32 = 8;
/// Rounds between two trials at most; half as many after the failure before, and so on.
const LONGEST_PAUSE: u32 = 64;
/// A round shorter than this says nothing about a rate: it is joined with the next.
const SHORTEST_ROUND: Duration = Duration::from_millis(20);
/// What a throttle leaves of the window.
const AFTER_THROTTLE: f64 = 0.7;
/// Throttles within this time of the last shrink are answers to the same burst.
const SHRINK_PAUSE: Duration = Duration::from_secs(1);

/// What is known of a width that doubling came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Step {
    before: usize,
    doubts: u32,
    gathers: u32,
    /// What it brought at most.
    rate: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Measuring a width that may be kept, else `before` comes back.
    Doubling(Step),
    /// Measuring what the present width brings, for so many more rounds.
    Settled { rounds_left: u32 },
    /// Measuring more or less than `before`, for so many more rounds.
    Trying { before: usize, rounds_left: u32 },
}

/// Completions and the time they took.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    bytes: u64,
    seconds: f64,
}

impl Stretch {
    fn add(&mut self, other: Stretch) {
        self.bytes += other.bytes;
        self.seconds += other.seconds;
    }

    /// Bytes a second.
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
    fn rate(self) -> f64 {
        self.bytes as f64 / self.seconds
    }
}

/// The concurrency window of one endpoint in one process.
#[derive(Debug)]
pub struct Window {
    width: usize,
    /// Requests in flight at the start, and the fewest it settles on.
    start: usize,
    ceiling: usize,
    phase: Phase,
    /// What the best width, or the one before the trial, brought.
    best_rate: f64,
    /// What the rounds of this phase brought that count for the trial.
    measured: Stretch,
    /// Rounds before the next trial.
    pause: u32,
    is_narrower_next: bool,
    /// The width was doubled, one round compared with one, and half of it may do as well.
    is_doubtful: bool,
    round_started: Instant,
    round_completions: usize,
    round_bytes: u64,
    /// Part of what was in flight belonged to the round before.
    round_began_amid_work: bool,
    last_completed: Instant,
    shrunk_at: Option<Instant>,
    /// The width before the last change, and when that was.
    changed: Option<(usize, Instant)>,
}

impl Window {
    /// A window that never passes `ceiling` requests.
    #[must_use]
    pub fn new(ceiling: usize, now: Instant) -> Self {
        Self::of_several(1, ceiling, now)
    }

    /// The window of one of so many processes that read side by side, as the workers of a `DataLoader` do.
    #[must_use]
    pub fn of_several(processes: usize, ceiling: usize, now: Instant) -> Self {
        let ceiling = ceiling.max(1);
        let start = START.div_ceil(processes.max(1)).max(LEAST_START).min(ceiling);
        let width = start;
        Self {
            width,
            start,
            ceiling,
            phase: Phase::Doubling(Step { before: width, ..Step::default() }),
            best_rate: 0.0,
            measured: Stretch::default(),
            pause: TRIAL_ROUNDS,
            is_narrower_next: false,
            is_doubtful: false,
            round_started: now,
            round_completions: 0,
            round_bytes: 0,
            round_began_amid_work: false,
            last_completed: now,
            shrunk_at: None,
            changed: None,
        }
    }

    /// How many requests may be in flight.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many requests it never passes.
    #[must_use]
    pub fn ceiling(&self) -> usize {
        self.ceiling
    }

    /// The width before the last change, and when that was; None while it has never changed.
    #[must_use]
    pub fn last_change(&self) -> Option<(usize, Instant)> {
        self.changed
    }

    /// There is work again, so many `jobs`, after the workers were idle: that time does not count.
    ///
    /// A round goes on over whole batches that fill the window, with their ends, in which less and less is in flight.
    /// What fewer jobs bring says nothing of its width, nor does the end of a batch alone.
    pub fn resume(&mut self, jobs: usize, now: Instant) {
        if jobs < self.width || self.round_began_amid_work {
            self.start_round(now);
        } else {
            self.round_started += now.saturating_duration_since(self.last_completed);
        }
        self.round_began_amid_work = false;
    }

    /// Takes note of `completions` finished requests of `bytes` together; true when the width changed.
    pub fn completed(&mut self, completions: usize, bytes: u64, now: Instant) -> bool {
        self.round_completions += completions;
        self.round_bytes += bytes;
        self.last_completed = now;
        let elapsed = now.saturating_duration_since(self.round_started);
        if self.round_completions < self.width || elapsed < SHORTEST_ROUND {
            return false;
        }
        let round = Stretch { bytes: self.round_bytes, seconds: elapsed.as_secs_f64() };
        let before = self.width;
        self.end_round(round);
        self.start_round(now);
        self.note_change(before, now)
    }

    /// Shrinks after the service said "slow down"; true when the width changed.
    pub fn throttled(&mut self, now: Instant) -> bool {
        if self.shrunk_at.is_some_and(|at| now.saturating_duration_since(at) < SHRINK_PAUSE) {
            return false;
        }
        self.shrunk_at = Some(now);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a width is far below 2^52 and never negative"
        )]
        let narrower = ((self.width as f64 * AFTER_THROTTLE) as usize).max(LEAST.min(self.width));
        let before = std::mem::replace(&mut self.width, narrower);
        // The pace holds the rate from now on: if it needs more at a time than are left, that is soon found out, and
        // that half would do as well says nothing.
        self.is_doubtful = false;
        self.pause = TRIAL_ROUNDS;
        self.settle();
        self.start_round(now);
        self.note_change(before, now)
    }

    fn note_change(&mut self, before: usize, now: Instant) -> bool {
        let is_changed = self.width != before;
        if is_changed {
            self.changed = Some((before, now));
        }
        is_changed
    }

    fn start_round(&mut self, now: Instant) {
        self.round_started = now;
        self.round_completions = 0;
        self.round_bytes = 0;
        self.round_began_amid_work = true;
        self.last_completed = now;
    }

    fn end_round(&mut self, round: Stretch) {
        match self.phase {
            Phase::Doubling(step) => self.end_doubling(step, round.rate()),
            Phase::Settled { rounds_left } => {
                if rounds_left == TRIAL_ROUNDS {
                    self.measured = Stretch::default();
                }
                self.measured.add(round);
                match rounds_left {
                    0 | 1 => self.try_another_width(),
                    more => self.phase = Phase::Settled { rounds_left: more - 1 },
                }
            }
            Phase::Trying { before, rounds_left } => {
                self.measured.add(round);
                match rounds_left {
                    0 | 1 => self.end_trial(before),
                    more => self.phase = Phase::Trying { before, rounds_left: more - 1 },
                }
            }
        }
    }

    fn end_doubling(&mut self, step: Step, rate: f64) {
        // Only the short rounds of a near endpoint are many enough to wait for.
        let is_short = self.round_completions >= 2 * self.width;
        let is_gathering = is_short && step.gathers < GATHERS && rate > step.rate * GATHERING;
        let step = Step { rate: rate.max(step.rate), ..step };
        let is_few = self.width < self.start;
        if is_gathering && !is_few {
            self.phase = Phase::Doubling(Step { gathers: step.gathers + 1, ..step });
        } else if is_few || step.rate >= self.best_rate * Self::worthwhile(step.before, self.width) {
            self.best_rate = step.rate;
            self.double();
        } else if step.doubts < DOUBTS && step.rate < self.best_rate * HICCUP {
            self.phase = Phase::Doubling(Step { doubts: step.doubts + 1, ..step });
        } else {
            self.width = step.before.max(self.start);
            self.doubt();
        }
    }

    /// Ends doubling: the width is compared with half of it soon.
    fn doubt(&mut self) {
        self.is_doubtful = true;
        self.best_rate = 0.0;
        self.pause = TRIAL_ROUNDS;
        self.settle();
    }

    /// How many times the rate of `narrower` a width must bring to be kept rather.
    #[expect(clippy::cast_precision_loss, reason = "a width is far below 2^52")]
    fn worthwhile(narrower: usize, wider: usize) -> f64 {
        let step = wider as f64 / narrower as f64 - 1.0;
        1.0 + WORTHWHILE * step.min(1.0)
    }

    fn double(&mut self) {
        let before = self.width;
        self.width = (before * 2).min(self.ceiling);
        if self.width == before {
            self.doubt();
        } else {
            self.phase = Phase::Doubling(Step { before, ..Step::default() });
        }
    }

    fn settle(&mut self) {
        self.measured = Stretch::default();
        self.phase = Phase::Settled { rounds_left: self.pause };
    }

    fn try_another_width(&mut self) {
        let before = self.width;
        let least = self.start.min(before);
        self.is_doubtful &= before > least;
        let step = (before / if self.is_doubtful { 2 } else { 4 }).max(1);
        let (wider, narrower) = ((before + step).min(self.ceiling), (before - step).max(least));
        let is_narrower = narrower < before && (self.is_doubtful || self.is_narrower_next || wider == before);
        self.width = if is_narrower { narrower } else { wider };
        self.is_narrower_next = !is_narrower;
        // One half after the other is compared with the best of them, or small losses would add up.
        let rate = self.measured.rate();
        self.best_rate = if self.is_doubtful { rate.max(self.best_rate) } else { rate };
        if self.width == before {
            self.settle();
        } else {
            self.measured = Stretch::default();
            self.phase = Phase::Trying { before, rounds_left: TRIAL_ROUNDS };
        }
    }

    fn end_trial(&mut self, before: usize) {
        let rate = self.measured.rate();
        let is_wider = self.width > before;
        let enough = match (is_wider, self.is_doubtful) {
            (true, _) => WIDER_WORTHWHILE,
            (false, true) => 1.0 / Self::worthwhile(self.width, before),
            (false, false) => NARROWER_HARMLESS,
        };
        if rate < self.best_rate * enough {
            self.is_doubtful = false;
            self.width = before;
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            self.settle();
            return;
        }
        self.pause = TRIAL_ROUNDS;
        if rate >= self.best_rate * DOUBLING_WORTHWHILE {
            self.best_rate = rate;
            self.double();
        } else {
            self.settle();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::random::Dice;

    /// A server as the window sees it: so far away, so many bytes a second at most, and never twice the same.
    struct Server {
        latency: f64,
        capacity: f64,
        /// A round is off by this share at most.
        noise: f64,
        seconds: f64,
        dice: Dice,
    }

    impl Server {
        fn new(latency: f64, capacity: f64, noise: f64) -> Self {
            Server { latency, capacity, noise, seconds: 0.0, dice: Dice::seeded(0) }
        }

        /// Lets the window run for so many rounds.
        fn run(&mut self, window: &mut Window, start: Instant, rounds: usize) {
            for _ in 0..rounds {
                let width = window.width();
                let bytes = 100_000 * width as u64;
                let rate = (bytes as f64 / self.latency).min(self.capacity);
                // A round that is too short is joined with the next, so it is told in the time of a long one.
                let times = (0.020 * rate / bytes as f64).ceil().max(1.0);
                self.seconds +=
                    times * bytes as f64 / (rate * (1.0 + self.noise * (2.0 * self.dice.unit() - 1.0)));
                let now = start + Duration::from_secs_f64(self.seconds);
                window.completed(width * times as usize, bytes * times as u64, now);
            }
        }
    }

    /// Runs the window against a server of `latency` per request and `capacity` bytes a second.
    fn settle(latency: f64, capacity: f64, ceiling: usize) -> usize {
        let start = SystemClock.now();
        let mut window = Window::new(ceiling, start);
        Server::new(latency, capacity, 0.0).run(&mut window, start, 500);
        window.width()
    }

    /// Reads so many batches of `size` objects, waiting for each to be over before the next; they come in waves.
    fn read_batches(window: &mut Window, latency: f64, capacity: f64, size: usize, count: usize) -> usize {
        let start = SystemClock.now();
        let (mut seconds, mut widest) = (0.0, window.width());
        let at = |seconds| start + Duration::from_secs_f64(seconds);
        for _ in 0..count {
            let mut left = size;
            window.resume(left.min(2 * window.width()), at(seconds));
            while left > 0 {
                let wave = left.min(window.width());
                let bytes = 100_000 * wave as u64;
                seconds += (bytes as f64 / capacity).max(latency);
                window.completed(wave, bytes, at(seconds));
                left -= wave;
            }
            // What is done with it takes longer than to fetch it.
            seconds += 0.1;
            widest = widest.max(window.width());
        }
        widest
    }

    #[test]
    fn batches_that_are_over_before_a_round_is_widen_it() {
        for size in [32, 64, 200] {
            let mut window = Window::new(256, SystemClock.now());
            read_batches(&mut window, 0.003, 2e12, size, 100);
            assert!(window.width() >= size, "{} for batches of {size}", window.width());
        }
    }

    #[test]
    fn batches_from_near_leave_it_narrow() {
        let mut window = Window::new(256, SystemClock.now());
        let widest = read_batches(&mut window, 0.000_1, 2e9, 256, 500);
        assert!(widest <= 40 && window.width() <= 20, "{}, at most {widest}", window.width());
    }

    #[test]
    fn what_does_not_fill_the_window_says_nothing_of_its_width() {
        for size in [1, 15] {
            let mut window = Window::new(256, SystemClock.now());
            assert_eq!(read_batches(&mut window, 0.003, 2e12, size, 500), START);
        }
        // Wide enough for each batch: nothing was found out that it could forget.
        let mut window = Window::new(256, SystemClock.now());
        read_batches(&mut window, 0.003, 2e12, 32, 50);
        let width = window.width();
        read_batches(&mut window, 0.003, 2e12, width - 1, 500);
        assert_eq!(window.width(), width);
    }

    #[test]
    fn a_window_that_settled_under_load_widens_when_the_load_is_gone() {
        for ceiling in [20, 24, 256] {
            let start = SystemClock.now();
            let mut window = Window::new(ceiling, start);
            let mut server = Server::new(0.030, 5e7, 0.0);
            server.run(&mut window, start, 50);
            assert_eq!(window.width(), START, "more in flight brought nothing");
            server.capacity = 2e9;
            server.run(&mut window, start, 200);
            assert!(window.width() >= ceiling / 2 + 10, "{} of {ceiling}", window.width());
        }
    }

    #[test]
    fn a_start_that_gathers_speed_by_itself_does_not_leave_it_wide() {
        let start = SystemClock.now();
        let mut window = Window::new(256, start);
        let mut server = Server::new(0.000_1, 0.0, 0.05);
        let mut widest = 0;
        for share in 1..=8 {
            server.capacity = 1e8 * f64::from(share);
            server.run(&mut window, start, 1);
            widest = widest.max(window.width());
        }
        assert_eq!(widest, 16, "nothing was doubled while it gathered speed");
        for _ in 0..60 {
            server.run(&mut window, start, 1);
            widest = widest.max(window.width());
        }
        assert!(widest <= 64, "16 are enough, not {widest}");
        assert!(window.width() <= 40, "16 are enough, not {}", window.width());
    }

    #[test]
    fn a_start_that_gathers_speed_for_long_is_not_waited_for() {
        let start = SystemClock.now();
        let mut window = Window::new(256, start);
        let mut server = Server::new(0.000_1, 0.0, 0.0);
        for share in 1..=60 {
            server.capacity = 1e8 * 1.06_f64.powi(share);
            server.run(&mut window, start, 1);
        }
        assert!(window.width() >= 64, "{}", window.width());
        server.run(&mut window, start, 100);
        assert!(window.width() <= 40, "16 are enough, not {}", window.width());
    }

    #[test]
    fn processes_side_by_side_begin_with_what_one_alone_would() {
        let widths = [1, 2, 3, 8].map(|processes| {
            let start = SystemClock.now();
            let mut window = Window::of_several(processes, 256, start);
            let begun_with = window.width();
            // A full machine, where more brings nothing.
            Server::new(0.000_1, 1e9, 0.0).run(&mut window, start, 300);
            assert_eq!(window.width(), begun_with, "it settles on no fewer, and on no more");
            begun_with
        });
        assert_eq!(widths, [16, 8, 6, 4]);
        assert_eq!(Window::of_several(2, 3, SystemClock.now()).width(), 3, "never more than the ceiling");
        let start = SystemClock.now();
        let mut window = Window::of_several(8, 256, start);
        Server::new(0.030, 2e9, 0.0).run(&mut window, start, 200);
        assert!(window.width() >= 200, "a distant endpoint is found from few as well: {}", window.width());
    }

    /// Runs a window against a service whose rate grows with the width to the power of `exponent`.
    fn run_growing(window: &mut Window, exponent: f64, start: Instant, rounds: usize) -> Instant {
        let mut now = start;
        for _ in 0..rounds {
            let width = window.width();
            now += Duration::from_millis(40);
            let bytes = 4e6 * (width as f64).powf(exponent);
            window.completed(width, bytes as u64, now);
        }
        now
    }

    #[test]
    fn half_by_half_it_gives_away_no_more_than_one_half_may_cost() {
        let start = SystemClock.now();
        let mut window = Window::new(256, start);
        // A doubling brings 15 %, and then half of that.
        let now = run_growing(&mut window, 0.2, start, 5);
        assert_eq!(window.width(), 256);
        run_growing(&mut window, 0.12, now, 100);
        assert_eq!(window.width(), 128, "one half costs 8 %, the next one as much again");
    }

    #[test]
    fn half_must_cost_what_a_step_of_its_size_would_not_bring() {
        let start = SystemClock.now();
        let mut window = Window::new(24, start);
        // 24 bring 7 % more than 16, which is worth half a doubling.
        run_growing(&mut window, 0.167, start, 100);
        assert_eq!(window.width(), 24);
    }

    #[test]
    fn a_throttled_window_is_not_halved_for_what_the_pace_holds() {
        let start = SystemClock.now();
        let mut window = Window::new(256, start);
        let now = run_growing(&mut window, 1.0, start, 6);
        assert!(window.throttled(now));
        assert_eq!(window.width(), 179);
        // Whatever the width, the pace admits as much.
        let (mut now, mut narrowest) = (now, 256);
        for _ in 0..40 {
            now = run_growing(&mut window, 0.0, now, 1);
            narrowest = narrowest.min(window.width());
        }
        assert!(narrowest >= 179 * 3 / 4, "a quarter less at a time, not {narrowest}");
    }

    #[test]
    fn the_least_width_is_not_halved_and_a_quarter_more_is_tried() {
        let start = SystemClock.now();
        let mut window = Window::new(256, start);
        let mut widths = Vec::new();
        let mut now = start;
        for _ in 0..40 {
            now = run_growing(&mut window, 0.0, now, 1);
            widths.push(window.width());
        }
        // 32 was the doubling that did not pay.
        assert!(widths.iter().all(|width| [16, 20, 32].contains(width)), "{widths:?}");
        assert!(widths.contains(&20));
    }

    #[test]
    fn rounds_that_differ_by_a_fifth_do_not_mislead_it() {
        let start = SystemClock.now();
        let mut window = Window::new(256, start);
        let mut server = Server::new(0.030, 2e9, 0.2);
        server.run(&mut window, start, 1000);
        assert!(window.width() >= 200, "every one more pays, yet it is {}", window.width());
        server.capacity = 1e8;
        server.run(&mut window, start, 4000);
        assert!(window.width() <= 64, "30 are enough, not {}", window.width());
        let mut widest = 0;
        for _ in 0..100 {
            server.run(&mut window, start, 100);
            widest = widest.max(window.width());
        }
        assert!(widest <= 100, "30 are enough, not {widest}");
    }

    #[test]
    fn a_long_way_to_the_first_byte_widens_the_window() {
        let width = settle(0.030, 2e9, 256);
        assert!(width >= 128, "30 ms and plenty of bandwidth need many in flight, not {width}");
    }

    #[test]
    fn a_slow_round_while_it_widens_does_not_hold_it_back() {
        let start = SystemClock.now();
        let (mut window, mut seconds, mut rounds) = (Window::new(256, start), 0.0, 0);
        while rounds < 12 {
            // Every second round takes ten times as long: something else has the processor.
            seconds += if rounds % 2 == 0 { 0.030 } else { 0.300 };
            let width = window.width();
            window.completed(width, width as u64 * 100_000, start + Duration::from_secs_f64(seconds));
            rounds += 1;
        }
        assert_eq!(window.width(), 256);
    }

    #[test]
    fn a_full_link_keeps_the_window_narrow() {
        let width = settle(0.000_1, 1e9, 256);
        assert!(width <= 32, "more in flight bring nothing, yet the window is {width}");
    }

    #[test]
    fn the_ceiling_holds() {
        assert_eq!(settle(0.5, 1e12, 24), 24);
        assert_eq!(settle(0.5, 1e12, 3), 3);
    }

    #[test]
    fn a_throttle_shrinks_once_a_second() {
        let start = SystemClock.now();
        let mut window = Window::new(256, start);
        Server::new(0.030, 1e6, 0.0).run(&mut window, start, 4);
        assert!(window.throttled(start + Duration::from_secs(50)));
        assert_eq!(window.width(), 11);
        assert_eq!(window.last_change(), Some((16, start + Duration::from_secs(50))));
        assert!(!window.throttled(start + Duration::from_millis(50_900)));
        assert_eq!(window.width(), 11);
        assert!(window.throttled(start + Duration::from_millis(51_100)));
        assert_eq!(window.width(), 7);
    }

    #[test]
    fn the_window_never_closes() {
        for (ceiling, least) in [(256, LEAST), (3, 3)] {
            let start = SystemClock.now();
            let mut window = Window::new(ceiling, start);
            for second in 0..100 {
                window.throttled(start + Duration::from_secs(second));
            }
            assert_eq!(window.width(), least);
        }
    }
}
