//! Clients of one process that meet the same limit keep to one pace: a job that trains, evaluates and saves has
//! several.
//!
//! The bound of the user is meant for the job, so those with the same endpoint and the same bound share it. Without one
//! the service limits an account, so those with the same endpoint and the same account share what they find by being
//! refused; processes find it each for itself.
//!
//! The account is known by the id of a key that lasts. Keys of a role are drawn anew by each client and at each
//! refresh, so there it is their source, which names the role, the file or the class of the provider.

use std::fmt;
use std::time::Instant;

use oss_protocol::sign::Credentials;

use super::pace::Pace;
use crate::clock::Clock;
use crate::config::ClientConfig;
use crate::fork::ForkCell;
use crate::sync::{Arc, Mutex, Weak};

/// What clients that share a pace have in common; a pace counts by one clock. No secret is in it.
#[derive(PartialEq)]
struct Common {
    endpoint: String,
    limit: Limit,
    clock: usize,
}

/// Whose limit it is.
#[derive(PartialEq)]
enum Limit {
    OfUser(f64),
    OfAccount(Account),
}

/// Who is limited.
#[derive(PartialEq)]
enum Account {
    Nobody,
    Key(String),
    Source(String),
}

#[derive(Default)]
struct Paces(Mutex<Vec<(Common, Weak<Pace>)>>);

impl fmt::Debug for Paces {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Paces")
    }
}

static PACES: ForkCell<Paces> = ForkCell::new();

/// The pace for a client with a bound of the user, in this process; None without a bound.
pub(super) fn within_bound(config: &ClientConfig, clock: &dyn Clock) -> Option<Arc<Pace>> {
    let bound = config.limits.max_requests_per_second?;
    Some(shared(config, Limit::OfUser(bound), clock))
}

/// The pace for a client without a bound, in this process, once it is known who asks: `credentials` of `source`, or
/// nobody.
pub(super) fn of_account(
    config: &ClientConfig,
    credentials: Option<&Credentials>,
    source: impl FnOnce() -> String,
    clock: &dyn Clock,
) -> Arc<Pace> {
    let account = match credentials {
        None => Account::Nobody,
        Some(Credentials { security_token: None, access_key_id, .. }) => Account::Key(access_key_id.clone()),
        Some(_) => Account::Source(source()),
    };
    shared(config, Limit::OfAccount(account), clock)
}

fn shared(config: &ClientConfig, limit: Limit, clock: &dyn Clock) -> Arc<Pace> {
    let (bound, now) = (config.limits.max_requests_per_second, clock.now());
    let Some(paces) = PACES.get(Paces::default) else { return new(bound, now) };
    let clock = std::ptr::from_ref(clock).cast::<()>() as usize;
    let common = Common { endpoint: config.endpoint.to_string(), limit, clock };
    let mut known = paces.0.lock();
    // A clock that is gone is nobody's any more, whoever lies at its place: its clients went with it.
    known.retain(|(_, pace)| pace.strong_count() > 0);
    if let Some(pace) = known.iter().find(|(of, _)| *of == common).and_then(|(_, pace)| pace.upgrade()) {
        return pace;
    }
    let pace = new(bound, now);
    known.push((common, Arc::downgrade(&pace)));
    pace
}

fn new(bound: Option<f64>, now: Instant) -> Arc<Pace> {
    Arc::new(Pace::new(bound, now))
}

#[cfg(test)]
mod tests {
    use oss_protocol::sign::Secret;
    use oss_protocol::time::UtcTime;
    use oss_protocol::uri::Endpoint;

    use super::*;
    use crate::clock::ManualClock;

    fn clock() -> Arc<dyn Clock> {
        Arc::new(ManualClock::new(UtcTime(0)))
    }

    fn config(host: &str, bound: Option<f64>) -> ClientConfig {
        let endpoint = Endpoint::parse(&format!("http://{host}:8080")).expect("an endpoint");
        let mut config = ClientConfig::new(endpoint, "cn-local");
        config.limits.max_requests_per_second = bound;
        config
    }

    #[test]
    fn clients_with_the_same_endpoint_and_bound_share_a_pace() {
        let (clock, other_clock) = (clock(), clock());
        let (clock, other_clock) = (clock.as_ref(), other_clock.as_ref());
        let bounded = |host, bound, clock| within_bound(&config(host, Some(bound)), clock).expect("a bound");
        let train = bounded("10.0.0.1", 100.0, clock);
        assert!(Arc::ptr_eq(&train, &bounded("10.0.0.1", 100.0, clock)));
        assert!(!Arc::ptr_eq(&train, &bounded("10.0.0.2", 100.0, clock)));
        assert!(!Arc::ptr_eq(&train, &bounded("10.0.0.1", 50.0, clock)));
        assert!(!Arc::ptr_eq(&train, &bounded("10.0.0.1", 100.0, other_clock)));
        assert!(within_bound(&config("10.0.0.1", None), clock).is_none());
        let before = Arc::downgrade(&train);
        drop(train);
        assert!(before.upgrade().is_none(), "nobody keeps it");
    }

    #[test]
    fn clients_with_the_same_endpoint_and_account_share_a_pace() {
        let clock = clock();
        let of = |host, id: &str, token: Option<&str>, source: &str| {
            let credentials = Credentials::new(id, "secret", token.map(Secret::from));
            let source = source.to_owned();
            of_account(&config(host, None), Some(&credentials), || source, clock.as_ref())
        };
        let train = of("10.0.0.3", "key", None, "a file");
        assert!(
            Arc::ptr_eq(&train, &of("10.0.0.3", "key", None, "the environment")),
            "whoever names the key"
        );
        assert!(!Arc::ptr_eq(&train, &of("10.0.0.4", "key", None, "a file")));
        assert!(!Arc::ptr_eq(&train, &of("10.0.0.3", "other", None, "a file")));
        let role = of("10.0.0.3", "STS.1", Some("token"), "role r");
        assert!(
            Arc::ptr_eq(&role, &of("10.0.0.3", "STS.2", Some("other"), "role r")),
            "each draws its own keys"
        );
        assert!(!Arc::ptr_eq(&role, &of("10.0.0.3", "STS.1", Some("token"), "role s")));
        let nobody = of_account(&config("10.0.0.3", None), None, String::new, clock.as_ref());
        assert!(!Arc::ptr_eq(&train, &nobody));
    }
}
