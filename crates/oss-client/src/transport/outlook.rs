//! How a client of this process stands: its limits, connections, identity and clock, at this moment.

use super::Transport;

/// What is known without asking anybody.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outlook {
    /// Requests a second that succeeded lately.
    pub(crate) requests_per_second: f64,
    /// And that may go at most; None while nothing holds them back.
    pub(crate) requests_per_second_limit: Option<f64>,
    /// How long ago a refusal lowered that limit last.
    pub(crate) limit_lowered_seconds_ago: Option<f64>,
    /// Seconds until requests may go again.
    pub(crate) pause_seconds: f64,
    pub(crate) is_in_slow_mode: bool,
    pub(crate) retry_tokens: u64,
    pub(crate) retry_tokens_limit: u64,
    pub(crate) connections_in_use: u64,
    pub(crate) connections_idle: u64,
    pub(crate) credentials_source: String,
    pub(crate) credentials_expire_seconds: Option<f64>,
    /// How far the service's clock is ahead of ours.
    pub(crate) clock_offset_seconds: i64,
}

impl Transport {
    /// How it stands.
    pub(crate) fn outlook(&self) -> Outlook {
        let now = self.clock.clock().now();
        let (_, is_in_slow_mode, pause) = self.gate.pressure(now);
        let (retry_tokens, retry_tokens_limit) = self.gate.tokens();
        let (connections_in_use, connections_idle) = self.pool.fill();
        Outlook {
            requests_per_second: self.gate.admitted(now),
            requests_per_second_limit: self.gate.limit(),
            limit_lowered_seconds_ago: self.gate.lowered(now).map(|ago| ago.as_secs_f64()),
            pause_seconds: pause.as_secs_f64(),
            is_in_slow_mode,
            retry_tokens: retry_tokens.into(),
            retry_tokens_limit: retry_tokens_limit.into(),
            connections_in_use: connections_in_use as u64,
            connections_idle: connections_idle as u64,
            credentials_source: self.provider.source(),
            credentials_expire_seconds: self.credentials.expires_in(),
            clock_offset_seconds: self.clock.offset_seconds(),
        }
    }
}
