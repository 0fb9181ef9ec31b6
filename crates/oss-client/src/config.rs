//! Every default and bound of the client, once.
//!
//! A [`ClientConfig`] is a frozen value. It is made from an endpoint, a region and flat options (name to
//! number, text or truth), which is what the Python side passes on; options that nobody gave keep the
//! defaults written here. All timers are fields, so that a test runs the same code at 1/100 scale.

mod environment;
mod options;
pub(crate) mod proxy;

use std::path::PathBuf;
use std::time::Duration;

pub(crate) use environment::is_metadata_address;
pub use environment::{Place, environment_variable, resolve};
pub use options::{OptionValue, option_names};
use oss_protocol::uri::{Addressing, Endpoint};
pub use proxy::{Proxy, ProxyChoice};

/// The two kinds of timers, deadlines and stalls (`faults.md`, 2.1). There is never a total timer on a
/// body that progresses.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeouts {
    /// How long one operation may go without progress: 180 s. Always finite.
    pub deadline: Duration,
    /// Wait on the resolver thread: 5 s.
    pub name_lookup: Duration,
    /// One connect attempt, divided over at most three addresses: 5 s.
    pub connect: Duration,
    /// What an address gets at least of `connect`: 1.5 s.
    pub connect_per_address: Duration,
    /// TLS handshake after connect: 10 s.
    pub tls_handshake: Duration,
    /// Connect-class failures of an endpoint that never answered this process end after 15 s.
    pub first_contact: Duration,
    /// From the last request byte to the first response byte: 15 s.
    pub first_byte: Duration,
    /// The same for CompleteMultipartUpload and DeleteMultipleObjects: 60 s.
    pub complete: Duration,
    /// The answer of a credentials provider in Python, which may ask a vault far away: 30 s.
    pub provider: Duration,
    /// No byte received: 10 s.
    pub read_stall: Duration,
    /// The peer takes no byte: 10 s.
    pub write_stall: Duration,
    /// The time over which the floor is averaged: 30 s.
    pub floor: Duration,
    /// A pooled connection older than this is closed, not reused: 30 s.
    pub idle: Duration,
    /// A connection idle for longer is looked at before reuse: 1 s.
    pub peek_after: Duration,
    /// Effort to abort an upload: 5 s.
    pub abort: Duration,
    /// What settling an ambiguous publication gets at least: 30 s.
    pub settle: Duration,
    /// An operation without progress for 5 s says so in the log.
    pub tell_after: Duration,
    /// And again every 30 s.
    pub tell_every: Duration,
    /// `SO_RCVTIMEO` and `SO_SNDTIMEO`: the beat at which a waiting worker looks around, 1 s.
    pub tick: Duration,
    /// How long answers of the name lookup live: 30 s.
    pub name_fresh: Duration,
    /// How old an answer may be when the lookup fails: 300 s.
    pub name_stale: Duration,
    /// An address that failed to connect is tried last for 60 s.
    pub bad_address: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Timeouts {
            deadline: seconds(180),
            name_lookup: seconds(5),
            connect: seconds(5),
            connect_per_address: Duration::from_millis(1500),
            tls_handshake: seconds(10),
            first_contact: seconds(15),
            first_byte: seconds(15),
            complete: seconds(60),
            provider: seconds(30),
            read_stall: seconds(10),
            write_stall: seconds(10),
            floor: seconds(30),
            idle: seconds(30),
            peek_after: seconds(1),
            abort: seconds(5),
            settle: seconds(30),
            tell_after: seconds(5),
            tell_every: seconds(30),
            tick: seconds(1),
            name_fresh: seconds(30),
            name_stale: seconds(300),
            bad_address: seconds(60),
        }
    }
}

impl Timeouts {
    /// All timers multiplied by `factor`; for tests that run the real code faster.
    #[must_use]
    pub fn scaled(&self, factor: f64) -> Self {
        let mut scaled = self.clone();
        for timer in scaled.all_mut() {
            *timer = timer.mul_f64(factor);
        }
        scaled
    }

    fn all_mut(&mut self) -> [&mut Duration; 22] {
        [
            &mut self.deadline,
            &mut self.name_lookup,
            &mut self.connect,
            &mut self.connect_per_address,
            &mut self.tls_handshake,
            &mut self.first_contact,
            &mut self.first_byte,
            &mut self.complete,
            &mut self.provider,
            &mut self.read_stall,
            &mut self.write_stall,
            &mut self.floor,
            &mut self.idle,
            &mut self.peek_after,
            &mut self.abort,
            &mut self.settle,
            &mut self.tell_after,
            &mut self.tell_every,
            &mut self.tick,
            &mut self.name_fresh,
            &mut self.name_stale,
            &mut self.bad_address,
        ]
    }
}

/// When and how often a request is repeated (`faults.md`, 2.2 to 2.5).
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// First pause's bound: 100 ms, doubling.
    pub base: Duration,
    /// Largest bound of a pause: 10 s.
    pub cap: Duration,
    /// Retries with full jitter before equal jitter takes over: 5.
    pub full_jitter_retries: u32,
    /// Refetches after a checksum that differs: 3.
    pub integrity_retries: u32,
    /// Repetitions after an answer that makes no sense: 3.
    pub protocol_retries: u32,
    /// Tries for a name that does not exist: 2.
    pub no_such_name_tries: u32,
    /// Tokens of the retry budget: 500.
    pub budget_tokens: u32,
    /// What a retry costs: 5.
    pub retry_tokens: u32,
    /// What a retry after a timeout costs: 10.
    pub timeout_tokens: u32,
    /// Requests per second of the whole process in slow mode: 2.
    pub slow_mode_rate: f64,
    /// Longest pause that a service may ask for: 30 s.
    pub longest_hint: Duration,
    /// New bytes that reset the exponent of the pauses: 1 MiB.
    pub reset_bytes: u64,
    /// New bytes after which a read's deadline starts again: 128 KiB.
    ///
    /// The slowest body the floor lets live (1 KiB/s) brings 180 KiB within the default deadline of 180 s,
    /// so it can never run into it; 128 KiB leaves some room. A trickle of a few bytes a second cannot
    /// keep an operation alive for ever.
    pub rearm_bytes: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            base: Duration::from_millis(100),
            cap: Duration::from_secs(10),
            full_jitter_retries: 5,
            integrity_retries: 3,
            protocol_retries: 3,
            no_such_name_tries: 2,
            budget_tokens: 500,
            retry_tokens: 5,
            timeout_tokens: 10,
            slow_mode_rate: 2.0,
            longest_hint: Duration::from_secs(30),
            reset_bytes: 1 << 20,
            rearm_bytes: 128 << 10,
        }
    }
}

/// Bounds on what runs at once and on what is kept in memory. `None` = the engine finds its own level.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Hard bound of requests in flight, and of connections, in a process: 256.
    pub max_concurrency: u64,
    /// The user's upper bound for datasets.
    pub dataset_max_concurrency: Option<u64>,
    /// The user's upper bound for the ranges of one reader.
    pub checkpoint_max_concurrency: Option<u64>,
    /// The user's upper bound for the parts of one writer.
    pub upload_max_concurrency: Option<u64>,
    /// The user's upper bound for parallel listing: 16.
    pub list_max_concurrency: u64,
    /// Requests per second of the whole job; the caller divides it.
    pub max_requests_per_second: Option<f64>,
    /// Bytes in flight when reading: 64 MiB.
    pub max_bytes_in_flight: u64,
    /// The user's lower bound for the ranges that a reader asks for.
    pub min_range_bytes: Option<u64>,
    /// First part size of an upload: 16 MiB.
    pub part_size_bytes: u64,
    /// Upper bound of the buffers of one writer, and so twice that of a part; `None` = 256 MiB or two parts.
    pub upload_buffer_bytes: Option<u64>,
    /// Below this rate a body is given up: 1 KiB/s.
    pub floor_bytes_per_second: u64,
    /// Below this rate it is given up if the other connections do well: 16 KiB/s.
    pub relative_floor_bytes_per_second: u64,
    /// What doing well means: 64 KiB/s on average.
    pub healthy_bytes_per_second: u64,
}

impl Limits {
    /// Threads of a process that make requests: each has one in flight.
    pub fn most_threads(&self) -> usize {
        usize::try_from(self.max_concurrency).unwrap_or(usize::MAX)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_concurrency: 256,
            dataset_max_concurrency: None,
            checkpoint_max_concurrency: None,
            upload_max_concurrency: None,
            list_max_concurrency: 16,
            max_requests_per_second: None,
            max_bytes_in_flight: 64 << 20,
            min_range_bytes: None,
            part_size_bytes: 16 << 20,
            upload_buffer_bytes: None,
            floor_bytes_per_second: 1 << 10,
            relative_floor_bytes_per_second: 16 << 10,
            healthy_bytes_per_second: 64 << 10,
        }
    }
}

/// What is done with the checksums the service keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Compared where the service has one; counted as unchecked where it has none.
    #[default]
    Check,
    /// A missing checksum is an error.
    Require,
    /// Never compared.
    Off,
}

/// Which requests the log hears of; by default none that goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Telling {
    /// One DEBUG line for each.
    pub requests: bool,
    /// An audit line for each, but for whole objects that were read quickly.
    pub audit: bool,
    /// For those as well.
    pub audit_all: bool,
}

/// Everything a client needs to know, apart from its credentials.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientConfig {
    /// Where the service is.
    pub endpoint: Endpoint,
    /// Signing region, such as `cn-hangzhou`.
    pub region: String,
    /// How a bucket is written into the request.
    pub addressing: Addressing,
    /// Timers.
    pub timeouts: Timeouts,
    /// Repetition.
    pub retry: RetryPolicy,
    /// Bounds.
    pub limits: Limits,
    /// Checksums.
    pub verify: Verify,
    /// Which requests are logged.
    pub telling: Telling,
    /// PEM file of the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What was said about a proxy.
    pub proxy_choice: ProxyChoice,
    /// The proxy that requests take.
    pub proxy: Option<Proxy>,
    /// Refuse clear-text endpoints.
    pub require_https: bool,
    /// Allow listing over key ranges in parallel.
    pub fast_list: bool,
    /// Value of the `User-Agent` header.
    pub user_agent: String,
    /// One line for every option that was changed to fit its bounds; the caller shows them once.
    pub notes: Vec<String>,
}

impl ClientConfig {
    /// A configuration with all defaults for `endpoint` and `region`.
    pub fn new(endpoint: Endpoint, region: impl Into<String>) -> Self {
        ClientConfig {
            endpoint,
            region: region.into(),
            addressing: Addressing::Auto,
            timeouts: Timeouts::default(),
            retry: RetryPolicy::default(),
            limits: Limits::default(),
            verify: Verify::Check,
            telling: Telling::default(),
            ca_file: None,
            proxy_choice: ProxyChoice::Environment,
            proxy: None,
            require_https: false,
            fast_list: false,
            user_agent: concat!("osstorchconnector/", env!("CARGO_PKG_VERSION")).to_owned(),
            notes: Vec::new(),
        }
    }
}
