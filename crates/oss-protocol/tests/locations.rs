//! Locations, endpoints and regions: the tables of accepted and refused texts.
#![expect(clippy::unwrap_used, reason = "a test that fails here fails loudly")]

use oss_protocol::uri::{
    Addressing, Endpoint, MAX_KEY_BYTES, ObjectUri, Scheme, is_valid_bucket_name, normalize_region,
};
use proptest::prelude::*;

fn parts(text: &str) -> (String, String) {
    let uri = ObjectUri::parse(text).unwrap();
    (uri.bucket, uri.key)
}

fn owned(bucket: &str, key: &str) -> (String, String) {
    (bucket.to_owned(), key.to_owned())
}

#[test]
fn both_spellings_of_a_location_are_read_raw() {
    assert_eq!(parts("oss://bkt/a/b%20c?x#y"), owned("bkt", "a/b%20c?x#y"));
    assert_eq!(parts("/bkt/a/b"), owned("bkt", "a/b"));
    assert_eq!(parts("oss://bkt"), owned("bkt", ""));
    assert_eq!(parts("oss://bkt/"), owned("bkt", ""));
    assert_eq!(parts("/bkt"), owned("bkt", ""));
    assert_eq!(parts("oss://bkt//k"), owned("bkt", "/k"));
    assert_eq!(parts("oss://b/数据\n"), owned("b", "数据\n"));
}

#[test]
fn texts_that_name_nothing_are_refused_on_one_line() {
    let long = format!("oss://{}/k", "b".repeat(64));
    for text in [
        "",
        "/",
        "oss://",
        "oss:///k",
        "s3://b/k",
        "OSS://b/k",
        "b/k",
        "oss:/b/k",
        "oss://B/k",
        "oss://-b/k",
        "oss://b-/k",
        "oss://a.b/k",
        "oss://a@b/k",
        "oss://a:1/k",
        "oss://a\nb/k",
        long.as_str(),
    ] {
        let error = ObjectUri::parse(text).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        assert!(error.contains("oss://bucket/key") || error.contains("a-z"), "no remedy: {error}");
    }
}

#[test]
fn a_key_is_needed_where_an_object_is_meant() {
    assert!(ObjectUri::parse_object("oss://bkt/k").is_ok());
    for text in ["oss://bkt", "oss://bkt/", "/bkt/"] {
        let error = ObjectUri::parse_object(text).unwrap_err().to_string();
        assert!(error.contains(text) && error.contains("oss://bucket/key"), "{error}");
    }
}

#[test]
fn keys_are_limited_in_bytes() {
    let fits = "数".repeat(MAX_KEY_BYTES / 3);
    assert_eq!(fits.len(), MAX_KEY_BYTES);
    assert!(ObjectUri::parse_object(&format!("oss://bkt/{fits}")).is_ok());
    let error = ObjectUri::parse(&format!("oss://bkt/{fits}k")).unwrap_err().to_string();
    assert!(error.contains("1024 bytes") && error.contains("1023"), "{error}");
}

#[test]
fn folded_path_objects_are_read() {
    let expected = ObjectUri::parse("oss://b/k").unwrap();
    for text in ["oss:/b/k", "oss://b/k", "/b/k"] {
        assert_eq!(ObjectUri::parse_path_like(text), Ok(expected.clone()));
    }
    for text in ["oss:b/k", "oss:///k", "oss:/", "Oss:/b/k"] {
        assert!(ObjectUri::parse_path_like(text).is_err(), "{text}");
    }
}

#[test]
fn bucket_names_have_the_service_limits() {
    assert!(is_valid_bucket_name("a-1") && is_valid_bucket_name(&"a".repeat(63)));
    for name in ["", "ab", "-ab", "ab-", "aBc", "a_b", "a.b", &"a".repeat(64)] {
        assert!(!is_valid_bucket_name(name), "{name}");
    }
}

#[test]
fn endpoints_are_read() {
    for (text, shown) in [
        ("oss-cn-beijing.aliyuncs.com", "https://oss-cn-beijing.aliyuncs.com"),
        ("HTTP://Host.Example:8080/", "http://host.example:8080"),
        ("https://h:443//", "https://h"),
        ("http://h:80", "http://h"),
        ("https://h:80", "https://h:80"),
        ("localhost:9000", "https://localhost:9000"),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("http://[::1]:9000/", "http://[::1]:9000"),
        ("[0:0:0:0:0:0:0:1]", "https://[::1]"),
    ] {
        let endpoint = Endpoint::parse(text).unwrap();
        assert_eq!(endpoint.to_string(), shown);
        assert_eq!(Endpoint::parse(shown), Ok(endpoint));
    }
    let endpoint = Endpoint::parse("http://[::1]:9000").unwrap();
    assert_eq!((endpoint.scheme, endpoint.host.as_str(), endpoint.port), (Scheme::Http, "::1", 9000));
}

#[test]
fn endpoints_with_anything_else_are_refused() {
    for (text, remedy) in [
        ("", "pass one like"),
        ("https://", "pass one like"),
        ("https:///k", "pass one like"),
        ("ftp://h", "http:// and https://"),
        ("https://h/path", "no path"),
        ("h/bucket", "no path"),
        ("https://h?x=1", "no query"),
        ("https://h/#f", "no fragment"),
        ("https://h:0", "1 to 65535"),
        ("https://h:65536", "1 to 65535"),
        ("https://h:+1", "1 to 65535"),
        ("https://h:", "1 to 65535"),
        ("https://::1", "brackets"),
        ("https://[::1", "http://[::1]"),
        ("https://[h]", "http://[::1]"),
        ("https://[::1]x", "http://[::1]"),
        ("https://a..b", "host name"),
        ("https://a b", "host name"),
        ("https://h\r\nx", "host name"),
        ("https://h%2f", "host name"),
        (" https://h", "http:// and https://"),
    ] {
        let error = Endpoint::parse(text).unwrap_err().to_string();
        assert!(error.contains(remedy) && !error.contains(['\n', '\r']), "{text}: {error}");
    }
}

#[test]
fn user_information_is_refused_without_being_shown() {
    for text in [
        "https://me:hunter2@h",
        "https://h/@hunter2",
        "me:hunter2@h:80",
        "me:hunter2://x@h",
        "https://h?hunter2",
        "https://?hunter2",
        "https://h/k?Signature=hunter2",
    ] {
        let error = Endpoint::parse(text).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_bucket_in_front_of_the_endpoint_is_refused_with_the_remedy() {
    for (text, remedy, bucket) in [
        ("http://bkt.oss-cn-beijing.aliyuncs.com:8080", "http://oss-cn-beijing.aliyuncs.com:8080", "bkt"),
        ("bkt.cn-hangzhou.oss.aliyuncs.com", "https://cn-hangzhou.oss.aliyuncs.com", "bkt"),
        ("bkt.oss-accelerate.aliyuncs.com", "https://oss-accelerate.aliyuncs.com", "bkt"),
        ("bkt.vpc100-oss-cn-beijing.aliyuncs.com", "https://vpc100-oss-cn-beijing.aliyuncs.com", "bkt"),
    ] {
        let error = Endpoint::parse(text).unwrap_err().to_string();
        assert!(error.contains(remedy) && error.contains(&format!("{bucket:?}")), "{error}");
        assert!(Endpoint::parse_for(text, Addressing::Cname).is_ok());
    }
    assert!(Endpoint::parse("https://cb-f8z7yv.cn-shenzhen.oss-cloudbox.aliyuncs.com").is_ok());
}

#[test]
fn regions_are_inferred_by_the_table() {
    for (host, region) in [
        ("oss-cn-beijing.aliyuncs.com", Some("cn-beijing")),
        ("oss-cn-beijing-internal.aliyuncs.com", Some("cn-beijing")),
        ("http://oss-cn-beijing-internal.aliyuncs.com:8080", Some("cn-beijing")),
        ("OSS-cn-beijing.aliyuncs.com", Some("cn-beijing")),
        ("cn-hangzhou.oss.aliyuncs.com", Some("cn-hangzhou")),
        ("vpc100-oss-cn-beijing.aliyuncs.com", Some("cn-beijing")),
        ("oss-accelerate.aliyuncs.com", None),
        ("oss-accelerate-overseas.aliyuncs.com", None),
        ("oss-cn-hzjbp-a-internal.aliyuncs.com", Some("cn-hzjbp-a")),
        ("oss-cn-shanghai-finance-1-internal.aliyuncs.com", Some("cn-shanghai-finance-1")),
        ("oss-cn-north-2-gov-1.aliyuncs.com", Some("cn-north-2-gov-1")),
        ("oss.aliyuncs.com", None),
        ("img.example.com", None),
        ("oss-cn-beijing.example.com", None),
        ("127.0.0.1:9000", None),
        ("[::1]:9000", None),
        ("localhost", None),
    ] {
        assert_eq!(Endpoint::parse(host).unwrap().infer_region().as_deref(), region, "{host}");
    }
}

#[test]
fn a_region_loses_its_prefix() {
    assert_eq!(normalize_region("cn-hangzhou").as_deref(), Ok("cn-hangzhou"));
    assert_eq!(normalize_region("oss-cn-hangzhou").as_deref(), Ok("cn-hangzhou"));
    for text in ["", "oss-", "CN-hangzhou", "cn hangzhou", "cn-hangzhou\n", "cn/hangzhou"] {
        assert!(normalize_region(text).unwrap_err().to_string().contains("cn-hangzhou"), "{text}");
    }
}

#[test]
fn every_addressing_has_its_target() {
    let target = |endpoint: &str, addressing, bucket, key| {
        let target = Endpoint::parse(endpoint).unwrap().target(addressing, bucket, key);
        (target.connect_host, target.host_header, target.path)
    };
    let of = |connect: &str, host: &str, path: &str| (connect.to_owned(), host.to_owned(), path.to_owned());
    use Addressing::{Auto, Cname, Path, Virtual};
    let (bucket, key) = (Some("bkt"), Some("a b/c"));
    assert_eq!(target("http://h:8080", Auto, bucket, key), of("bkt.h", "bkt.h:8080", "/a%20b/c"));
    assert_eq!(target("http://h", Path, bucket, key), of("h", "h", "/bkt/a%20b/c"));
    assert_eq!(target("http://h", Path, bucket, None), of("h", "h", "/bkt/"));
    assert_eq!(target("http://h", Cname, bucket, key), of("h", "h", "/a%20b/c"));
    assert_eq!(target("http://h", Auto, bucket, None), of("bkt.h", "bkt.h", "/"));
    assert_eq!(target("http://h", Path, None, None), of("h", "h", "/"));
    assert_eq!(
        target("http://localhost:1", Auto, bucket, key),
        of("localhost", "localhost:1", "/bkt/a%20b/c")
    );
    assert_eq!(
        target("http://localhost", Virtual, bucket, key),
        of("bkt.localhost", "bkt.localhost", "/a%20b/c")
    );
    for addressing in [Auto, Virtual, Path, Cname] {
        assert_eq!(target("http://[::1]:9", addressing, bucket, key), of("::1", "[::1]:9", "/bkt/a%20b/c"));
        assert_eq!(
            target("http://127.0.0.1", addressing, bucket, Some("/k")),
            of("127.0.0.1", "127.0.0.1", "/bkt//k")
        );
    }
}

proptest! {
    #[test]
    fn a_location_survives_both_spellings(bucket in "[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?", key in ".{0,250}") {
        let uri = ObjectUri { bucket, key };
        prop_assert_eq!(ObjectUri::parse(&uri.to_string()), Ok(uri.clone()));
        prop_assert_eq!(ObjectUri::parse(&uri.path()), Ok(uri));
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in any::<String>()) {
        let _ = ObjectUri::parse(&text);
        let _ = ObjectUri::parse_path_like(&text);
        let _ = normalize_region(&text);
        if let Ok(endpoint) = Endpoint::parse(&text) {
            prop_assert_eq!(Endpoint::parse(&endpoint.to_string()), Ok(endpoint));
        }
    }

    #[test]
    fn hosts_survive_being_shown(host in "[a-z0-9_-]{1,20}(\\.[a-z0-9_-]{1,20}){0,3}", port in 1_u16.., http: bool) {
        let scheme = if http { "http" } else { "https" };
        let endpoint = Endpoint::parse(&format!("{scheme}://{host}:{port}/")).unwrap();
        prop_assert_eq!(&endpoint.host, &host);
        prop_assert_eq!(Endpoint::parse(&endpoint.to_string()), Ok(endpoint));
    }
}
