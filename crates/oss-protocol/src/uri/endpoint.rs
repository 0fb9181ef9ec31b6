//! Endpoints: which server, which region it signs for, and where a request goes.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{UriError, quoted, refuse};
use crate::encoding::encode_path;

/// How the bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The scheme as in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port a URL without one means.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Where the bucket stands in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Addressing {
    /// Path style for IP addresses and `localhost`, else virtual-hosted.
    #[default]
    Auto,
    /// `bucket.host/key`.
    Virtual,
    /// `host/bucket/key`.
    Path,
    /// `host/key`: the host is a domain of one's own that is bound to the bucket.
    Cname,
}

/// The server of a region, or another one that speaks OSS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// How to talk to it.
    pub scheme: Scheme,
    /// Host in lower case, without a port; an IPv6 address without brackets.
    pub host: String,
    /// The port, never 0.
    pub port: u16,
}

/// Where one request goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Host to resolve and to name in TLS; an IPv6 address without brackets.
    pub connect_host: String,
    /// Port to connect to.
    pub port: u16,
    /// Value of the `Host` header; the port is left out where the scheme implies it.
    pub host_header: String,
    /// Path of the request line, percent-encoded, beginning with `/`.
    pub path: String,
}

impl Endpoint {
    /// Read `[scheme://]host[:port][/]`; without a scheme it is https.
    ///
    /// # Errors
    /// No host, a scheme other than http and https, user information, a path, a query, a
    /// fragment, a port outside 1 to 65535, a malformed host, or a bucket in front of an
    /// `aliyuncs.com` host.
    pub fn parse(text: &str) -> Result<Self, UriError> {
        Self::parse_for(text, Addressing::Auto)
    }

    /// Read an endpoint that will be used with `addressing`; with [`Addressing::Cname`] any host is
    /// taken as it is, also one that begins with the bucket.
    ///
    /// # Errors
    /// As [`Endpoint::parse`].
    pub fn parse_for(text: &str, addressing: Addressing) -> Result<Self, UriError> {
        let (scheme, rest) = split_scheme(text)?;
        let authority = authority(text, rest)?;
        let (host, port) = split_port(text, authority)?;
        let host = checked_host(text, host)?;
        let endpoint = Self { scheme, host, port: port.unwrap_or_else(|| scheme.default_port()) };
        if addressing != Addressing::Cname {
            refuse_bucket(text, &endpoint)?;
        }
        Ok(endpoint)
    }

    /// Infer the signing region from the host; `None` for accelerated hosts, one's own domains,
    /// IP addresses and `localhost`.
    #[must_use]
    pub fn infer_region(&self) -> Option<String> {
        let labels: Vec<&str> = aliyun_labels(&self.host)?.collect();
        let region = match labels[..] {
            [label] => {
                let region = label.strip_prefix("vpc100-").unwrap_or(label).strip_prefix("oss-")?;
                region.strip_suffix("-internal").unwrap_or(region)
            }
            [region, "oss"] => region,
            _ => return None,
        };
        let inferable = !matches!(region, "" | "accelerate" | "accelerate-overseas");
        inferable.then(|| region.to_owned())
    }

    /// Say whether the host is an IP address or `localhost`: those get path style.
    #[must_use]
    pub fn is_ip_or_localhost(&self) -> bool {
        self.host == "localhost" || is_ip(&self.host)
    }

    /// Work out where a request for `bucket` and `key` goes; without a bucket it is the service.
    ///
    /// An IP address gets path style whatever was asked: it can have no bucket in front.
    #[must_use]
    pub fn target(&self, addressing: Addressing, bucket: Option<&str>, key: Option<&str>) -> Target {
        let key = encode_path(key.unwrap_or(""));
        let path_style = match addressing {
            Addressing::Path => true,
            Addressing::Auto => self.is_ip_or_localhost(),
            Addressing::Virtual | Addressing::Cname => is_ip(&self.host),
        };
        let (connect_host, path) = match bucket {
            None => (self.host.clone(), "/".to_owned()),
            Some(bucket) if path_style => (self.host.clone(), format!("/{bucket}/{key}")),
            Some(_) if addressing == Addressing::Cname => (self.host.clone(), format!("/{key}")),
            Some(bucket) => (format!("{bucket}.{}", self.host), format!("/{key}")),
        };
        let host_header = self.with_port(&connect_host);
        Target { connect_host, port: self.port, host_header, path }
    }

    fn with_port(&self, host: &str) -> String {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.with_port(&self.host))
    }
}

fn split_scheme(text: &str) -> Result<(Scheme, &str), UriError> {
    match text.split_once("://") {
        None => Ok((Scheme::Https, text)),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => Ok((Scheme::Https, rest)),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => Ok((Scheme::Http, rest)),
        // What stands before an `@` may be a password, also one with slashes in it.
        Some((scheme, rest)) if scheme.contains('@') || rest.contains('@') => refuse_user(),
        Some((scheme, _)) => Err(UriError(format!(
            "endpoint with scheme {}: only http:// and https:// are spoken, pass one of them",
            quoted(scheme)
        ))),
    }
}

/// Check that nothing but slashes follows the host. What stands before an `@` may be a password:
/// it is refused without being repeated.
fn authority<'t>(text: &str, rest: &'t str) -> Result<&'t str, UriError> {
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if rest.contains('@') {
        return refuse_user();
    }
    if let Some(at) = text.find(['?', '#']) {
        // A query may be a signature.
        let what = "an endpoint has no query and no fragment; pass scheme, host and port only";
        return refuse(&text[..at], what);
    }
    if authority.is_empty() {
        return refuse(text, "the endpoint has no host; pass one like https://oss-cn-hangzhou.aliyuncs.com");
    }
    if !tail.bytes().all(|b| b == b'/') {
        return refuse(
            text,
            "an endpoint has no path; pass scheme, host and port only, and name buckets and keys in the URI",
        );
    }
    Ok(authority)
}

fn refuse_user<T>() -> Result<T, UriError> {
    let what =
        "endpoint with user information (text before an @): pass the bare host, credentials go elsewhere";
    Err(UriError(what.to_owned()))
}

fn split_port<'t>(text: &str, authority: &'t str) -> Result<(&'t str, Option<u16>), UriError> {
    let after_brackets = authority.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = authority[after_brackets..].rfind(':').map(|at| at + after_brackets) else {
        return Ok((authority, None));
    };
    let digits = &authority[colon + 1..];
    let port = digits.parse().ok().filter(|&port| port != 0 && digits.bytes().all(|b| b.is_ascii_digit()));
    match port {
        Some(port) => Ok((&authority[..colon], Some(port))),
        None => {
            refuse(text, "the port of an endpoint is a number from 1 to 65535; correct it or leave it out")
        }
    }
}

fn checked_host(text: &str, host: &str) -> Result<String, UriError> {
    if let Some(inside) = host.strip_prefix('[') {
        let address = inside.strip_suffix(']').and_then(|inside| inside.parse::<Ipv6Addr>().ok());
        return match address {
            Some(address) => Ok(address.to_string()),
            None => refuse(text, "no IPv6 address between the brackets; pass one like http://[::1]:9000"),
        };
    }
    if host.contains(':') {
        return refuse(text, "an IPv6 address stands in brackets; pass one like http://[::1]:9000");
    }
    let well_formed = host.len() <= 253
        && host.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        });
    if well_formed {
        Ok(host.to_ascii_lowercase())
    } else {
        refuse(text, "not a host name; pass one like https://oss-cn-hangzhou.aliyuncs.com")
    }
}

fn is_ip(host: &str) -> bool {
    host.parse::<Ipv4Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok()
}

fn aliyun_labels(host: &str) -> Option<impl Iterator<Item = &str>> {
    Some(host.strip_suffix(".aliyuncs.com")?.split('.'))
}

/// Refuse `bucket.oss-....aliyuncs.com`: the bucket would be put in front a second time.
fn refuse_bucket(text: &str, endpoint: &Endpoint) -> Result<(), UriError> {
    let Some(labels) = aliyun_labels(&endpoint.host) else { return Ok(()) };
    let labels: Vec<&str> = labels.collect();
    let own_labels = match labels.last() {
        Some(&"oss") => 2,
        Some(last) if last.starts_with("oss-cloudbox") => 3,
        Some(last) if last.starts_with("oss-data-acc") => 2,
        Some(last) if last.starts_with("oss-") || last.starts_with("vpc100-oss-") => 1,
        _ => return Ok(()),
    };
    if labels.len() <= own_labels {
        return Ok(());
    }
    let bucket = labels[..labels.len() - own_labels].join(".");
    let host = &endpoint.host[bucket.len() + 1..];
    let remedy = Endpoint { host: host.to_owned(), ..endpoint.clone() };
    refuse(
        text,
        format_args!("the endpoint begins with a bucket name; pass {remedy} and name {bucket:?} in the URI"),
    )
}
