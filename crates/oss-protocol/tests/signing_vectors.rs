//! Every golden vector of the official SDKs, with all its intermediates.
//!
//! `OSS_SIGNING_VECTORS` names another file of the same shape.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that fails here fails loudly")]

use oss_protocol::encoding::{hex, parse_query};
use oss_protocol::sign::{
    Credentials, KeyLookup, RequestParts, Scope, Secret, SignatureVersion, Signer, SigningKey, Stamp,
    VerifyPolicy, VerifyRequest, canonical_request, string_to_sign, v1, verify,
};
use oss_protocol::time::UtcTime;
use oss_protocol::uri::{Addressing, Endpoint};
use serde_json::Value;
use sha2::{Digest, Sha256};

type Pairs = Vec<(String, String)>;

#[expect(clippy::disallowed_methods, reason = "the file under test is named by the environment")]
fn vectors(list: &str) -> Vec<Value> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/signing-vectors.json");
    let path = std::env::var("OSS_SIGNING_VECTORS").unwrap_or_else(|_| own.to_owned());
    let text = std::fs::read_to_string(&path).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let entries = file[list].as_array().unwrap().clone();
    assert!(!entries.is_empty(), "{list} of {path} is empty");
    entries
}

/// The `input` of a vector as values.
struct Input {
    name: String,
    method: String,
    bucket: Option<String>,
    key: Option<String>,
    query: Pairs,
    headers: Pairs,
    additional: Vec<String>,
    credentials: Credentials,
    region: String,
    product: String,
}

impl Input {
    fn of(vector: &Value) -> Self {
        let input = &vector["input"];
        let optional = |name: &str| input[name].as_str().map(str::to_owned);
        let text = |name: &str| optional(name).unwrap_or_default();
        let query = match input["raw_query"].as_str() {
            Some(raw) => parse_query(raw).unwrap(),
            None => pairs_of(&input["params"]),
        };
        Self {
            name: vector["name"].as_str().unwrap().to_owned(),
            method: text("method"),
            bucket: optional("bucket"),
            key: optional("key"),
            query,
            headers: map_of(&input["headers"]),
            additional: strings_of(&input["additional_headers"]),
            credentials: Credentials::new(
                text("access_key_id"),
                text("access_key_secret"),
                optional("security_token").map(Secret::from),
            ),
            region: text("region"),
            product: text("product"),
        }
    }

    fn sign<R>(&self, headers: &Pairs, with: impl FnOnce(&RequestParts<'_>, &[&str]) -> R) -> R {
        let (query, headers) = (borrowed(&self.query), borrowed(headers));
        let additional: Vec<&str> = self.additional.iter().map(String::as_str).collect();
        let parts = RequestParts {
            method: &self.method,
            bucket: self.bucket.as_deref(),
            key: self.key.as_deref(),
            query: &query,
            headers: &headers,
        };
        with(&parts, &additional)
    }

    fn signer(&self) -> Signer {
        Signer::for_product(self.credentials.clone(), self.region.as_str(), self.product.as_str())
    }

    /// The SDKs take virtual hosts for everything but IP addresses unless told otherwise.
    fn destination(&self, vector: &Value) -> (Endpoint, Addressing) {
        let input = &vector["input"];
        let flag = |name: &str| input[name].as_bool().unwrap_or(false);
        let addressing = match (flag("cname"), flag("path_style")) {
            (true, _) => Addressing::Cname,
            (false, true) => Addressing::Path,
            (false, false) => Addressing::Virtual,
        };
        let regional = format!("https://oss-{}.aliyuncs.com", self.region);
        let endpoint = input["endpoint"].as_str().unwrap_or(&regional);
        (Endpoint::parse_for(endpoint, addressing).unwrap(), addressing)
    }

    /// Let the server's side look at a request; whether it accepts it.
    fn is_accepted(&self, raw_query: &str, headers: &Pairs, now: UtcTime, version: SignatureVersion) -> bool {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let request = VerifyRequest {
            method: &self.method,
            bucket: self.bucket.as_deref(),
            key: self.key.as_deref(),
            raw_query,
            headers: &headers,
        };
        let policy = VerifyPolicy { region: &self.region, product: &self.product, now };
        let found = |id: &str| (id == self.credentials.access_key_id).then(|| self.credentials.clone());
        match verify(&request, &policy, |id| KeyLookup::from(found(id))) {
            Ok(identity) => {
                assert_eq!(identity.access_key_id, self.credentials.access_key_id, "{}", self.name);
                identity.version == version
            }
            Err(problem) => {
                assert_eq!(problem.code, "SignatureDoesNotMatch", "{}: {problem}", self.name);
                false
            }
        }
    }
}

fn pairs_of(list: &Value) -> Pairs {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    list.as_array().map_or_else(Vec::new, |l| l.iter().map(|pair| (text(&pair[0]), text(&pair[1]))).collect())
}

fn map_of(map: &Value) -> Pairs {
    let pair = |(name, value): (&String, &Value)| (name.clone(), value.as_str().unwrap().to_owned());
    map.as_object().map_or_else(Vec::new, |map| map.iter().map(pair).collect())
}

fn strings_of(list: &Value) -> Vec<String> {
    list.as_array().map_or_else(Vec::new, |l| l.iter().map(|v| v.as_str().unwrap().to_owned()).collect())
}

fn borrowed(pairs: &Pairs) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Headers for a comparison: names in lower case, values trimmed, sorted, without `Authorization`.
fn normal(headers: &Pairs) -> Pairs {
    let mut headers: Pairs = headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .filter(|(name, _)| name != "authorization")
        .collect();
    headers.sort();
    headers
}

/// The headers on the wire: those of the request, those of the signer, in that order.
fn sent(request: &Pairs, added: &[(&'static str, String)]) -> Pairs {
    let is_added = |name: &str| added.iter().any(|(added, _)| added.eq_ignore_ascii_case(name));
    let kept = request.iter().filter(|(name, _)| !is_added(name)).cloned();
    kept.chain(added.iter().map(|(name, value)| ((*name).to_owned(), value.clone()))).collect()
}

fn with_authorization(headers: &Pairs, authorization: &str) -> Pairs {
    let others = headers.iter().filter(|(name, _)| name != "Authorization").cloned();
    others.chain([("Authorization".to_owned(), authorization.to_owned())]).collect()
}

fn query_of(url: &str) -> &str {
    url.split_once('?').map_or("", |(_, query)| query)
}

/// A text of the vector; where trimming changes it, the trimmed form.
struct Expected<'a>(&'a Value);

impl Expected<'_> {
    fn is_trimmed(&self) -> bool {
        self.0["go_style_trimmed"].is_object()
    }

    fn text(&self, name: &str) -> &str {
        let trimmed = self.0["go_style_trimmed"][name].as_str();
        trimmed.or(self.0[name].as_str()).unwrap_or_else(|| panic!("{}: {name} is missing", self.0["name"]))
    }

    fn digest(&self) -> String {
        let digest = hex(&Sha256::digest(self.text("canonical_request")));
        if !self.is_trimmed() {
            assert_eq!(digest, self.text("canonical_request_sha256"));
        }
        digest
    }

    fn string_to_sign(&self) -> String {
        self.text("string_to_sign").replace(self.text("canonical_request_sha256"), &self.digest())
    }

    fn with_signature(&self, name: &str) -> String {
        self.text(name).replace(self.0["signature"].as_str().unwrap(), self.text("signature"))
    }
}

#[test]
fn v4_headers_match_in_every_step() {
    for vector in vectors("v4_header") {
        let (input, expected) = (Input::of(&vector), Expected(&vector));
        let (name, signer) = (input.name.as_str(), input.signer());
        let time = UtcTime::parse_iso_basic(vector["input"]["signing_time_utc"].as_str().unwrap()).unwrap();
        let signed =
            input.sign(&input.headers, |parts, additional| signer.sign_headers(parts, additional, time));

        assert_eq!(signed.canonical_request, expected.text("canonical_request"), "{name}");
        assert_eq!(hex(&Sha256::digest(&signed.canonical_request)), expected.digest(), "{name}");
        assert_eq!(signed.string_to_sign, expected.string_to_sign(), "{name}");
        assert_eq!(signed.signature, expected.text("signature"), "{name}");

        let stamp = Stamp::new(time);
        let scope = Scope { date: stamp.date(), region: &input.region, product: &input.product };
        assert_eq!(scope.to_string(), expected.text("scope"), "{name}");
        let key = SigningKey::derive(&input.credentials.access_key_secret, &scope);
        assert_eq!(key.to_hex(), expected.text("signing_key_hex"), "{name}");
        assert_eq!(key.sign(signed.string_to_sign.as_bytes()), signed.signature, "{name}");
        assert_eq!(
            string_to_sign(&signed.canonical_request, stamp.iso_basic(), &scope),
            signed.string_to_sign,
            "{name}"
        );

        let wire = sent(&input.headers, &signed.headers_to_add);
        assert_eq!(normal(&wire), normal(&map_of(&vector["headers_after_signing"])), "{name}");
        let again = input.sign(&wire, canonical_request);
        assert_eq!(again, signed.canonical_request, "{name}");
        let (last, authorization) = signed.headers_to_add.last().unwrap();
        assert_eq!(*last, "Authorization");
        assert_eq!(*authorization, expected.with_signature("authorization"), "{name}");
    }
}

#[test]
fn v4_hot_path_writes_the_same_lines() {
    for vector in vectors("v4_header") {
        let input = Input::of(&vector);
        let time = UtcTime::parse_iso_basic(vector["input"]["signing_time_utc"].as_str().unwrap()).unwrap();
        let mut out = b"Host: h\r\n".to_vec();
        let signer = input.signer();
        let signed = input.sign(&input.headers, |parts, _| {
            signer.sign_into(parts, &Stamp::new(time), &mut out);
            signer.sign_headers(parts, &[], time)
        });
        let mut lines: Vec<String> = signed
            .headers_to_add
            .iter()
            .filter(|(name, _)| *name != "Date")
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        lines.insert(0, "Host: h".to_owned());
        let mut written: Vec<_> = str::from_utf8(&out).unwrap().split_terminator("\r\n").collect();
        lines.sort();
        written.sort_unstable();
        assert_eq!(written, lines, "{}", input.name);
    }
}

#[test]
fn v4_requests_go_where_the_sdk_sends_them() {
    for vector in vectors("v4_header").into_iter().chain(vectors("v4_presign")) {
        let input = Input::of(&vector);
        let (endpoint, addressing) = input.destination(&vector);
        let target = endpoint.target(addressing, input.bucket.as_deref(), input.key.as_deref());
        let url = vector["url_before_signing"].as_str().unwrap();
        let own = format!("{}://{}{}", endpoint.scheme.as_str(), target.host_header, target.path);
        assert_eq!(url.split_once('?').map_or(url, |(before, _)| before), own, "{}", input.name);
        assert_eq!(target.host_header, vector["host"].as_str().unwrap(), "{}", input.name);
        assert_eq!(parse_query(query_of(url)).unwrap(), input.query, "{}", input.name);
    }
}

#[test]
fn v4_requests_of_both_sdks_are_accepted() {
    for vector in vectors("v4_header") {
        let (input, expected) = (Input::of(&vector), Expected(&vector));
        let time = UtcTime::parse_iso_basic(vector["input"]["signing_time_utc"].as_str().unwrap()).unwrap();
        let query = query_of(vector["url_before_signing"].as_str().unwrap());
        let wire = map_of(&vector["headers_after_signing"]);
        let accepts = |authorization: &str| {
            let headers = with_authorization(&wire, authorization);
            input.is_accepted(query, &headers, time, SignatureVersion::V4)
        };
        assert!(accepts(&expected.with_signature("authorization")), "{}", input.name);
        let flipped = expected.with_signature("authorization").replace("Signature=", "Signature=0");
        assert!(!accepts(&flipped), "{}", input.name);
        if vector["oss2_signature_equal"].as_bool() == Some(true) {
            assert!(accepts(&expected.with_signature("oss2_authorization")), "{}", input.name);
        }
    }
}

#[test]
fn v4_urls_match_in_every_step() {
    for vector in vectors("v4_presign") {
        let (input, expected) = (Input::of(&vector), Expected(&vector));
        let name = input.name.as_str();
        let time = UtcTime::parse_iso_basic(vector["input"]["signing_time_utc"].as_str().unwrap()).unwrap();
        let expires = u32::try_from(vector["input"]["expires_seconds"].as_u64().unwrap()).unwrap();
        let (endpoint, addressing) = input.destination(&vector);
        let signer = input.signer();
        let signed = input
            .sign(&input.headers, |parts, additional| {
                signer.presign((&endpoint, addressing), parts, additional, time, expires)
            })
            .unwrap();

        assert_eq!(signed.canonical_request, expected.text("canonical_request"), "{name}");
        assert_eq!(signed.string_to_sign, expected.string_to_sign(), "{name}");
        assert_eq!(signed.signature, expected.text("signature"), "{name}");
        assert_eq!(signed.url, expected.with_signature("presigned_url"), "{name}");
        let stamp = Stamp::new(time);
        let scope = Scope { date: stamp.date(), region: &input.region, product: &input.product };
        assert_eq!(scope.to_string(), expected.text("scope"), "{name}");
        let key = SigningKey::derive(&input.credentials.access_key_secret, &scope);
        assert_eq!(key.to_hex(), expected.text("signing_key_hex"), "{name}");
        assert_eq!(normal(&input.headers), normal(&map_of(&vector["headers_after_signing"])), "{name}");

        let last = UtcTime(time.0 + i64::from(expires));
        let accepts =
            |url: &str| input.is_accepted(query_of(url), &input.headers, last, SignatureVersion::V4);
        assert!(accepts(&signed.url), "{name}");
        assert!(!accepts(&format!("{}&extra=1", signed.url)), "{name}");
    }
}

#[test]
fn v1_headers_match_the_recommended_sdk() {
    for vector in vectors("v1_header") {
        let input = Input::of(&vector);
        let name = input.name.as_str();
        let side = &vector[vector["recommended"].as_str().unwrap()];
        let time = UtcTime::parse_http_date(vector["input"]["date"].as_str().unwrap()).unwrap();
        let signed = input.sign(&input.headers, |parts, _| v1::sign_headers(&input.credentials, parts, time));

        assert_eq!(signed.string_to_sign, side["string_to_sign"].as_str().unwrap(), "{name}");
        let (_, authorization) = signed.headers_to_add.last().unwrap();
        assert_eq!(authorization, side["authorization"].as_str().unwrap(), "{name}");
        let wire = sent(&input.headers, &signed.headers_to_add);
        assert_eq!(normal(&wire), normal(&map_of(&side["headers_after_signing"])), "{name}");

        let query = oss_protocol::encoding::write_query(&borrowed(&input.query));
        assert!(input.is_accepted(&query, &wire, time, SignatureVersion::V1), "{name}");
        let flipped = with_authorization(&wire, &authorization.replace(':', ":0"));
        assert!(!input.is_accepted(&query, &flipped, time, SignatureVersion::V1), "{name}");
    }
}

#[test]
fn v1_urls_match() {
    for vector in vectors("v1_presign") {
        let input = Input::of(&vector);
        let name = input.name.as_str();
        let url = vector["v2sdk"]["presigned_url"].as_str().unwrap();
        let expires = UtcTime(vector["input"]["expires_epoch"].as_i64().unwrap());
        let (endpoint, addressing) = destination_of(url, input.bucket.as_deref());
        let signed = input.sign(&input.headers, |parts, _| {
            v1::presign(&input.credentials, (&endpoint, addressing), parts, expires)
        });
        assert_eq!(signed.string_to_sign, vector["v2sdk"]["string_to_sign"].as_str().unwrap(), "{name}");
        assert_eq!(signed.url, url, "{name}");
        let accepts =
            |url: &str| input.is_accepted(query_of(url), &input.headers, expires, SignatureVersion::V1);
        assert!(accepts(url), "{name}");
        assert!(!accepts(&format!("{url}&acl")), "{name}");
    }
}

/// These vectors name no endpoint: take it from the URL.
fn destination_of(url: &str, bucket: Option<&str>) -> (Endpoint, Addressing) {
    let (scheme, rest) = url.split_once("://").unwrap();
    let host = rest.split_once('/').unwrap().0;
    match bucket.and_then(|bucket| host.strip_prefix(&format!("{bucket}."))) {
        Some(host) => (Endpoint::parse(&format!("{scheme}://{host}")).unwrap(), Addressing::Virtual),
        None => (Endpoint::parse(&format!("{scheme}://{host}")).unwrap(), Addressing::Path),
    }
}
