//! What a worker looks at while it waits: cancel flag, deadline, stall, floor.
//!
//! Waiting is counted in ticks, which the kernel keeps (`SO_RCVTIMEO`); a call that returns with everything it
//! asked for is no tick, so a fast stream needs no clock. A stall of ten seconds is ten empty ticks.

use std::time::{Duration, Instant};

use super::Broken;
use crate::asker::Asker;
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::config::{Limits, RetryPolicy, Timeouts};
use crate::logs::{self, Level};
use crate::stats::{Counter, Stats};
use crate::subject::Subject;
use crate::telling::board::Place;

/// The timers of an exchange, in ticks.
#[derive(Debug, Clone)]
pub(crate) struct Ticks {
    first_byte: u32,
    complete: u32,
    read_stall: u32,
    write_stall: u32,
    floor: u32,
    tell_after: Duration,
    tell_every: Duration,
    floor_seconds: f64,
    floor_rate: f64,
    relative_floor_rate: f64,
    healthy_rate: f64,
}

impl Ticks {
    /// Counts the timers of `timeouts` in its ticks.
    pub(crate) fn new(timeouts: &Timeouts, limits: &Limits) -> Self {
        let tick = timeouts.tick.as_secs_f64();
        let count = |timer: Duration| (timer.as_secs_f64() / tick).ceil().max(1.0) as u32;
        Ticks {
            first_byte: count(timeouts.first_byte),
            complete: count(timeouts.complete),
            read_stall: count(timeouts.read_stall),
            write_stall: count(timeouts.write_stall),
            floor: count(timeouts.floor),
            tell_after: timeouts.tell_after,
            tell_every: timeouts.tell_every,
            floor_seconds: timeouts.floor.as_secs_f64(),
            floor_rate: limits.floor_bytes_per_second as f64,
            relative_floor_rate: limits.relative_floor_bytes_per_second as f64,
            healthy_rate: limits.healthy_bytes_per_second as f64,
        }
    }
}

impl Ticks {
    /// How long an operation may make no progress before the log is told.
    pub(crate) fn tell_after(&self) -> Duration {
        self.tell_after
    }
}

/// How long an operation may go on without progress.
#[derive(Debug)]
pub(crate) struct Deadline {
    end: Instant,
    limit: Duration,
    /// New bytes after which it starts again; `None` = never.
    rearm_bytes: Option<u64>,
    fresh_bytes: u64,
    /// The furthest that any attempt got with sending; what is sent again is no progress.
    best_sent: u64,
    /// When the log was told last that nothing moves.
    told: Option<Instant>,
}

impl Deadline {
    /// A deadline that nothing moves.
    pub(crate) fn fixed(now: Instant, limit: Duration) -> Self {
        Deadline { end: now + limit, limit, rearm_bytes: None, fresh_bytes: 0, best_sent: 0, told: None }
    }

    /// A deadline that new bytes move.
    pub(crate) fn rearmed(now: Instant, limit: Duration, policy: &RetryPolicy) -> Self {
        Deadline { rearm_bytes: Some(policy.rearm_bytes), ..Deadline::fixed(now, limit) }
    }

    /// Puts it off: so much time passes as was wished.
    pub(crate) fn postpone(&mut self, by: Duration) {
        self.end += by;
    }

    /// When it ends.
    pub(crate) fn end(&self) -> Instant {
        self.end
    }

    /// Leaves a line in the log if it has been silent for long, and that was not told lately.
    pub(crate) fn tell_silence(&mut self, ticks: &Ticks, now: Instant, doing: &Doing<'_>, what: &str) {
        let Some(seconds) = self.silence_to_tell(ticks, now) else { return };
        let left = self.end.saturating_duration_since(now).as_secs_f64();
        logs::push(Level::Warning, "transport", doing.line(seconds, what, left));
    }

    /// Seconds without progress, if the log should be told now; it then counts as told.
    fn silence_to_tell(&mut self, ticks: &Ticks, now: Instant) -> Option<f64> {
        let since = self.limit.saturating_sub(self.end.saturating_duration_since(now));
        let is_due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= ticks.tell_every);
        (since >= ticks.tell_after && is_due).then(|| {
            self.told = Some(now);
            since.as_secs_f64()
        })
    }

    /// Counts new bytes of a body.
    fn progressed(&mut self, bytes: u64, clock: &dyn Clock) {
        let Some(enough) = self.rearm_bytes else { return };
        self.fresh_bytes += bytes;
        if self.fresh_bytes >= enough {
            self.fresh_bytes = 0;
            self.end = clock.now() + self.limit;
        }
    }
}

/// What is being waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The peer takes our request.
    Send,
    /// The first byte of the answer.
    FirstByte,
    /// More of the answer.
    Body,
}

/// The eyes of one exchange.
#[derive(Debug)]
pub(crate) struct Watch<'a> {
    /// The timers.
    pub(crate) ticks: &'a Ticks,
    /// Time.
    pub(crate) clock: &'a dyn Clock,
    /// The caller's way out.
    pub(crate) cancel: &'a Cancel,
    /// The operation's deadline.
    pub(crate) deadline: &'a mut Deadline,
    /// The process's counters: what the other connections achieve.
    pub(crate) stats: &'a Stats,
    /// The answer may take long to begin: CompleteMultipartUpload, DeleteMultipleObjects.
    pub(crate) slow_start: bool,
    /// What is being done, for the log.
    pub(crate) doing: Doing<'a>,
    /// Who waits for this exchange in the middle of another operation, and tells of it.
    pub(crate) asker: Option<Asker<'a>>,
    window: Window,
}

/// What an exchange is part of, for people.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Doing<'a> {
    /// The operation.
    pub(crate) subject: Subject<'a>,
    /// Which attempt it is, from 1 on.
    pub(crate) attempt: u32,
    /// What the attempt before failed with.
    pub(crate) last_cause: Option<&'a str>,
    /// Where others see it.
    pub(crate) place: Option<&'a Place<'a>>,
}

impl Doing<'_> {
    /// The line for an operation that has made no progress for `silence_seconds`.
    fn line(&self, silence_seconds: f64, now: &str, left_seconds: f64) -> String {
        let last = self.last_cause.unwrap_or("none");
        format!(
            "{}: no progress for {silence_seconds:.0} s: {now}; attempt {}, last cause: {last}; {left_seconds:.0} s \
             until the deadline",
            self.subject,
            self.attempt.max(1),
        )
    }
}

/// The stretch of time over which the floor is averaged.
#[derive(Debug, Default)]
struct Window {
    silent: u32,
    ticks: u32,
    bytes: u64,
    all_before: u64,
}

impl<'a> Watch<'a> {
    /// Begins to watch an exchange.
    pub(crate) fn new(
        ticks: &'a Ticks,
        clock: &'a dyn Clock,
        cancel: &'a Cancel,
        deadline: &'a mut Deadline,
        stats: &'a Stats,
        doing: Doing<'a>,
    ) -> Self {
        Watch {
            ticks,
            clock,
            cancel,
            deadline,
            stats,
            slow_start: false,
            doing,
            asker: None,
            window: Window::default(),
        }
    }

    /// `bytes` came or went; `whole` says that the call got all it asked for, so no tick passed.
    pub(crate) fn moved(&mut self, bytes: usize, whole: bool, phase: Phase) -> Result<(), Broken> {
        let counter = if phase == Phase::Send { Counter::BytesSent } else { Counter::BytesReceived };
        self.stats.add(counter, bytes as u64);
        if self.window.silent > 0 {
            self.window.silent = 0;
            self.show(None);
        }
        if let Some(place) = self.doing.place.filter(|_| phase == Phase::Body) {
            place.received(bytes);
        }
        if whole {
            self.window.ticks = 0;
            Ok(())
        } else {
            self.tick(bytes)
        }
    }

    /// New bytes of a body that is wanted came.
    pub(crate) fn progressed(&mut self, bytes: usize) {
        self.deadline.progressed(bytes as u64, self.clock);
    }

    /// The peer has taken the request up to `position`.
    pub(crate) fn sent_to(&mut self, position: usize) {
        let fresh = (position as u64).saturating_sub(self.deadline.best_sent);
        self.deadline.best_sent += fresh;
        self.deadline.progressed(fresh, self.clock);
    }

    /// A tick passed without a byte.
    pub(crate) fn silent(&mut self, phase: Phase) -> Result<(), Broken> {
        match phase {
            // Nothing is being transferred, so the floor has no say.
            Phase::FirstByte => self.look()?,
            Phase::Send | Phase::Body => self.tick(0)?,
        }
        if self.window.silent == 0 {
            self.show(Some(self.clock.now()));
        }
        self.window.silent += 1;
        let (most, broken) = match phase {
            Phase::Send => (self.ticks.write_stall, Broken::WriteStalled),
            Phase::FirstByte if self.slow_start => (self.ticks.complete, Broken::SilentAfterRequest),
            Phase::FirstByte => (self.ticks.first_byte, Broken::SilentAfterRequest),
            Phase::Body => (self.ticks.read_stall, Broken::ReadStalled),
        };
        if self.window.silent >= most { Err(broken) } else { Ok(()) }
    }

    /// The request is out: what follows is waiting for the first byte.
    pub(crate) fn turn(&mut self) {
        self.window = Window::default();
    }

    /// Looks around, as every tick does.
    pub(crate) fn look(&mut self) -> Result<(), Broken> {
        if self.cancel.is_cancelled() {
            return Err(Broken::Cancelled);
        }
        if let Some(asker) = &self.asker {
            asker.tell();
        }
        let now = self.clock.now();
        if self.window.silent > 0 {
            self.deadline.tell_silence(self.ticks, now, &self.doing, "nothing moves");
        }
        if now >= self.deadline.end { Err(Broken::Deadline) } else { Ok(()) }
    }

    /// Lets others see since when it is silent.
    fn show(&self, silent_since: Option<Instant>) {
        if let Some(place) = self.doing.place {
            place.silent(silent_since);
        }
    }

    fn tick(&mut self, bytes: usize) -> Result<(), Broken> {
        self.look()?;
        if self.window.ticks == 0 {
            self.window.bytes = 0;
            self.window.all_before = self.all_bytes();
        }
        self.window.ticks += 1;
        self.window.bytes += bytes as u64;
        if self.window.ticks < self.ticks.floor {
            return Ok(());
        }
        self.window.ticks = 0;
        if self.is_below_floor() { Err(Broken::TooSlow) } else { Ok(()) }
    }

    /// Whether this window's rate is below the floor, which is higher when the others do well: then it is
    /// this connection, not the link.
    fn is_below_floor(&self) -> bool {
        let own = self.window.bytes as f64 / self.ticks.floor_seconds;
        if own < self.ticks.floor_rate {
            return true;
        }
        let others = self.stats.sum(Counter::InFlight).saturating_sub(1);
        let theirs = self.all_bytes().wrapping_sub(self.window.all_before).saturating_sub(self.window.bytes);
        let average = theirs as f64 / self.ticks.floor_seconds / (others.max(1) as f64);
        own < self.ticks.relative_floor_rate && others > 0 && average >= self.ticks.healthy_rate
    }

    fn all_bytes(&self) -> u64 {
        self.stats.sum(Counter::BytesReceived).wrapping_add(self.stats.sum(Counter::BytesSent))
    }
}

#[cfg(test)]
mod tests {
    use oss_protocol::time::UtcTime;

    use super::*;
    use crate::clock::ManualClock;

    const NOBODY: Doing<'static> = Doing {
        subject: Subject { label: "test", bucket: None, key: None, range: None },
        attempt: 1,
        last_cause: None,
        place: None,
    };

    struct Stage {
        clock: ManualClock,
        ticks: Ticks,
        cancel: Cancel,
        stats: Stats,
    }

    impl Stage {
        fn new() -> Self {
            Stage {
                clock: ManualClock::new(UtcTime(0)),
                ticks: Ticks::new(&Timeouts::default(), &Limits::default()),
                cancel: Cancel::new(),
                stats: Stats::new(),
            }
        }

        /// Runs `ticks` ticks of one second that bring `bytes` each; the second of the end, and why.
        fn run(&self, seconds: u32, bytes: usize, others: u64) -> Option<(u32, Broken)> {
            let policy = RetryPolicy::default();
            let mut deadline = Deadline::rearmed(self.clock.now(), Duration::from_secs(180), &policy);
            let mut watch =
                Watch::new(&self.ticks, &self.clock, &self.cancel, &mut deadline, &self.stats, NOBODY);
            self.stats.add(Counter::InFlight, 2);
            for second in 1..=seconds {
                self.clock.advance(Duration::from_secs(1));
                self.stats.add(Counter::BytesReceived, others);
                let seen = match bytes {
                    0 => watch.silent(Phase::Body),
                    _ => {
                        watch.progressed(bytes);
                        watch.moved(bytes, false, Phase::Body)
                    }
                };
                if let Err(broken) = seen {
                    return Some((second, broken));
                }
            }
            None
        }
    }

    #[test]
    fn waiting_for_an_answer_to_begin_is_no_slow_transfer() {
        let stage = Stage::new();
        let mut deadline = Deadline::fixed(stage.clock.now(), Duration::from_secs(180));
        let mut watch =
            Watch::new(&stage.ticks, &stage.clock, &stage.cancel, &mut deadline, &stage.stats, NOBODY);
        watch.slow_start = true;
        let seen = (1..=180).find_map(|second| {
            stage.clock.advance(Duration::from_secs(1));
            watch.silent(Phase::FirstByte).err().map(|broken| (second, broken))
        });
        assert_eq!(seen, Some((60, Broken::SilentAfterRequest)), "twice the time of the floor");
    }

    #[test]
    fn silence_is_told_after_five_seconds_and_then_every_thirty() {
        let stage = Stage::new();
        let mut deadline = Deadline::fixed(stage.clock.now(), Duration::from_secs(180));
        let told: Vec<u32> = (1..=100)
            .filter(|_second| {
                stage.clock.advance(Duration::from_secs(1));
                deadline.silence_to_tell(&stage.ticks, stage.clock.now()).is_some()
            })
            .collect();
        assert_eq!(told, [5, 35, 65, 95]);
    }

    #[test]
    fn silence_ends_after_ten_ticks() {
        assert_eq!(Stage::new().run(60, 0, 0), Some((10, Broken::ReadStalled)));
    }

    #[test]
    fn a_trickle_ends_at_thirty_seconds() {
        assert_eq!(Stage::new().run(60, 1, 0), Some((30, Broken::TooSlow)));
    }

    #[test]
    fn slow_but_steady_goes_on_for_ever() {
        assert_eq!(Stage::new().run(3600, 20 * 1024, 0), None);
        assert_eq!(Stage::new().run(3600, 1100, 0), None, "above the floor, the deadline is moved in time");
    }

    #[test]
    fn slow_among_fast_ones_ends() {
        assert_eq!(Stage::new().run(3600, 8 * 1024, 1 << 20), Some((30, Broken::TooSlow)));
        assert_eq!(Stage::new().run(3600, 8 * 1024, 10 * 1024), None, "then it is the link");
    }

    #[test]
    fn a_cancel_is_seen_at_the_next_tick() {
        let stage = Stage::new();
        stage.cancel.cancel();
        assert_eq!(stage.run(5, 100, 0), Some((1, Broken::Cancelled)));
    }

    #[test]
    fn a_fixed_deadline_ends_whatever_comes() {
        let stage = Stage::new();
        let mut deadline = Deadline::fixed(stage.clock.now(), Duration::from_secs(3));
        let mut watch =
            Watch::new(&stage.ticks, &stage.clock, &stage.cancel, &mut deadline, &stage.stats, NOBODY);
        let seen = (1..10).find_map(|second| {
            stage.clock.advance(Duration::from_secs(1));
            watch.moved(1 << 20, false, Phase::Body).err().map(|broken| (second, broken))
        });
        assert_eq!(seen, Some((3, Broken::Deadline)));
    }
}
