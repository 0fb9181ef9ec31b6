//! What a long save or load says of itself: when a line is due, and how it reads. Pure.

use std::time::Duration;

use oss_protocol::uri::ObjectUri;

/// Ticks between two lines: 10 s, unless the timers are scaled. What takes less says nothing.
const TICKS: u32 = 10;

/// The lines of one save or load. Nothing wakes up for them: whoever waits looks at the clock anyhow.
#[derive(Debug)]
pub(crate) struct Lines {
    uri: ObjectUri,
    tell_every: Duration,
    /// How long it had taken at the last line.
    told: Duration,
}

impl Lines {
    /// Lines that are ten of `tick` apart.
    pub(crate) fn new(uri: &ObjectUri, tick: Duration) -> Self {
        Lines { uri: uri.clone(), tell_every: tick * TICKS, told: Duration::ZERO }
    }

    /// Whether a line is due when it has taken so long; it then counts as told.
    pub(crate) fn is_due(&mut self, took: Duration) -> bool {
        let is_due = took.saturating_sub(self.told) >= self.tell_every;
        if is_due {
            self.told = took;
        }
        is_due
    }

    /// Whether what took so long is worth a line at its end.
    pub(crate) fn is_long(&self, took: Duration) -> bool {
        took >= self.tell_every
    }

    /// What was moved until now, and how fast.
    #[expect(clippy::cast_precision_loss, reason = "a line for people")]
    pub(crate) fn line(&self, bytes: u64, took: Duration) -> String {
        let (size, seconds) = (bytes as f64, took.as_secs_f64());
        let rate = size / 1e9 / seconds.max(1e-9);
        format!("{}: {bytes} bytes in {seconds:.1} s ({rate:.3} GB/s)", self.uri)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn lines() -> Lines {
        Lines::new(&ObjectUri { bucket: "b".to_owned(), key: "k".to_owned() }, SECOND)
    }

    #[test]
    fn a_line_is_due_every_ten_ticks_and_not_made_up_for() {
        let mut lines = lines();
        let due: Vec<u32> = [0, 9, 10, 11, 19, 20, 55, 56, 64, 65]
            .into_iter()
            .filter(|&second| lines.is_due(second * SECOND))
            .collect();
        assert_eq!(due, [10, 20, 55, 65]);
        assert!(!lines.is_long(9 * SECOND) && lines.is_long(10 * SECOND));
    }

    #[test]
    fn a_line_says_how_much_and_how_fast() {
        assert_eq!(
            lines().line(3_000_000_000, 12 * SECOND),
            "oss://b/k: 3000000000 bytes in 12.0 s (0.250 GB/s)"
        );
        assert_eq!(lines().line(0, Duration::ZERO), "oss://b/k: 0 bytes in 0.0 s (0.000 GB/s)");
    }
}
