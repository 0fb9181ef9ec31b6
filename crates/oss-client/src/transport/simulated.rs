//! Days of mixed faults in simulated time: a service in memory that fails by a seed, and a clock that never waits.
//!
//! One thread reads one object after the other, as a dataset does; the network, the service, the source of the keys
//! and time are all here, so a day takes seconds and a seed gives the same day again. What the transport does about
//! a fault is the real thing, down to the signature of every attempt.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use oss_protocol::crc64::{Crc64, crc64};
use oss_protocol::http1::{Limits, RangeSpec, parse_range, parse_request_head};
use oss_protocol::sign::{Credentials, KeyLookup, Secret, VerifyPolicy, VerifyRequest, verify};
use oss_protocol::time::UtcTime;
use oss_protocol::uri::{Endpoint, ObjectUri};

use super::Transport;
use super::fetch::{BodySink, GetObject};
use crate::asker::Asker;
use crate::cancel::{Cancel, Interrupt};
use crate::clock::{Clock, SystemClock};
use crate::config::ClientConfig;
use crate::credentials::{CredentialsProvider, Fetched};
use crate::error::{Error, ErrorKind};
use crate::http::dial::{Dial, DialFailure, Look, Origin};
use crate::http::stream::{Stream, land};
use crate::lend::{Filled, Lend, Scratch};
use crate::random::Dice;
use crate::stats::Counter;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, Mutex};

const REGION: &str = "cn-hangzhou";
const TICK: Duration = Duration::from_secs(1);
/// From the end of a request to the first byte of its answer.
const LATENCY: Duration = Duration::from_millis(250);
const BYTES_PER_SECOND: f64 = 20e6;
/// Keys live for a quarter of an hour.
const KEYS_SECONDS: i64 = 900;
const LARGEST_OBJECT: usize = 16 * 1024;
const HOUR: Duration = Duration::from_secs(3600);

/// A clock that only moves when something here takes time, or when somebody waits.
#[derive(Debug)]
struct Simulated {
    begun: Instant,
    passed_ns: AtomicU64,
}

impl Simulated {
    fn advance(&self, by: Duration) {
        let nanoseconds = u64::try_from(by.as_nanos()).expect("five centuries at most");
        self.passed_ns.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn passed(&self) -> Duration {
        Duration::from_nanos(self.passed_ns.load(Ordering::Relaxed))
    }
}

impl Clock for Simulated {
    fn now(&self) -> Instant {
        self.begun + self.passed()
    }

    fn wall(&self) -> UtcTime {
        UtcTime(1_700_000_000 + i64::try_from(self.passed().as_secs()).expect("small"))
    }

    fn sleep_until(&self, moment: Instant) {
        self.advance(moment.saturating_duration_since(self.now()));
    }

    fn left_until(&self, moment: Instant) -> Duration {
        self.sleep_until(moment);
        Duration::ZERO
    }
}

/// How an answer ends: whole, or otherwise from this byte on.
#[derive(Debug, Clone, Copy)]
enum Ending {
    Whole,
    Reset(usize),
    Closed(usize),
    Stalled(usize),
}

/// What is around the client.
#[derive(Debug)]
struct World {
    clock: Simulated,
    dice: Dice,
    /// Every object is a piece of this.
    bytes: Vec<u8>,
    /// The keys that were given out: what they are called is their number; and when each ends.
    keys: Mutex<Vec<UtcTime>>,
    /// The service admits a request every so often in a wave of throttling.
    admitted: Mutex<Duration>,
}

impl World {
    fn new(seed: u64) -> Self {
        let dice = Dice::seeded(seed);
        let bytes = (0..LARGEST_OBJECT * 2).map(|_| (dice.unit() * 256.0) as u8).collect();
        let clock = Simulated { begun: SystemClock.now(), passed_ns: AtomicU64::new(0) };
        World { clock, dice, bytes, keys: Mutex::default(), admitted: Mutex::default() }
    }

    fn happens(&self, probability: f64) -> bool {
        self.dice.unit() < probability
    }

    fn below(&self, end: usize) -> usize {
        (self.dice.unit() * end as f64) as usize
    }

    /// Whether this moment lies in the first `length` seconds of a stretch that begins every `every` seconds.
    fn is_in(&self, every: u64, from: u64, length: u64) -> bool {
        let second = self.clock.passed().as_secs() % every;
        (from..from + length).contains(&second)
    }

    /// A minute and a half of every ninety minutes the service is away.
    fn is_away(&self) -> bool {
        self.is_in(5400, 3000, 90)
    }

    /// Three minutes of every twenty it admits a request every two seconds.
    fn is_throttled(&self) -> bool {
        let now = self.clock.passed();
        let mut admitted = self.admitted.lock();
        if !self.is_in(1200, 600, 180) {
            return false;
        }
        let is_refused = now < *admitted + Duration::from_secs(2);
        if !is_refused {
            *admitted = now;
        }
        is_refused
    }

    fn object(&self, number: usize) -> &[u8] {
        let size = 1 + number.wrapping_mul(7919) % LARGEST_OBJECT;
        let start = number.wrapping_mul(104_729) % LARGEST_OBJECT;
        &self.bytes[start..start + size]
    }

    /// The answer to a request, and how it ends.
    fn answer(&self, asked: &[u8]) -> (Vec<u8>, Ending) {
        let (head, _) = parse_request_head(asked, &Limits::default()).expect("a request").expect("whole");
        let number: usize =
            head.path().rsplit('/').next().and_then(|name| name.parse().ok()).expect("a number");
        let headers: Vec<_> = head.headers.iter().collect();
        let request = VerifyRequest {
            method: head.method,
            bucket: Some("bucket"),
            key: Some(&number.to_string()),
            raw_query: head.query().unwrap_or(""),
            headers: &headers,
        };
        let now = self.clock.wall();
        let policy = VerifyPolicy { region: REGION, product: "oss", now };
        if let Err(problem) = verify(&request, &policy, |id: &str| self.look_up(id, now)) {
            return (self.refusal(problem.status, problem.code, ""), Ending::Whole);
        }
        if self.is_throttled() {
            let delay =
                if self.happens(0.5) { "Retry-After: 1\r\n" } else { "x-oss-qos-delay-time: 700\r\n" };
            return (self.refusal(503, "SlowDown", delay), Ending::Whole);
        }
        if self.happens(0.02) {
            let (status, code) =
                [(500, "InternalError"), (502, ""), (503, "ServiceUnavailable"), (504, "")][self.below(4)];
            return (self.refusal(status, code, ""), Ending::Whole);
        }
        let answer = self.content(self.object(number), head.header("range"));
        let at = self.below(answer.len());
        let ending = match self.dice.unit() {
            x if x < 0.010 => Ending::Reset(at),
            x if x < 0.015 => Ending::Stalled(at),
            x if x < 0.018 => Ending::Closed(at),
            x if x < 0.020 => Ending::Stalled(0),
            _ => Ending::Whole,
        };
        (answer, ending)
    }

    fn look_up(&self, id: &str, now: UtcTime) -> KeyLookup {
        let keys = self.keys.lock();
        let ends = id.parse().ok().and_then(|number: usize| keys.get(number));
        match ends {
            None => KeyLookup::Unknown,
            Some(ends) if *ends <= now => KeyLookup::Expired,
            Some(_) => KeyLookup::Found(credentials(id)),
        }
    }

    fn content(&self, object: &[u8], range: Option<&str>) -> Vec<u8> {
        let total = object.len();
        let crc = crc64(object);
        let (status, body, more) = match range.map(parse_range) {
            None => ("200 OK", object, String::new()),
            Some(RangeSpec::Closed { start, end }) => {
                let (start, end) = (start as usize, (end as usize).min(total));
                let more = format!("Content-Range: bytes {start}-{}/{total}\r\n", end - 1);
                ("206 Partial Content", &object[start..end], more)
            }
            Some(other) => panic!("nobody asks for {other:?}"),
        };
        let mut body = body.to_vec();
        if self.happens(0.002) {
            let at = self.below(body.len());
            body[at] ^= 1 << self.below(8);
        }
        let date = self.clock.wall().to_http_date();
        let head = format!(
            "HTTP/1.1 {status}\r\nDate: {date}\r\nETag: \"{crc:016X}\"\r\nx-oss-hash-crc64ecma: {crc}\r\n{more}\
             x-oss-request-id: R\r\nContent-Length: {}\r\n\r\n",
            body.len(),
        );
        [head.into_bytes(), body].concat()
    }

    /// A refusal of the service, or without a code of something before it.
    fn refusal(&self, status: u16, code: &str, headers: &str) -> Vec<u8> {
        let body = if code.is_empty() {
            "<html>bad gateway</html>".to_owned()
        } else {
            format!("<Error><Code>{code}</Code><Message>m</Message><RequestId>R</RequestId></Error>")
        };
        let date = self.clock.wall().to_http_date();
        let length = body.len();
        format!("HTTP/1.1 {status} X\r\nDate: {date}\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    }
}

fn credentials(id: &str) -> Credentials {
    Credentials::new(id, Secret::new(format!("secret-of-{id}")), None)
}

/// The source of the keys: every tenth time it fails.
#[derive(Debug)]
struct Vault(Arc<World>);

impl CredentialsProvider for Vault {
    fn fetch_unless(&self, _asker: &Asker<'_>) -> Result<Fetched, Error> {
        self.0.clock.advance(Duration::from_millis(100));
        let mut keys = self.0.keys.lock();
        if !keys.is_empty() && self.0.happens(0.1) {
            return Err(Error::new(ErrorKind::Credentials, "credentials", "the vault is shut"));
        }
        let ends = UtcTime(self.0.clock.wall().0 + KEYS_SECONDS);
        keys.push(ends);
        let id = (keys.len() - 1).to_string();
        Ok(Fetched { credentials: Some(credentials(&id)), expires_at: Some(ends) })
    }

    fn source(&self) -> String {
        "the vault".to_owned()
    }
}

#[derive(Debug)]
struct Network(Arc<World>);

impl Dial for Network {
    fn dial(&self, _origin: &Origin, _end: Instant, _look: Look<'_>) -> Result<Box<dyn Stream>, DialFailure> {
        self.0.clock.advance(Duration::from_millis(10));
        if self.0.is_away() {
            return Err(DialFailure::Connect("refused".to_owned(), libc::ECONNREFUSED));
        }
        let world = Arc::clone(&self.0);
        Ok(Box::new(Wire { world, asked: Vec::new(), answer: Vec::new(), at: 0, ending: Ending::Whole }))
    }
}

/// A connection.
#[derive(Debug)]
struct Wire {
    world: Arc<World>,
    asked: Vec<u8>,
    answer: Vec<u8>,
    at: usize,
    ending: Ending,
}

impl Wire {
    /// As much of the answer as comes now, `most` bytes of it at most.
    fn receive(&mut self, most: usize) -> io::Result<&[u8]> {
        let clock = &self.world.clock;
        if self.world.is_away() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let end = match self.ending {
            Ending::Whole => self.answer.len(),
            Ending::Reset(at) | Ending::Closed(at) | Ending::Stalled(at) => at,
        };
        if self.at < end {
            let count = most.min(end - self.at);
            clock.advance(Duration::from_secs_f64(count as f64 / BYTES_PER_SECOND));
            self.at += count;
            return Ok(&self.answer[self.at - count..self.at]);
        }
        match self.ending {
            Ending::Reset(_) => Err(io::ErrorKind::ConnectionReset.into()),
            Ending::Closed(_) => Ok(&[]),
            Ending::Whole | Ending::Stalled(_) => {
                clock.advance(TICK);
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }
}

struct Nobody;

impl Interrupt for Nobody {
    fn interrupt(&self) {}
}

impl Stream for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let came = self.receive(into.len())?;
        into[..came.len()].copy_from_slice(came);
        Ok(came.len())
    }

    fn fill(&mut self, into: &mut [MaybeUninit<u8>], crc: Option<&mut Crc64>) -> io::Result<usize> {
        let came = self.receive(into.len())?;
        Ok(land(came, into, crc))
    }

    fn send(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.world.is_away() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        pieces.iter().for_each(|piece| self.asked.extend_from_slice(piece));
        if self.asked.ends_with(b"\r\n\r\n") {
            let asked = std::mem::take(&mut self.asked);
            (self.answer, self.ending) = self.world.answer(&asked);
            self.at = 0;
            self.world.clock.advance(LATENCY);
        }
        Ok(pieces.iter().map(|piece| piece.len()).sum())
    }

    fn is_quiet(&mut self) -> bool {
        // Now and then the service closes what was idle.
        !self.world.happens(0.01)
    }

    fn has_answer(&mut self) -> bool {
        false
    }

    fn interrupt_handle(&self) -> Arc<dyn Interrupt> {
        Arc::new(Nobody)
    }
}

/// Memory that takes a body.
#[derive(Default)]
struct Memory(Scratch, usize);

impl BodySink for Memory {
    fn begin(&mut self, body_bytes: u64) -> Result<(), Error> {
        self.1 = usize::try_from(body_bytes).expect("small");
        assert!(self.0.reserve(self.1), "there is memory");
        Ok(())
    }

    fn memory(&mut self, received: u64) -> &mut [MaybeUninit<u8>] {
        &mut self.0.memory()[usize::try_from(received).expect("small")..]
    }
}

/// Reads one object after the other for so long.
fn live_through(time: Duration, seed: u64) {
    let world = Arc::new(World::new(seed));
    let clock: Arc<dyn Clock> = Arc::new(Shared(Arc::clone(&world)));
    let config = ClientConfig::new(Endpoint::parse("http://127.0.0.1:9000").expect("an endpoint"), REGION);
    let longest = config.timeouts.deadline.mul_f64(1.1);
    let mut transport = Transport::new(Arc::new(config), Arc::new(Vault(Arc::clone(&world))), clock);
    transport.dial = Box::new(Network(Arc::clone(&world)));
    transport.dice = Dice::seeded(!seed);
    let mut number = 0;
    while world.clock.passed() < time {
        let begun = world.clock.passed();
        let uri = ObjectUri::parse(&format!("oss://bucket/{number}")).expect("a location");
        let mut memory = Memory::default();
        let outcome = transport.fetch(&GetObject::whole(&uri), &mut memory, &Cancel::new());
        let took = world.clock.passed() - begun;
        let at = format!("seed {seed}, object {number}, {begun:?} after the beginning, {took:?}");
        assert!(took <= longest, "{at}");
        let got = outcome.unwrap_or_else(|error| panic!("{at}: {error}"));
        let Memory(scratch, size) = memory;
        assert_eq!(scratch.into_filled(Filled(size)), world.object(number), "{at}: {got:?}");
        number += 1;
    }
    check_what_was_counted(&transport, &world, time, number);
}

fn check_what_was_counted(transport: &Transport, world: &World, time: Duration, objects: usize) {
    let count = |counter| transport.stats.sum(counter);
    for (name, counter) in [
        ("connect", Counter::RetriesConnect),
        ("broken", Counter::RetriesBroken),
        ("timeout", Counter::RetriesTimeout),
        ("server", Counter::RetriesServer),
        ("throttled", Counter::RetriesThrottled),
        ("integrity", Counter::RetriesIntegrity),
    ] {
        assert!(count(counter) > 0, "nothing was survived of the kind {name}");
    }
    assert_eq!(count(Counter::InFlight), 0);
    let hours = time.as_secs_f64() / HOUR.as_secs_f64();
    assert!(objects as f64 > hours * 5000.0, "{objects} objects in {hours} hours");
    // A set lives for 15 minutes and is renewed in the last three of them.
    let keys = world.keys.lock().len() as f64;
    assert!((hours * 4.0..hours * 6.0 + 2.0).contains(&keys), "{keys} sets of keys in {hours} hours");
}

/// The world's clock, as the transport holds it.
#[derive(Debug)]
struct Shared(Arc<World>);

impl Clock for Shared {
    fn now(&self) -> Instant {
        self.0.clock.now()
    }

    fn wall(&self) -> UtcTime {
        self.0.clock.wall()
    }

    fn sleep_until(&self, moment: Instant) {
        self.0.clock.sleep_until(moment);
    }

    fn left_until(&self, moment: Instant) -> Duration {
        self.0.clock.left_until(moment)
    }
}

#[test]
fn test_f92_an_hour_of_mixed_faults_loses_doubles_and_delays_nothing() {
    live_through(HOUR, 92);
}

#[test]
#[ignore = "`make soak`: a minute"]
fn test_f92_three_days_of_mixed_faults_lose_double_and_delay_nothing() {
    let seed = u64::try_from(SystemClock.wall().0).expect("after 1970");
    for day in 0..3 {
        live_through(24 * HOUR, seed + day);
    }
}
