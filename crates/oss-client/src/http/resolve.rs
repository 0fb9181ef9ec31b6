//! Name lookup, on a thread of its own, remembered for a while.
//!
//! A lookup may hang far longer than anybody wants to wait, and cannot be stopped. So it runs on one
//! thread per host at a time; who asks waits for it a bounded time and otherwise uses an older answer.
//! Lock order: `hosts`, then the entry's `state`; neither is held during a lookup.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::config::Timeouts;
use crate::sync::{Arc, Condvar, Mutex, spawn};

/// Hosts remembered at most; each bucket is a host in virtual-hosted style.
const MAX_HOSTS: usize = 1024;
/// Waits are cut into slices, to notice a cancelled operation.
const SLICE: Duration = Duration::from_millis(50);

/// Why there is no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LookupFailure {
    /// The name does not exist.
    NoSuchName(String),
    /// It may exist; the lookup failed or took too long.
    Temporary(String),
    /// The caller gave up.
    Cancelled,
}

type Lookup = fn(&str) -> Result<Vec<IpAddr>, LookupFailure>;

/// Remembers the addresses of hosts.
#[derive(Debug)]
pub(super) struct Resolver {
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    lookup: Lookup,
}

#[derive(Debug, Default)]
struct Host {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    addresses: Vec<IpAddr>,
    answered_at: Option<Instant>,
    failure: Option<LookupFailure>,
    is_running: bool,
    /// Rises with every finished lookup.
    round: u64,
    /// Addresses that failed to connect, and when.
    bad: Vec<(IpAddr, Instant)>,
}

impl Resolver {
    /// Uses the system's lookup.
    pub(super) fn new() -> Self {
        Resolver::with_lookup(system_lookup)
    }

    /// Uses another lookup; for tests.
    pub(super) fn with_lookup(lookup: Lookup) -> Self {
        Resolver { hosts: Mutex::default(), lookup }
    }

    /// The addresses of `host`, those that failed to connect lately at the end; `until` says how long to wait at most,
    /// and is asked meanwhile whether to give up.
    pub(super) fn resolve(
        &self,
        (host, port): (&str, u16),
        timeouts: &Timeouts,
        clock: &Arc<dyn Clock>,
        until: (Instant, &mut dyn FnMut() -> bool),
    ) -> Result<Vec<SocketAddr>, LookupFailure> {
        let (end, is_given_up) = until;
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let entry = self.entry(host);
        let now = clock.now();
        let mut state = entry.state.lock();
        if !state.is_younger_than(timeouts.name_fresh, now) {
            let round = state.round;
            if !state.is_running {
                state.is_running = true;
                drop(state);
                self.start(host, &entry, Arc::clone(clock));
                state = entry.state.lock();
            }
            let end = end.min(now + timeouts.name_lookup);
            while state.round == round && clock.now() < end {
                drop(state);
                if is_given_up() {
                    return Err(LookupFailure::Cancelled);
                }
                state = entry.state.lock();
                if state.round != round {
                    break;
                }
                state = entry.answered.wait_for(state, SLICE.min(end.saturating_duration_since(clock.now())));
            }
        }
        let now = clock.now();
        if state.is_younger_than(timeouts.name_stale, now) {
            return Ok(state.ordered(port, now, timeouts.bad_address));
        }
        let slow = || LookupFailure::Temporary(format!("no answer for {host} in time"));
        Err(state.failure.clone().filter(|_| !state.is_running).unwrap_or_else(slow))
    }

    /// Remembers that an address failed to connect.
    pub(super) fn failed(&self, host: &str, address: IpAddr, now: Instant) {
        let entry = self.entry(host);
        let mut state = entry.state.lock();
        state.bad.retain(|(bad, _)| *bad != address);
        if state.bad.len() < 64 {
            state.bad.push((address, now));
        }
    }

    fn entry(&self, host: &str) -> Arc<Host> {
        let mut hosts = self.hosts.lock();
        if let Some(entry) = hosts.get(host) {
            return Arc::clone(entry);
        }
        if hosts.len() >= MAX_HOSTS {
            hosts.clear();
        }
        Arc::clone(hosts.entry(host.to_owned()).or_default())
    }

    /// Looks up on a thread; on this one if there can be none.
    fn start(&self, host: &str, entry: &Arc<Host>, clock: Arc<dyn Clock>) {
        let (lookup, name, target) = (self.lookup, host.to_owned(), Arc::clone(entry));
        let on_thread = Arc::clone(&clock);
        if spawn("oss-lookup", move || target.finish(lookup(&name), &*on_thread)).is_err() {
            entry.finish(lookup(host), &*clock);
        }
    }
}

impl Host {
    fn finish(&self, answer: Result<Vec<IpAddr>, LookupFailure>, clock: &dyn Clock) {
        let mut state = self.state.lock();
        state.is_running = false;
        state.round += 1;
        match answer {
            Ok(addresses) => {
                state.addresses = addresses;
                state.answered_at = Some(clock.now());
                state.failure = None;
            }
            Err(failure) => state.failure = Some(failure),
        }
        drop(state);
        self.answered.notify_all();
    }
}

impl State {
    fn is_younger_than(&self, age: Duration, now: Instant) -> bool {
        self.answered_at.is_some_and(|at| now.saturating_duration_since(at) < age)
    }

    fn ordered(&mut self, port: u16, now: Instant, bad_for: Duration) -> Vec<SocketAddr> {
        self.bad.retain(|(_, since)| now.saturating_duration_since(*since) < bad_for);
        let is_bad = |address: &IpAddr| self.bad.iter().any(|(bad, _)| bad == address);
        let (last, first): (Vec<IpAddr>, Vec<IpAddr>) = self.addresses.iter().copied().partition(is_bad);
        first.into_iter().chain(last).map(|address| SocketAddr::new(address, port)).collect()
    }
}

/// Asks the system. IPv4 first where a name has both: OSS answers there everywhere.
fn system_lookup(host: &str) -> Result<Vec<IpAddr>, LookupFailure> {
    let mut addresses: Vec<IpAddr> = match (host, 0).to_socket_addrs() {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(error) => return Err(classify(host, &error)),
    };
    addresses.sort_by_key(IpAddr::is_ipv6);
    addresses.dedup();
    if addresses.is_empty() {
        return Err(LookupFailure::Temporary(format!("the answer for {host} names no address")));
    }
    Ok(addresses)
}

/// Tells "no such name" from the rest. The standard library keeps getaddrinfo's number to itself, so its
/// words have to serve; a word we do not know counts as temporary, which only means more tries.
fn classify(host: &str, error: &io::Error) -> LookupFailure {
    const NO_SUCH_NAME: [&str; 4] = [
        "Name or service not known",
        "Name does not resolve",
        "nodename nor servname",
        "No address associated",
    ];
    let text = error.to_string();
    if NO_SUCH_NAME.iter().any(|words| text.contains(words)) {
        LookupFailure::NoSuchName(format!("there is no host named {host}"))
    } else {
        LookupFailure::Temporary(format!("the lookup of {host} failed ({text})"))
    }
}

#[cfg(test)]
mod tests {
    use oss_protocol::time::UtcTime;

    use super::*;
    use crate::clock::ManualClock;
    use crate::sync::atomic::{AtomicUsize, Ordering};

    fn resolve(resolver: &Resolver, clock: &Arc<dyn Clock>) -> Result<Vec<SocketAddr>, LookupFailure> {
        resolve_within(Duration::from_secs(3600), &Timeouts::default(), resolver, clock)
    }

    fn resolve_within(
        patience: Duration,
        timeouts: &Timeouts,
        resolver: &Resolver,
        clock: &Arc<dyn Clock>,
    ) -> Result<Vec<SocketAddr>, LookupFailure> {
        resolver.resolve(("host", 80), timeouts, clock, (clock.now() + patience, &mut || false))
    }

    fn addresses(octets: &[u8]) -> Vec<SocketAddr> {
        octets.iter().map(|octet| SocketAddr::from(([10, 0, 0, *octet], 80))).collect()
    }

    #[test]
    fn test_f03_answers_are_kept_and_stale_ones_used_when_the_lookup_fails() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        fn once(_host: &str) -> Result<Vec<IpAddr>, LookupFailure> {
            match CALLS.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(vec![IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])]),
                _ => Err(LookupFailure::Temporary("down".to_owned())),
            }
        }
        let manual = Arc::new(ManualClock::new(UtcTime(0)));
        let clock = Arc::clone(&manual) as Arc<dyn Clock>;
        let resolver = Resolver::with_lookup(once);
        assert_eq!(resolve(&resolver, &clock), Ok(addresses(&[1, 2])));
        assert_eq!(resolve(&resolver, &clock), Ok(addresses(&[1, 2])));
        assert_eq!(CALLS.load(Ordering::SeqCst), 1);
        resolver.failed("host", IpAddr::from([10, 0, 0, 1]), clock.now());
        assert_eq!(resolve(&resolver, &clock), Ok(addresses(&[2, 1])));
        manual.advance(Duration::from_secs(61));
        assert_eq!(
            resolve(&resolver, &clock),
            Ok(addresses(&[1, 2])),
            "stale, and no address is bad for ever"
        );
        manual.advance(Duration::from_secs(300));
        assert_eq!(resolve(&resolver, &clock), Err(LookupFailure::Temporary("down".to_owned())));
    }

    #[test]
    fn test_f96_a_lookup_that_hangs_holds_one_thread_a_host_and_an_older_answer_serves() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        fn first_then_hang(_host: &str) -> Result<Vec<IpAddr>, LookupFailure> {
            if CALLS.fetch_add(1, Ordering::SeqCst) > 0 {
                std::thread::park_timeout(Duration::from_secs(30));
            }
            Ok(vec![IpAddr::from([10, 0, 0, 1])])
        }
        let clock: Arc<dyn Clock> = Arc::new(crate::clock::SystemClock);
        let timeouts = Timeouts {
            name_lookup: Duration::from_millis(20),
            name_fresh: Duration::from_millis(1),
            ..Timeouts::default()
        };
        let resolver = Resolver::with_lookup(first_then_hang);
        let ask = || resolve_within(Duration::from_secs(3600), &timeouts, &resolver, &clock);
        assert_eq!(ask(), Ok(addresses(&[1])));
        clock.sleep_until(clock.now() + timeouts.name_fresh);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    (0..3).for_each(|_| assert_eq!(ask(), Ok(addresses(&[1])), "the older answer"));
                });
            }
        });
        assert_eq!(CALLS.load(Ordering::SeqCst), 2, "one that answered, one that hangs");
    }

    #[test]
    fn test_f96_a_lookup_that_hangs_does_not_hang_the_caller() {
        fn hang(_host: &str) -> Result<Vec<IpAddr>, LookupFailure> {
            std::thread::park_timeout(Duration::from_secs(30));
            Err(LookupFailure::Temporary("late".to_owned()))
        }
        let clock: Arc<dyn Clock> = Arc::new(crate::clock::SystemClock);
        let resolver = Resolver::with_lookup(hang);
        let usual = Timeouts::default();
        // The lookup's own patience, and an operation that has less.
        for (timeouts, patience) in
            [(usual.scaled(0.01), Duration::from_secs(60)), (usual, Duration::from_millis(50))]
        {
            let begun = clock.now();
            let outcome = resolve_within(patience, &timeouts, &resolver, &clock);
            assert!(matches!(outcome, Err(LookupFailure::Temporary(text)) if text.contains("in time")));
            assert!(clock.now() - begun < Duration::from_secs(3), "{:?}", clock.now() - begun);
        }
    }

    #[test]
    fn numbers_need_no_lookup() {
        fn never(_host: &str) -> Result<Vec<IpAddr>, LookupFailure> {
            Err(LookupFailure::NoSuchName("asked".to_owned()))
        }
        let clock: Arc<dyn Clock> = Arc::new(crate::clock::SystemClock);
        let resolver = Resolver::with_lookup(never);
        let until = (clock.now(), &mut (|| false) as &mut dyn FnMut() -> bool);
        let found = resolver.resolve(("::1", 9000), &Timeouts::default(), &clock, until);
        assert_eq!(found, Ok(vec!["[::1]:9000".parse().expect("an address")]));
    }
}
