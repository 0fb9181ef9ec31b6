//! Endpoint and region: given, inferred, or from the environment (`contract.md`, section E).

use std::net::{IpAddr, Ipv4Addr};

use oss_protocol::uri::{Addressing, Endpoint, Scheme, normalize_region};

use super::{ClientConfig, OptionValue, proxy};
use crate::error::Error;

/// Reads one environment variable; unset and empty are the same.
#[expect(clippy::disallowed_methods, reason = "this is the door through which the environment enters")]
pub fn environment_variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What the user said about where the service is. Empty texts count as not given.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place<'a> {
    /// `http[s]://host[:port]`; `None` = from the environment.
    pub endpoint: Option<&'a str>,
    /// Signing region; `None` = inferred, then from the environment.
    pub region: Option<&'a str>,
    /// `auto`, `virtual`, `path` or `cname`; empty = `auto`.
    pub addressing: &'a str,
}

/// Makes a configuration of `place` and `options`; `variable` looks up environment variables.
///
/// # Errors
/// `Config`, naming the argument and the remedy.
pub fn resolve<'o>(
    place: Place<'_>,
    options: impl IntoIterator<Item = (&'o str, &'o OptionValue)>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<ClientConfig, Error> {
    let addressing = parse_addressing(place.addressing)?;
    let text = endpoint_text(place.endpoint, variable)?;
    let endpoint =
        Endpoint::parse_for(&text, addressing).map_err(|error| Error::config(error.to_string()))?;
    refuse_metadata_address(&endpoint)?;
    let region = region_of(place.region, &endpoint, variable)?;
    let mut config = ClientConfig::new(endpoint, region);
    config.addressing = addressing;
    for (name, value) in options {
        config.set(name, value)?;
    }
    check_clear_text(&mut config)?;
    remark_region(&mut config);
    config.proxy = proxy::choose(&config.proxy_choice, &config.endpoint, variable)?;
    Ok(config)
}

fn parse_addressing(text: &str) -> Result<Addressing, Error> {
    Ok(match text {
        "" | "auto" => Addressing::Auto,
        "virtual" => Addressing::Virtual,
        "path" => Addressing::Path,
        "cname" => Addressing::Cname,
        _ => {
            let words = "\"auto\", \"virtual\", \"path\", \"cname\"";
            return Err(Error::config(format!("addressing {text:?} is none of {words}")));
        }
    })
}

fn endpoint_text(given: Option<&str>, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, Error> {
    if let Some(text) = given {
        if text.is_empty() {
            return Err(Error::config("endpoint is empty: local-directory mode has no client"));
        }
        return Ok(text.to_owned());
    }
    if let Some(text) = variable("OSS_ENDPOINT") {
        return Ok(text);
    }
    let region = variable("OSS_REGION").ok_or_else(|| {
        Error::config(
            "no endpoint: pass endpoint=..., or set OSS_ENDPOINT or OSS_REGION \
             (endpoint=\"\" means a local directory)",
        )
    })?;
    let region = normalize_region(&region).map_err(|error| Error::config(format!("OSS_REGION: {error}")))?;
    Ok(format!("https://oss-{region}.aliyuncs.com"))
}

fn region_of(
    given: Option<&str>,
    endpoint: &Endpoint,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Error> {
    if let Some(text) = given.filter(|text| !text.is_empty()) {
        return normalize_region(text).map_err(|error| Error::config(error.to_string()));
    }
    if let Some(region) = endpoint.infer_region() {
        return Ok(region);
    }
    if let Some(text) = variable("OSS_REGION") {
        return normalize_region(&text).map_err(|error| Error::config(format!("OSS_REGION: {error}")));
    }
    let host = &endpoint.host;
    Err(Error::config(format!(
        "the signing region cannot be told from the endpoint host {host}: pass region=\"cn-...\" or set OSS_REGION"
    )))
}

/// A region that the host contradicts is signed for all the same: zones with names of their own need that.
fn remark_region(config: &mut ClientConfig) {
    let (region, host) = (&config.region, &config.endpoint.host);
    if let Some(inferred) = config.endpoint.infer_region().filter(|inferred| inferred != region) {
        config.notes.push(format!(
            "region {region} contradicts the endpoint {host}, whose region is {inferred}: \
             if OSS refuses the signature, leave region out or correct the endpoint"
        ));
    }
}

/// Endpoints that belong to a machine's metadata service get no signed request (`faults.md`, S13).
fn refuse_metadata_address(endpoint: &Endpoint) -> Result<(), Error> {
    let host = &endpoint.host;
    match host.parse() {
        Ok(address) if is_metadata_address(address) => {
            Err(Error::config(format!("endpoint {host} is a link-local or metadata address, not OSS")))
        }
        // The system would read 2852039166 or 0xa9fea9fe as an address.
        Err(_name) if is_disguised_address(host) => Err(Error::config(format!(
            "endpoint {host} is neither a name nor an address; write it as a.b.c.d"
        ))),
        _ => Ok(()),
    }
}

/// Whether `address` is one of a machine's own network: link-local, or the metadata service's.
pub(crate) fn is_metadata_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || v4 == Ipv4Addr::new(100, 100, 100, 200),
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_metadata_address(IpAddr::V4(v4)),
            None => (v6.segments()[0] & 0xffc0) == 0xfe80,
        },
    }
}

/// No name ends with a number.
fn is_disguised_address(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    let is_hexadecimal = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    last.bytes().all(|byte| byte.is_ascii_digit()) || last.strip_prefix("0x").is_some_and(is_hexadecimal)
}

fn check_clear_text(config: &mut ClientConfig) -> Result<(), Error> {
    if config.endpoint.scheme == Scheme::Https {
        return Ok(());
    }
    let host = config.endpoint.host.clone();
    if config.require_https {
        return Err(Error::config(format!("endpoint http://{host} is clear text, but https is required")));
    }
    if !is_private(&host) {
        config.notes.push(format!(
            "endpoint http://{host} is clear text over a public network: \
             use https:// unless you know the way is private"
        ));
    }
    Ok(())
}

/// Hosts to which clear text stays inside: loopback, private addresses, OSS's internal names.
fn is_private(host: &str) -> bool {
    match host.trim_start_matches('[').trim_end_matches(']').parse() {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private(),
        Ok(IpAddr::V6(v6)) => v6.is_loopback() || (v6.segments()[0] & 0xfe00) == 0xfc00,
        Err(_name) => host == "localhost" || host.ends_with(".localhost") || host.contains("-internal"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve_with(
        endpoint: Option<&str>,
        region: Option<&str>,
        variables: &[(&str, &str)],
    ) -> Result<ClientConfig, Error> {
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        resolve(Place { endpoint, region, addressing: "" }, [], &lookup)
    }

    #[test]
    fn explicit_wins_over_inferred_and_inferred_over_environment() {
        let beijing = Some("https://oss-cn-beijing-internal.aliyuncs.com");
        let environment = [("OSS_REGION", "cn-shanghai")];
        let region =
            |endpoint, region| resolve_with(endpoint, region, &environment).expect("a config").region;
        assert_eq!(region(beijing, Some("oss-cn-hangzhou")), "cn-hangzhou");
        assert_eq!(region(beijing, Some("")), "cn-beijing");
        assert_eq!(region(Some("http://127.0.0.1:9000"), None), "cn-shanghai");
    }

    #[test]
    fn no_endpoint_means_the_environment() {
        let config = resolve_with(None, None, &[("OSS_REGION", "oss-cn-beijing")]).expect("a config");
        assert_eq!(config.endpoint.host, "oss-cn-beijing.aliyuncs.com");
        assert_eq!(config.region, "cn-beijing");
        let error = resolve_with(None, None, &[]).expect_err("nothing is set").to_string();
        assert!(error.contains("OSS_ENDPOINT") && error.contains("OSS_REGION") && error.contains("local"));
    }

    #[test]
    fn a_region_that_cannot_be_told_is_asked_for() {
        let error =
            resolve_with(Some("http://127.0.0.1:9000"), None, &[]).expect_err("no region").to_string();
        assert!(error.contains("pass region="));
    }

    #[test]
    fn metadata_addresses_are_refused() {
        for host in [
            "http://100.100.100.200",
            "http://169.254.169.254",
            "http://[fe80::1]",
            "http://[::ffff:169.254.169.254]",
            "http://[::ffff:100.100.100.200]:80",
            "http://2852039166",
            "http://0xA9FEA9FE",
            "http://169.254.43518",
            "http://0251.0376.0251.0376",
        ] {
            assert!(resolve_with(Some(host), Some("cn-local"), &[]).is_err(), "{host}");
        }
    }

    #[test]
    fn a_region_that_contradicts_the_endpoint_is_remarked() {
        let notes = |region| {
            let config = resolve_with(Some("https://oss-cn-beijing.aliyuncs.com"), Some(region), &[]);
            config.expect("a config").notes
        };
        assert!(notes("cn-beijing").is_empty() && notes("oss-cn-beijing").is_empty());
        let [note] = &notes("cn-hangzhou")[..] else { unreachable!("one note") };
        assert!(
            note.contains("cn-hangzhou") && note.contains("cn-beijing") && note.contains("oss-cn-beijing")
        );
    }

    #[test]
    fn clear_text_is_remarked_only_on_public_ways() {
        let notes = |host| resolve_with(Some(host), Some("cn-beijing"), &[]).expect("a config").notes.len();
        assert_eq!(notes("http://oss-cn-beijing.aliyuncs.com"), 1);
        assert_eq!(notes("http://oss-cn-beijing-internal.aliyuncs.com"), 0);
        assert_eq!(notes("http://10.1.2.3:80"), 0);
        assert_eq!(notes("https://oss-cn-beijing.aliyuncs.com"), 0);
    }
}
