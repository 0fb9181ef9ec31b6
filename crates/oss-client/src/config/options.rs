//! Flat options: name, bounds, and the field each one sets.

use std::time::Duration;

use super::{ClientConfig, ProxyChoice, Verify};
use crate::error::Error;

/// A value as the Python side passes it.
#[derive(Debug, Clone, PartialEq)]
pub enum OptionValue {
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// True or false.
    Boolean(bool),
}

/// The field that an option sets, by its unit.
enum Field {
    Seconds(fn(&mut ClientConfig) -> &mut Duration),
    Count(fn(&mut ClientConfig) -> &mut u64),
    Small(fn(&mut ClientConfig) -> &mut u32),
    Bound(fn(&mut ClientConfig) -> &mut Option<u64>),
    Rate(fn(&mut ClientConfig) -> &mut f64),
    RateBound(fn(&mut ClientConfig) -> &mut Option<f64>),
    Switch(fn(&mut ClientConfig) -> &mut bool),
    Text(fn(&mut ClientConfig, &str) -> Result<(), String>),
}

struct OptionSpec {
    name: &'static str,
    least: f64,
    most: f64,
    field: Field,
}

const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * KIB;
const GIB: f64 = 1024.0 * MIB;
const DAY: f64 = 86_400.0;

macro_rules! seconds {
    ($name:literal, $($field:ident).+) => {
        OptionSpec { name: $name, least: 0.001, most: DAY, field: Field::Seconds(|c| &mut c.$($field).+) }
    };
}

macro_rules! count {
    ($kind:ident, $name:literal, $least:expr, $most:expr, $($field:ident).+) => {
        OptionSpec { name: $name, least: $least, most: $most, field: Field::$kind(|c| &mut c.$($field).+) }
    };
}

macro_rules! other {
    ($name:literal, $field:expr) => {
        OptionSpec { name: $name, least: 0.0, most: 0.0, field: $field }
    };
}

static OPTIONS: &[OptionSpec] = &[
    seconds!("abort_seconds", timeouts.abort),
    seconds!("bad_address_seconds", timeouts.bad_address),
    seconds!("complete_seconds", timeouts.complete),
    seconds!("connect_per_address_seconds", timeouts.connect_per_address),
    seconds!("connect_seconds", timeouts.connect),
    seconds!("deadline_seconds", timeouts.deadline),
    seconds!("first_byte_seconds", timeouts.first_byte),
    seconds!("first_contact_seconds", timeouts.first_contact),
    seconds!("floor_seconds", timeouts.floor),
    seconds!("idle_seconds", timeouts.idle),
    seconds!("name_fresh_seconds", timeouts.name_fresh),
    seconds!("name_lookup_seconds", timeouts.name_lookup),
    seconds!("name_stale_seconds", timeouts.name_stale),
    seconds!("peek_after_seconds", timeouts.peek_after),
    seconds!("provider_seconds", timeouts.provider),
    seconds!("read_stall_seconds", timeouts.read_stall),
    seconds!("retry_base_seconds", retry.base),
    seconds!("retry_cap_seconds", retry.cap),
    seconds!("longest_hint_seconds", retry.longest_hint),
    seconds!("settle_seconds", timeouts.settle),
    seconds!("tell_after_seconds", timeouts.tell_after),
    seconds!("tell_every_seconds", timeouts.tell_every),
    seconds!("tick_seconds", timeouts.tick),
    seconds!("tls_handshake_seconds", timeouts.tls_handshake),
    seconds!("write_stall_seconds", timeouts.write_stall),
    count!(Count, "max_concurrency", 1.0, 4096.0, limits.max_concurrency),
    count!(Bound, "dataset_max_concurrency", 1.0, 4096.0, limits.dataset_max_concurrency),
    count!(Bound, "checkpoint_max_concurrency", 1.0, 4096.0, limits.checkpoint_max_concurrency),
    count!(Bound, "upload_max_concurrency", 1.0, 4096.0, limits.upload_max_concurrency),
    count!(Count, "list_max_concurrency", 1.0, 256.0, limits.list_max_concurrency),
    count!(RateBound, "max_requests_per_second", 0.001, 10_000_000.0, limits.max_requests_per_second),
    count!(Count, "max_bytes_in_flight", MIB, 1024.0 * GIB, limits.max_bytes_in_flight),
    count!(Bound, "min_range_bytes", 64.0 * KIB, GIB, limits.min_range_bytes),
    count!(Count, "part_size_bytes", 100.0 * KIB, 5.0 * GIB, limits.part_size_bytes),
    count!(Bound, "upload_buffer_bytes", MIB, 1024.0 * GIB, limits.upload_buffer_bytes),
    count!(Count, "floor_bytes_per_second", 1.0, GIB, limits.floor_bytes_per_second),
    count!(Count, "relative_floor_bytes_per_second", 1.0, GIB, limits.relative_floor_bytes_per_second),
    count!(Count, "healthy_bytes_per_second", 1.0, GIB, limits.healthy_bytes_per_second),
    count!(Count, "rearm_bytes", 1.0, GIB, retry.rearm_bytes),
    count!(Count, "reset_bytes", 1.0, GIB, retry.reset_bytes),
    count!(Small, "full_jitter_retries", 1.0, 1000.0, retry.full_jitter_retries),
    count!(Small, "integrity_retries", 1.0, 100.0, retry.integrity_retries),
    count!(Small, "protocol_retries", 1.0, 100.0, retry.protocol_retries),
    count!(Small, "budget_tokens", 1.0, 1_000_000.0, retry.budget_tokens),
    count!(Small, "retry_tokens", 1.0, 1000.0, retry.retry_tokens),
    count!(Small, "timeout_tokens", 1.0, 1000.0, retry.timeout_tokens),
    count!(Rate, "slow_mode_rate", 0.01, 100_000.0, retry.slow_mode_rate),
    other!("tell_requests", Field::Switch(|c| &mut c.telling.requests)),
    other!("audit", Field::Switch(|c| &mut c.telling.audit)),
    other!("audit_all", Field::Switch(|c| &mut c.telling.audit_all)),
    other!("require_https", Field::Switch(|c| &mut c.require_https)),
    other!("fast_list", Field::Switch(|c| &mut c.fast_list)),
    other!("verify", Field::Text(set_verify)),
    other!("ca_file", Field::Text(set_ca_file)),
    other!("proxy", Field::Text(set_proxy)),
    other!("user_agent", Field::Text(set_user_agent)),
];

/// The names of all options, for the caller that wants to name the nearest one.
pub fn option_names() -> impl Iterator<Item = &'static str> {
    OPTIONS.iter().map(|spec| spec.name)
}

impl ClientConfig {
    /// Sets one option.
    ///
    /// 0 means the default and a value above the bound means the bound; both leave a line in `notes`.
    ///
    /// # Errors
    /// `Config` if the name is unknown, the value has the wrong type, is negative, not finite, or below
    /// the bound.
    pub fn set(&mut self, name: &str, value: &OptionValue) -> Result<(), Error> {
        let spec = OPTIONS
            .iter()
            .find(|spec| spec.name == name)
            .ok_or_else(|| Error::config(format!("unknown option {name:?}{}", nearest(name))))?;
        match &spec.field {
            Field::Switch(field) => match value {
                OptionValue::Boolean(flag) => *field(self) = *flag,
                _ => return Err(wrong_type(name, "true or false", value)),
            },
            Field::Text(set) => match value {
                OptionValue::Text(text) => {
                    set(self, text).map_err(|why| Error::config(format!("option {name}: {why}")))?;
                }
                _ => return Err(wrong_type(name, "a text", value)),
            },
            field => self.set_number(spec, field, value)?,
        }
        Ok(())
    }

    fn set_number(&mut self, spec: &OptionSpec, field: &Field, value: &OptionValue) -> Result<(), Error> {
        let Some(number) = self.number_within(spec, value)? else { return Ok(()) };
        match field {
            Field::Seconds(field) => *field(self) = Duration::from_secs_f64(number),
            Field::Count(field) => *field(self) = number as u64,
            Field::Small(field) => *field(self) = number as u32,
            Field::Bound(field) => *field(self) = Some(number as u64),
            Field::Rate(field) => *field(self) = number,
            Field::RateBound(field) => *field(self) = Some(number),
            Field::Switch(_) | Field::Text(_) => {}
        }
        Ok(())
    }

    /// The number to set, or `None` for "leave the default".
    fn number_within(&mut self, spec: &OptionSpec, value: &OptionValue) -> Result<Option<f64>, Error> {
        let name = spec.name;
        let number = match value {
            OptionValue::Integer(number) => *number as f64,
            OptionValue::Float(number) => *number,
            OptionValue::Text(text) => {
                text.trim().parse().map_err(|_unparsable| wrong_type(name, "a number", value))?
            }
            OptionValue::Boolean(_) => return Err(wrong_type(name, "a number", value)),
        };
        if !number.is_finite() || number < 0.0 {
            return Err(Error::config(format!(
                "option {name} must be finite and not negative, got {number}"
            )));
        }
        if number == 0.0 {
            self.notes.push(format!("option {name} is 0: the default is used"));
            return Ok(None);
        }
        if number < spec.least {
            return Err(Error::config(format!(
                "option {name} must be at least {}, got {number}",
                spec.least
            )));
        }
        if number > spec.most {
            self.notes.push(format!("option {name} is {number}, above its bound: {} is used", spec.most));
            return Ok(Some(spec.most));
        }
        Ok(Some(number))
    }
}

fn wrong_type(name: &str, wanted: &str, value: &OptionValue) -> Error {
    let got = match value {
        OptionValue::Integer(_) | OptionValue::Float(_) => "a number",
        OptionValue::Text(_) => "a text",
        OptionValue::Boolean(_) => "true or false",
    };
    Error::config(format!("option {name} must be {wanted}, got {got}"))
}

fn set_verify(config: &mut ClientConfig, text: &str) -> Result<(), String> {
    config.verify = match text {
        "check" | "" => Verify::Check,
        "require" => Verify::Require,
        "off" => {
            config.notes.push("option verify is \"off\": damaged bytes are not noticed".to_owned());
            Verify::Off
        }
        _ => return Err(format!("{text:?} is none of \"check\", \"require\", \"off\"")),
    };
    Ok(())
}

fn set_ca_file(config: &mut ClientConfig, text: &str) -> Result<(), String> {
    config.ca_file = (!text.is_empty()).then(|| text.into());
    Ok(())
}

fn set_proxy(config: &mut ClientConfig, text: &str) -> Result<(), String> {
    config.proxy_choice = ProxyChoice::parse(text)?;
    Ok(())
}

fn set_user_agent(config: &mut ClientConfig, text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > 256 || !text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err("must be 1 to 256 printable ASCII characters".to_owned());
    }
    text.clone_into(&mut config.user_agent);
    Ok(())
}

/// Names the known option that shares the longest run of words with `name`.
fn nearest(name: &str) -> String {
    let score = |candidate: &str| {
        candidate.split('_').filter(|word| name.contains(word)).map(str::len).sum::<usize>()
    };
    option_names()
        .max_by_key(|candidate| score(candidate))
        .filter(|candidate| score(candidate) > 2)
        .map_or_else(String::new, |candidate| format!("; did you mean {candidate:?}?"))
}

#[cfg(test)]
mod tests {
    use oss_protocol::uri::Endpoint;

    use super::*;

    fn config() -> ClientConfig {
        ClientConfig::new(Endpoint::parse("http://127.0.0.1:9000").expect("an endpoint"), "cn-local")
    }

    #[test]
    fn every_name_is_there_once() {
        let mut names: Vec<_> = option_names().collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn options_reach_their_fields() {
        let mut config = config();
        config.set("deadline_seconds", &OptionValue::Integer(30)).expect("a deadline");
        config.set("tick_seconds", &OptionValue::Float(0.01)).expect("a tick");
        config.set("dataset_max_concurrency", &OptionValue::Integer(48)).expect("a bound");
        config.set("max_bytes_in_flight", &OptionValue::Text("67108864".to_owned())).expect("a budget");
        config.set("verify", &OptionValue::Text("require".to_owned())).expect("a word");
        assert_eq!(config.timeouts.deadline, Duration::from_secs(30));
        assert_eq!(config.timeouts.tick, Duration::from_millis(10));
        assert_eq!(config.limits.dataset_max_concurrency, Some(48));
        assert_eq!(config.limits.max_bytes_in_flight, 64 << 20);
        assert_eq!(config.verify, Verify::Require);
        assert!(config.notes.is_empty());
        config.set("verify", &OptionValue::Text("off".to_owned())).expect("a word");
        assert_eq!((config.verify, config.notes.len()), (Verify::Off, 1), "it is said");
    }

    #[test]
    fn bounds_are_kept_and_told() {
        let mut config = config();
        config.set("max_concurrency", &OptionValue::Integer(1_000_000)).expect("clamped");
        config.set("first_byte_seconds", &OptionValue::Integer(0)).expect("the default");
        assert_eq!(config.limits.max_concurrency, 4096);
        assert_eq!(config.timeouts.first_byte, Duration::from_secs(15));
        assert_eq!(config.notes.len(), 2);
    }

    #[test]
    fn wrong_options_are_named() {
        let mut config = config();
        let cases = [
            ("deadline_second", OptionValue::Integer(1), "did you mean \"deadline_seconds\""),
            ("deadline_seconds", OptionValue::Float(f64::INFINITY), "finite"),
            ("deadline_seconds", OptionValue::Integer(-1), "negative"),
            ("part_size_bytes", OptionValue::Integer(10), "at least"),
            ("max_concurrency", OptionValue::Boolean(true), "must be a number"),
            ("require_https", OptionValue::Integer(1), "true or false"),
            ("verify", OptionValue::Text("maybe".to_owned()), "none of"),
            ("user_agent", OptionValue::Text("a\r\nb".to_owned()), "printable"),
        ];
        for (name, value, expected) in cases {
            let text = config.set(name, &value).expect_err(name).to_string();
            assert!(text.contains(name) && text.contains(expected), "{text}");
        }
    }

    #[test]
    fn timers_scale_together() {
        let scaled = config().timeouts.scaled(0.01);
        assert_eq!(scaled.deadline, Duration::from_millis(1800));
        assert_eq!(scaled.tick, Duration::from_millis(10));
    }
}
