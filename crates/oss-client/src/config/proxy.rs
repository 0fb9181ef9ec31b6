//! Which proxy requests take: `network.proxy`, else the usual variables, unless `NO_PROXY` names the host.
//!
//! The endpoint's host decides once for all buckets. What asks for a proxy that is not spoken here is an error: a
//! setting that is passed over would send requests past a proxy that is there for a reason.

use std::net::IpAddr;

use oss_protocol::encoding::{base64_encode, decode};
use oss_protocol::sign::Secret;
use oss_protocol::uri::{Addressing, Endpoint, Scheme};

use crate::error::Error;

/// An HTTP proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Value of the `Proxy-Authorization` header, if the URL had user information.
    pub(crate) authorization: Option<Secret>,
}

/// What the option `proxy` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProxyChoice {
    /// Nothing: the environment decides.
    #[default]
    Environment,
    /// No proxy, whatever the environment says.
    Direct,
    /// This one, also for hosts that are near.
    Given(Proxy),
}

impl ProxyChoice {
    /// Reads the option: `direct`, or a URL.
    ///
    /// # Errors
    /// A line without any user information.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Ok(ProxyChoice::Environment),
            "direct" => Ok(ProxyChoice::Direct),
            text => Proxy::parse(text).map(ProxyChoice::Given),
        }
    }
}

impl Proxy {
    /// Reads `[http://][user:password@]host[:port]`; the port is 80 if there is none.
    ///
    /// # Errors
    /// A line without any user information.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "write http://[user:password@]host:port";
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        if !scheme.eq_ignore_ascii_case("http") {
            // Two slashes in a password look like a scheme.
            let is_scheme = scheme.len() <= 16 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let kind = if is_scheme { scheme } else { "that is not http" };
            return Err(format!("a proxy of the kind {kind} is not spoken; {FORM}"));
        }
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        // The text of the endpoint's own error could repeat what stands before an @.
        let endpoint = Endpoint::parse_for(&format!("http://{place}"), Addressing::Cname)
            .map_err(|_what| format!("there is no host and port in it; {FORM}"))?;
        let authorization = user.map(basic).transpose()?;
        Ok(Proxy { host: endpoint.host, port: endpoint.port, authorization })
    }

    /// `host:port`, for errors: no user information.
    pub fn place(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// User information as the header says it.
fn basic(user: &str) -> Result<Secret, String> {
    let decoded = decode(user).ok().filter(|text| !text.chars().any(char::is_control));
    let text = decoded.ok_or("its user information is not percent-encoded text; correct it")?;
    let text = if text.contains(':') { text } else { format!("{text}:") };
    Ok(Secret::new(format!("Basic {}", base64_encode(text.as_bytes()))))
}

/// The proxy for requests to `endpoint`.
///
/// # Errors
/// `Config`, naming the variable, for a proxy that is not spoken.
pub(crate) fn choose(
    choice: &ProxyChoice,
    endpoint: &Endpoint,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, Error> {
    let is_exempt =
        || ["no_proxy", "NO_PROXY"].into_iter().filter_map(variable).any(|list| names(&list, endpoint));
    match choice {
        ProxyChoice::Direct => Ok(None),
        ProxyChoice::Given(proxy) => Ok((!is_exempt()).then(|| proxy.clone())),
        // What listens on this machine is not behind a proxy, as in Go and in browsers.
        ProxyChoice::Environment if is_loopback(&endpoint.host) || is_exempt() => Ok(None),
        ProxyChoice::Environment => from_environment(endpoint, variable),
    }
}

fn from_environment(
    endpoint: &Endpoint,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, Error> {
    let names = match endpoint.scheme {
        Scheme::Https => ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        Scheme::Http => ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
    };
    let set = names.into_iter().find_map(|name| Some((name, variable(name)?)));
    let Some((name, text)) = set else { return Ok(None) };
    let read = Proxy::parse(text.trim()).map(Some);
    read.map_err(|why| Error::config(format!("{name}: {why}, or list {} in NO_PROXY", endpoint.host)))
}

/// Whether a list of `NO_PROXY` names the endpoint: a name and what is below it, an address, a block of addresses, each
/// with or without a port; `*` names all.
pub(crate) fn names(list: &str, endpoint: &Endpoint) -> bool {
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        entry == "*" || names_host(entry, &endpoint.host) || {
            let suffix = format!(":{}", endpoint.port);
            entry.strip_suffix(&suffix).is_some_and(|entry| names_host(entry, &endpoint.host))
        }
    })
}

fn names_host(entry: &str, host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        let entry = entry.trim_start_matches('[').trim_end_matches(']');
        return entry.parse() == Ok(address) || is_within(address, entry);
    }
    let name = entry.trim_start_matches('*').trim_start_matches('.').to_ascii_lowercase();
    !name.is_empty()
        && host.strip_suffix(&name).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Whether an address lies in a block like `10.0.0.0/8`.
fn is_within(address: IpAddr, block: &str) -> bool {
    let Some((start, length)) = block.split_once('/') else { return false };
    let (Ok(start), Ok(length)) = (start.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let (address, start, bits) = match (address, start) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    length <= bits && (length == 0 || (address ^ start) >> (bits - length) == 0)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(endpoint: &str, variables: &[(&str, &str)]) -> Result<Option<String>, Error> {
        let endpoint = Endpoint::parse(endpoint).expect("an endpoint");
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
        };
        Ok(choose(&ProxyChoice::Environment, &endpoint, &lookup)?.map(|proxy| proxy.place()))
    }

    #[test]
    fn the_scheme_of_the_endpoint_chooses_the_variable() {
        let all =
            [("http_proxy", "http://plain:1"), ("HTTPS_PROXY", "secure:2"), ("ALL_PROXY", "http://all")];
        let place = |endpoint, variables| chosen(endpoint, variables).expect("a proxy or none");
        assert_eq!(place("https://oss.example", &all), Some("secure:2".to_owned()));
        assert_eq!(place("http://oss.example", &all), Some("plain:1".to_owned()));
        assert_eq!(place("https://oss.example", &all[2..]), Some("all:80".to_owned()));
        assert_eq!(place("http://127.0.0.1:9000", &all), None, "this machine is near");
        assert_eq!(place("https://oss.example", &[]), None);
    }

    #[test]
    fn no_proxy_names_hosts_domains_addresses_and_blocks() {
        let is_direct = |endpoint, list| {
            chosen(endpoint, &[("all_proxy", "p:1"), ("no_proxy", list)]).expect("a choice").is_none()
        };
        let beijing = "https://oss-cn-beijing.aliyuncs.com";
        for list in
            ["*", "a.b, .aliyuncs.com", "aliyuncs.com", "*.aliyuncs.com", "OSS-cn-beijing.aliyuncs.com:443"]
        {
            assert!(is_direct(beijing, list), "{list}");
        }
        for list in ["", "yuncs.com", "oss-cn-beijing.aliyuncs.com:80", "10.0.0.0/8"] {
            assert!(!is_direct(beijing, list), "{list}");
        }
        assert!(is_direct("http://10.1.2.3", "10.0.0.0/8") && is_direct("http://10.1.2.3", "10.1.2.3"));
        assert!(!is_direct("http://11.1.2.3", "10.0.0.0/8") && !is_direct("http://10.1.2.3", "10.1.2.0/33"));
        assert!(is_direct("http://[fd00::1]:9000", "fd00::/8") && is_direct("http://[fd00::1]", "[fd00::1]"));
    }

    #[test]
    fn user_information_becomes_a_header_and_is_never_shown() {
        let proxy = Proxy::parse("http://us%40er:can%3Aary@proxy.example:3128/").expect("a proxy");
        assert_eq!(proxy.place(), "proxy.example:3128");
        let header = proxy.authorization.as_ref().map(|secret| secret.expose().to_owned());
        assert_eq!(header.as_deref(), Some("Basic dXNAZXI6Y2FuOmFyeQ=="));
        assert!(!format!("{proxy:?}").contains("Basic"));
        for wrong in
            ["http://u:canary@", "socks5://u:canary@h:1", "https://canary@h", "http://u:canary@h:x", "h/path"]
        {
            let why = Proxy::parse(wrong).expect_err(wrong);
            assert!(!why.contains("canary") && why.contains("http://"), "{why}");
        }
    }

    #[test]
    fn what_is_not_spoken_is_an_error_that_names_the_variable() {
        let error =
            chosen("https://oss.example", &[("ALL_PROXY", "socks5://canary@h:1")]).expect_err("socks");
        let text = error.to_string();
        assert!(text.contains("ALL_PROXY") && text.contains("socks5") && !text.contains("canary"), "{text}");
    }
}
