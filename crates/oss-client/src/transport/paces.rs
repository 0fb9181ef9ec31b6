//! Clients of one process that have the same endpoint and the same bound of the user share a pace: the bound is meant for
//! the job, and a job that trains, evaluates and saves has several clients.
//!
//! Without a bound each client finds a pace by what it is refused itself, as processes do.

use std::fmt;

use super::pacer::Pacer;
use crate::clock::Clock;
use crate::config::ClientConfig;
use crate::fork::ForkCell;
use crate::sync::{Arc, Mutex, OnceLock, Weak};

/// What clients that share a pace have in common; a pace counts by one clock.
#[derive(PartialEq)]
struct Common {
    endpoint: String,
    bound: f64,
    clock: usize,
}

#[derive(Default)]
struct Paces(Mutex<Vec<(Common, Weak<Mutex<Pacer>>)>>);

impl fmt::Debug for Paces {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Paces")
    }
}

static PACES: OnceLock<ForkCell<Paces>> = OnceLock::new();

/// The pace for a client of this configuration in this process.
pub(super) fn pace_of(config: &ClientConfig, clock: &Arc<dyn Clock>) -> Arc<Mutex<Pacer>> {
    let limit = config.limits.max_requests_per_second;
    let own = || Arc::new(Mutex::new(Pacer::new(limit, clock.now())));
    let (Some(bound), Some(paces)) = (limit, PACES.get_or_init(ForkCell::new).get(Paces::default)) else {
        return own();
    };
    let clock = Arc::as_ptr(clock).cast::<()>() as usize;
    let common = Common { endpoint: config.endpoint.to_string(), bound, clock };
    let mut known = paces.0.lock();
    // A clock that is gone is nobody's any more, whoever lies at its place: its clients went with it.
    known.retain(|(_, pace)| pace.strong_count() > 0);
    if let Some(pace) = known.iter().find(|(of, _)| *of == common).and_then(|(_, pace)| pace.upgrade()) {
        return pace;
    }
    let pace = own();
    known.push((common, Arc::downgrade(&pace)));
    pace
}

#[cfg(test)]
mod tests {
    use oss_protocol::time::UtcTime;
    use oss_protocol::uri::Endpoint;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn clients_with_the_same_endpoint_and_bound_share_a_pace() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(UtcTime(0)));
        let other_clock: Arc<dyn Clock> = Arc::new(ManualClock::new(UtcTime(0)));
        let config = |host: &str, bound: Option<f64>| {
            let endpoint = Endpoint::parse(&format!("http://{host}:8080")).expect("an endpoint");
            let mut config = ClientConfig::new(endpoint, "cn-local");
            config.limits.max_requests_per_second = bound;
            config
        };
        let train = pace_of(&config("10.0.0.1", Some(100.0)), &clock);
        assert!(Arc::ptr_eq(&train, &pace_of(&config("10.0.0.1", Some(100.0)), &clock)));
        for (host, bound, clock) in [
            ("10.0.0.2", Some(100.0), &clock),
            ("10.0.0.1", Some(50.0), &clock),
            ("10.0.0.1", None, &clock),
            ("10.0.0.1", Some(100.0), &other_clock),
        ] {
            assert!(!Arc::ptr_eq(&train, &pace_of(&config(host, bound), clock)), "{host} {bound:?}");
        }
        let before = Arc::downgrade(&train);
        drop(train);
        assert!(before.upgrade().is_none(), "nobody keeps it");
    }
}
