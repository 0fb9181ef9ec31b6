//! Slowness: how many requests are admitted, how fast bytes flow, how long the first one takes.

use std::sync::Mutex;
use std::time::Duration;

use serde::Deserialize;

use crate::locks::lock;
use crate::refusal::{Refusal, usual_code};
use crate::rules::action::{Admit, Throttle};

/// Share of a second's requests that may come at once after a pause, unless `burst` says more.
const DEFAULT_BURST_SECONDS: f64 = 0.2;

/// A leaky bucket of requests, and how those above it are answered.
#[derive(Debug)]
pub(crate) struct Admission {
    throttle: Throttle,
    level: Mutex<(f64, Duration)>,
}

impl Admission {
    /// Makes a full bucket.
    pub(crate) fn of(admit: &Admit) -> Self {
        let throttle = match admit {
            Admit::Full(throttle) => throttle.clone(),
            Admit::Rate(rps) => Throttle {
                rps: *rps,
                burst: None,
                status: None,
                code: None,
                qos_delay_ms: None,
                retry_after: None,
            },
        };
        let level = Mutex::new((burst(&throttle), Duration::ZERO));
        Self { throttle, level }
    }

    /// Admits a request that arrives at `now` (since the emulator's start), or says how it is
    /// refused.
    ///
    /// # Errors
    /// 503 TotalQpsLimitExceeded or 429 QpsLimitExceeded, as configured.
    pub(crate) fn admit(&self, now: Duration) -> Result<(), Refusal> {
        let mut level = lock(&self.level);
        let (tokens, last) = *level;
        let earned = now.saturating_sub(last).as_secs_f64() * self.throttle.rps;
        let tokens = (tokens + earned).min(burst(&self.throttle));
        *level = (if tokens >= 1.0 { tokens - 1.0 } else { tokens }, now.max(last));
        if tokens >= 1.0 { Ok(()) } else { Err(self.refusal()) }
    }

    fn refusal(&self) -> Refusal {
        let status = self.throttle.status.unwrap_or(503);
        let usual = if status == 503 { "TotalQpsLimitExceeded" } else { usual_code(status) };
        let code = self.throttle.code.as_deref().unwrap_or(usual);
        let message = "Please reduce your request rate.";
        let mut refusal = Refusal::new(status, code, message);
        if let Some(delay) = self.throttle.qos_delay_ms {
            refusal = refusal.header("x-oss-qos-delay-time", delay.to_string());
        }
        if let Some(after) = &self.throttle.retry_after {
            refusal = refusal.header("Retry-After", after.clone());
        }
        refusal
    }
}

fn burst(throttle: &Throttle) -> f64 {
    throttle.burst.unwrap_or(throttle.rps * DEFAULT_BURST_SECONDS).max(1.0)
}

/// Slowness of the whole emulator, as `POST /_emulator/shape` sets it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ShapeText {
    first_byte_ms: f64,
    rate_bytes_per_second: Option<f64>,
    admit_rps: Option<Admit>,
    idle_close_ms: Option<f64>,
    accept_ms: f64,
}

/// The shape in force.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    /// From the end of the request's head to the first byte of the answer, at least.
    pub(crate) first_byte: Duration,
    /// Bandwidth of each connection, bytes a second in each direction.
    pub(crate) rate_bytes_per_second: Option<u64>,
    /// Requests admitted.
    pub(crate) admission: Option<Admission>,
    /// An idle connection is closed after that long.
    pub(crate) idle_close: Option<Duration>,
    /// Pause before a new connection is accepted.
    pub(crate) accept_pause: Duration,
}

impl From<ShapeText> for Shape {
    fn from(text: ShapeText) -> Self {
        Self {
            first_byte: millis(text.first_byte_ms),
            rate_bytes_per_second: text
                .rate_bytes_per_second
                .map(|rate| rate as u64)
                .filter(|rate| *rate > 0),
            admission: text.admit_rps.as_ref().map(Admission::of),
            idle_close: text.idle_close_ms.map(millis),
            accept_pause: millis(text.accept_ms),
        }
    }
}

fn millis(value: f64) -> Duration {
    Duration::try_from_secs_f64(value / 1000.0).unwrap_or_default()
}

/// Longest stretch moved at once on a paced connection: 2.6 ms of 100 MB/s. Each costs a timer and two switches of
/// threads.
const MAX_SLICE_BYTES: u64 = 256 * 1024;

/// Spreads bytes evenly over time.
#[derive(Debug)]
pub(crate) struct Pacer {
    bytes_per_second: u64,
    sent: u64,
    begun: Duration,
}

impl Pacer {
    /// Begins to count at `now`.
    pub(crate) fn new(bytes_per_second: u64, now: Duration) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), sent: 0, begun: now }
    }

    /// Bytes to move at once: about a hundredth of a second's worth.
    pub(crate) fn slice_bytes(&self) -> usize {
        usize::try_from((self.bytes_per_second / 100).clamp(1, MAX_SLICE_BYTES)).unwrap_or(1)
    }

    /// Counts bytes that are about to move and says how long to wait first.
    pub(crate) fn wait(&mut self, bytes: usize, now: Duration) -> Duration {
        self.sent += bytes as u64;
        let due = self.begun + Duration::from_secs_f64(self.sent as f64 / self.bytes_per_second as f64);
        due.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn admission_keeps_its_rate_and_refuses_the_rest() {
        let admission = Admission::of(&Admit::Rate(10.0));
        let admitted = (0..1000).filter(|ms| admission.admit(at(*ms)).is_ok()).count();
        assert!((11..=12).contains(&admitted), "{admitted}");
        let refusal = admission.admit(at(1000)).and(admission.admit(at(1000))).unwrap_err();
        assert_eq!((refusal.status, refusal.code.as_str()), (503, "TotalQpsLimitExceeded"));
    }

    #[test]
    fn admission_answers_as_told() {
        let throttle = serde_json::json!({"rps": 1, "status": 429, "qos_delay_ms": 250, "retry_after": "-5"});
        let admission = Admission::of(&serde_json::from_value::<Admit>(throttle).unwrap());
        assert!(admission.admit(at(0)).is_ok());
        let refusal = admission.admit(at(0)).unwrap_err();
        assert_eq!((refusal.status, refusal.code.as_str()), (429, "QpsLimitExceeded"));
        assert!(refusal.headers.contains(&("x-oss-qos-delay-time".to_owned(), "250".to_owned())));
        assert!(refusal.headers.contains(&("Retry-After".to_owned(), "-5".to_owned())));
    }

    #[test]
    fn a_pacer_spreads_bytes_over_time() {
        let mut pacer = Pacer::new(1000, at(0));
        assert_eq!(pacer.slice_bytes(), 10);
        assert_eq!(pacer.wait(500, at(0)), at(500));
        assert_eq!(pacer.wait(500, at(900)), at(100));
        assert_eq!(pacer.wait(0, at(2000)), at(0));
    }
}
