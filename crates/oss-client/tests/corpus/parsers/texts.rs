//! What users and headers say in one line: locations, endpoints, proxies, times, ranges, encodings.

use oss_client::config::{Place, Proxy, resolve};
use oss_client::error::ErrorKind;
use oss_client::parsers;
use oss_protocol::encoding::{base64_decode, base64_encode, decode, encode_path, parse_query, write_query};
use oss_protocol::http1::{RangeSpec, parse_content_range, parse_range, parse_unsatisfied_range};
use oss_protocol::time::UtcTime;
use oss_protocol::uri::{Addressing, Endpoint, ObjectUri, normalize_region};

use super::Parser;

/// Samples hold one text a line; an input is taken for each of its lines, the first hundred, and for itself.
pub(super) fn is_any_taken(bytes: &[u8], is_taken: impl Fn(&str) -> bool) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let taken = text.lines().take(100).filter(|line| is_taken(line)).count();
    is_taken(&text) || taken > 0
}

pub(crate) fn locations() -> Parser {
    Parser::new(|bytes| {
        is_any_taken(bytes, |text| {
            let objects = [ObjectUri::parse_object(text), ObjectUri::parse_path_like(text)];
            for error in objects.iter().filter_map(|read| read.as_ref().err()) {
                let shown = error.to_string();
                assert!(!shown.contains('\n') && shown.chars().count() < 500, "{error}");
                assert!(
                    text.starts_with("oss:") || text.starts_with('/') || !error.to_string().contains('?'),
                    "{error}"
                );
            }
            let Ok(uri) = ObjectUri::parse(text) else { return false };
            assert_eq!(ObjectUri::parse(&uri.to_string()).as_ref(), Ok(&uri));
            assert_eq!(ObjectUri::parse(&uri.path()).as_ref(), Ok(&uri));
            true
        })
    })
}

pub(crate) fn endpoints() -> Parser {
    Parser::new(|bytes| {
        is_any_taken(bytes, |text| {
            let _ = normalize_region(text).map_err(|error| error.to_string());
            let place = Place { endpoint: Some(text), region: Some("cn-hangzhou"), addressing: "" };
            match resolve(place, [], &|_name| None) {
                Ok(_config) => (),
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Config);
                    assert!(!error.to_string().contains('\n'), "{error}");
                }
            }
            let Ok(endpoint) = Endpoint::parse_for(text, Addressing::Cname) else { return false };
            assert_eq!(Endpoint::parse_for(&endpoint.to_string(), Addressing::Cname).as_ref(), Ok(&endpoint));
            for addressing in [Addressing::Auto, Addressing::Virtual, Addressing::Path, Addressing::Cname] {
                let target = endpoint.target(addressing, Some("bucket"), Some("a key"));
                assert!(target.path.starts_with('/') && !target.path.contains(char::is_whitespace));
                assert!(!target.host_header.contains(char::is_control), "{target:?}");
            }
            true
        })
    })
}

pub(crate) fn proxies() -> Parser {
    Parser::new(|bytes| {
        is_any_taken(bytes, |text| match Proxy::parse(text) {
            Ok(proxy) => {
                assert!(!proxy.host.is_empty());
                assert!(!format!("{proxy:?}").contains("Basic "), "{proxy:?}");
                assert_eq!(Proxy::parse(&proxy.place()).map(|again| again.place()), Ok(proxy.place()));
                true
            }
            Err(why) => {
                // Every sample's password is a canary; damage may have made a scheme of it.
                let scheme = text.split("://").next().unwrap_or(text);
                assert!(!why.contains("anary") || scheme.contains("anary"), "{why}");
                false
            }
        })
    })
}

pub(crate) fn header_values() -> Parser {
    Parser::new(|bytes| {
        is_any_taken(bytes, |text| {
            let mut taken = 0;
            if let Ok(time) = UtcTime::parse_http_date(text) {
                assert_eq!(UtcTime::parse_http_date(&time.to_http_date()), Ok(time));
                taken += 1;
            }
            if let Ok(time) = UtcTime::parse_iso_basic(text) {
                assert_eq!(time.to_iso_basic(), text);
                taken += 1;
            }
            if let Ok(time) = UtcTime::parse_iso8601(text) {
                assert_eq!(UtcTime::parse_iso8601(&time.to_iso_extended()), Ok(time));
                taken += 1;
            }
            if let Some(range) = parse_content_range(text) {
                assert!(range.start < range.end && range.end <= range.total);
                assert_eq!(parse_content_range(&range.to_string()), Some(range));
                taken += 1;
            }
            if let RangeSpec::Closed { start, end } = parse_range(text) {
                assert!(start < end);
                taken += 1;
            }
            taken += u32::from(parse_unsatisfied_range(text).is_some());
            if let Ok(plain) = decode(text) {
                assert_eq!(decode(&encode_path(&plain)), Ok(plain));
            }
            if let Ok(mut pairs) = parse_query(text) {
                // A pair of nothing and nothing leaves no trace.
                pairs.retain(|(name, value)| !(name.is_empty() && value.is_empty()));
                let borrowed: Vec<_> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
                assert_eq!(parse_query(&write_query(&borrowed)).as_ref(), Ok(&pairs));
            }
            if let Ok(plain) = base64_decode(text) {
                assert_eq!(base64_decode(&base64_encode(&plain)), Ok(plain));
            }
            taken > 0
        })
    })
}

/// Lists of hosts that no proxy is used for, asked about a name, a name in capitals and addresses of both kinds.
pub(crate) fn no_proxy_lists() -> Parser {
    const ENDPOINTS: [&str; 4] = [
        "https://bucket.oss-cn-hangzhou.aliyuncs.com",
        "http://OSS.Example:8080",
        "http://10.1.2.3:9000",
        "http://[fd00::1]",
    ];
    Parser::new(|bytes| {
        let endpoints =
            ENDPOINTS.map(|text| Endpoint::parse_for(text, Addressing::Cname).expect("an endpoint"));
        is_any_taken(bytes, |list| {
            let named = endpoints.iter().filter(|endpoint| {
                let is_named = parsers::no_proxy_names(list, endpoint);
                let by_one = list.split([',', ' ']).any(|entry| parsers::no_proxy_names(entry, endpoint));
                assert_eq!(is_named, by_one, "a list names what one of its entries names");
                assert!(parsers::no_proxy_names(&format!("{list},*"), endpoint));
                assert!(parsers::no_proxy_names(&format!("{list} {}", endpoint.host), endpoint));
                is_named
            });
            named.count() > 0
        })
    })
}
