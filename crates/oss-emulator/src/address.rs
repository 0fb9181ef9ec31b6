//! Which bucket and key a request names: path style or virtual host, decided by the Host header.

use std::net::IpAddr;

use oss_protocol::encoding::decode;

use crate::refusal::Refusal;

/// What host and path name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Address {
    /// The bucket; `None` for operations on the service.
    pub(crate) bucket: Option<String>,
    /// The key, decoded and otherwise raw: `//`, dots and `%2F` are part of it.
    pub(crate) key: Option<String>,
}

/// Reads Host header and undecoded path.
///
/// An IP address, `localhost` and a host without a dot are addressed in path style; so is nothing
/// else, because OSS refuses it elsewhere. A host whose first label begins with `oss-` (or is
/// `s3`-like dual-stack `region.oss.…`) is the bare endpoint. Of any other host the first label is
/// the bucket. `is_bucket` says whether a bucket of that name exists: it wins over `oss-`.
///
/// # Errors
/// 400 InvalidURI for a path that is not percent-encoded UTF-8; 403 SecondLevelDomainForbidden for
/// path style on a named endpoint.
///
/// Wire: OSS "access domain names"; oss-protocol section 1.
pub(crate) fn locate(host: &str, path: &str, is_bucket: impl Fn(&str) -> bool) -> Result<Address, Refusal> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let name = host_name(host);
    if is_path_style(name) {
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        return Ok(Address { bucket: decode_part(bucket)?, key: decode_part(key)? });
    }
    let (label, _) = name.split_once('.').unwrap_or((name, ""));
    if is_bare_endpoint(name) && !is_bucket(label) {
        if path.is_empty() {
            return Ok(Address::default());
        }
        let message =
            "The bucket you are attempting to access must be addressed using OSS third level domain.";
        return Err(Refusal::new(403, "SecondLevelDomainForbidden", message));
    }
    Ok(Address { bucket: Some(label.to_ascii_lowercase()), key: decode_part(path)? })
}

fn decode_part(text: &str) -> Result<Option<String>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    let refuse = |_| Refusal::new(400, "InvalidURI", "Couldn't parse the specified URI.");
    decode(text).map(Some).map_err(refuse)
}

/// Cuts the port off, and the brackets of an IPv6 address.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn is_path_style(name: &str) -> bool {
    !name.contains('.') || name.parse::<IpAddr>().is_ok()
}

fn is_bare_endpoint(name: &str) -> bool {
    let mut labels = name.split('.');
    let (first, second) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
    first.starts_with("oss-") || second == "oss"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, path: &str) -> (Option<String>, Option<String>) {
        let address = locate(host, path, |name| name == "oss-data").unwrap();
        (address.bucket, address.key)
    }

    fn named(bucket: &str, key: &str) -> (Option<String>, Option<String>) {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        (some(bucket), some(key))
    }

    #[test]
    fn path_style_on_addresses_and_localhost() {
        for host in ["127.0.0.1:9000", "localhost", "localhost:9000", "[::1]:9000", "10.0.0.1", "emulator:80"]
        {
            assert_eq!(at(host, "/"), named("", ""), "{host}");
            assert_eq!(at(host, "/bkt"), named("bkt", ""), "{host}");
            assert_eq!(at(host, "/bkt/"), named("bkt", ""), "{host}");
            assert_eq!(at(host, "/bkt/a/b"), named("bkt", "a/b"), "{host}");
        }
    }

    #[test]
    fn virtual_hosts_on_any_name() {
        for host in ["bkt.localhost:9000", "bkt.oss-cn-local.emulator.test", "bkt.127.0.0.1:80", "bkt.x"] {
            assert_eq!(at(host, "/"), named("bkt", ""), "{host}");
            assert_eq!(at(host, "/a/b"), named("bkt", "a/b"), "{host}");
        }
    }

    #[test]
    fn a_bare_endpoint_lists_buckets_and_refuses_path_style() {
        assert_eq!(at("oss-cn-hangzhou.aliyuncs.com", "/"), named("", ""));
        assert_eq!(at("cn-hangzhou.oss.aliyuncs.com", "/"), named("", ""));
        assert_eq!(at("oss-data.example.com", "/k"), named("oss-data", "k"));
        let refusal = locate("oss-cn-hangzhou.aliyuncs.com", "/bkt/k", |_| false).unwrap_err();
        assert_eq!(refusal.code, "SecondLevelDomainForbidden");
    }

    #[test]
    fn keys_are_decoded_and_otherwise_raw() {
        for (path, key) in [
            ("/b/a%2Fb", "a/b"),
            ("/b/a//b", "a//b"),
            ("/b//a", "/a"),
            ("/b/./a/../c", "./a/../c"),
            ("/b/a+b%20c%25", "a+b c%"),
            ("/b/%E4%BD%A0", "你"),
            ("/b/dir/", "dir/"),
        ] {
            assert_eq!(at("127.0.0.1", path), named("b", key), "{path}");
        }
        assert_eq!(locate("127.0.0.1", "/b/%FF", |_| false).unwrap_err().code, "InvalidURI");
    }
}
