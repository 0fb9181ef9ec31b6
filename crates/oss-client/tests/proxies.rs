//! Through an HTTP proxy: the way, user information, NO_PROXY, and a proxy that refuses, hangs or lies.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod core_support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use core_support::{BUCKET, client_with, get_whole};
use oss_client::client::Client;
use oss_client::config::{ClientConfig, OptionValue, Place, resolve};
use oss_client::error::{Error, ErrorKind};
use oss_emulator::{EmulatorServer, Options};
use serde_json::{Value, json};

/// A name that no resolver knows: only a proxy leads there.
const HOST: &str = "oss-cn-local.nowhere.invalid";

struct Stage {
    emulator: EmulatorServer,
    scheme: &'static str,
}

impl Stage {
    fn new(scheme: &'static str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Each has an authority of its own.
        let place = std::env::temp_dir().join(format!("oss-client-{}-proxies-{number}", std::process::id()));
        let options = Options {
            tls: scheme == "https",
            tls_ca_dir: Some(place),
            buckets: vec![BUCKET.to_owned()],
            ..Options::default()
        };
        let emulator = EmulatorServer::start(options).unwrap();
        emulator.put_object(BUCKET, "k", b"whole").unwrap();
        Stage { emulator, scheme }
    }

    fn proxy(&self, user: &str) -> String {
        self.emulator.proxy_endpoint().replace("http://", &format!("http://{user}"))
    }

    fn config(&self, proxy: Option<&str>, variables: &[(&str, &str)]) -> Result<ClientConfig, Error> {
        let endpoint = format!("{}://{HOST}", self.scheme);
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
        };
        let place = Place { endpoint: Some(&endpoint), region: Some("cn-local"), addressing: "" };
        let option = proxy.map(|text| ("proxy", OptionValue::Text(text.to_owned())));
        let mut config = resolve(place, option.iter().map(|(name, value)| (*name, value)), &lookup)?;
        let quick = core_support::config("http://127.0.0.1:1");
        (config.timeouts, config.retry) = (quick.timeouts, quick.retry);
        config.timeouts.first_contact = Duration::from_millis(600);
        config.timeouts.tls_handshake = Duration::from_millis(300);
        config.timeouts.first_byte = Duration::from_millis(300);
        config.ca_file = self.emulator.ca_file().map(Into::into);
        Ok(config)
    }

    fn client(&self, proxy: &str) -> Client {
        client_with(&self.config(Some(proxy), &[]).unwrap(), self.emulator.credentials())
    }

    fn behave(&self, behaviour: Value) {
        self.emulator.set_proxy(behaviour).unwrap();
    }

    fn asked(&self) -> Vec<String> {
        let asked = self.emulator.proxy();
        asked["targets"]
            .as_array()
            .unwrap()
            .iter()
            .map(|target| target.as_str().unwrap().to_owned())
            .collect()
    }

    /// Fails as a proxy's fault, names the proxy and shows nothing of the user.
    fn refusal(&self) -> Error {
        let error = get_whole(&self.client(&self.proxy("canary:canary@")), "k").unwrap_err();
        assert_eq!(error.kind, ErrorKind::ConnectionFailed, "{error}");
        let text = format!("{error} {:?}", error.causes);
        let place = self.emulator.proxy_endpoint().replace("http://", "via proxy ");
        assert!(text.contains(&place) && !text.contains("canary") && !text.contains("Y2FuYXJ5"), "{text}");
        error
    }
}

#[test]
fn encrypted_endpoints_are_reached_by_connect_and_clear_ones_by_whole_urls() {
    let secure = Stage::new("https");
    let client = secure.client(&secure.proxy(""));
    for _ in 0..3 {
        assert_eq!(get_whole(&client, "k").unwrap().0, b"whole");
    }
    assert_eq!(secure.asked(), [format!("CONNECT {BUCKET}.{HOST}:443")], "the connection is kept");
    let clear = Stage::new("http");
    assert_eq!(get_whole(&clear.client(&clear.proxy("")), "k").unwrap().0, b"whole");
    assert_eq!(clear.asked(), [format!("GET http://{BUCKET}.{HOST}/k")]);
}

#[test]
fn user_information_is_told_to_the_proxy_and_to_nobody_else() {
    for scheme in ["https", "http"] {
        let stage = Stage::new(scheme);
        stage.behave(json!({"user": "us er:p@ss"}));
        let client = stage.client(&stage.proxy("us%20er:p%40ss@"));
        assert_eq!(get_whole(&client, "k").unwrap().0, b"whole", "{scheme}");
        assert!(!format!("{client:?}").contains("p@ss"));
    }
}

#[test]
fn the_environment_names_the_proxy_and_no_proxy_spares_it() {
    let stage = Stage::new("https");
    let proxy = stage.proxy("");
    let config = stage.config(None, &[("HTTPS_PROXY", &proxy)]).unwrap();
    assert_eq!(get_whole(&client_with(&config, stage.emulator.credentials()), "k").unwrap().0, b"whole");
    let spared = |option, list: &str| {
        stage.config(option, &[("HTTPS_PROXY", &proxy), ("NO_PROXY", list)]).unwrap().proxy.is_none()
    };
    assert!(spared(None, ".invalid") && spared(Some(&proxy), HOST), "both ways to name a proxy honour it");
    assert!(spared(Some("direct"), ""), "and one word turns the environment's off");
    assert!(!spared(None, "elsewhere.invalid"));
    let error = stage.config(None, &[("https_proxy", "socks5://canary@h:1")]).unwrap_err();
    assert!(error.kind == ErrorKind::Config && !error.to_string().contains("canary"), "{error}");
    let error = stage.config(Some("https://h:1"), &[]).unwrap_err().to_string();
    assert!(error.contains("option proxy") && error.contains("kind https"), "{error}");
}

#[test]
fn test_f23_a_proxy_that_refuses_ends_it_at_the_first_attempt() {
    for scheme in ["https", "http"] {
        let stage = Stage::new(scheme);
        for (behaviour, said) in [
            (json!({"user": "somebody:else"}), "user and a password"),
            (json!({"status": 403, "body": "<html>canary: blocked</html>"}), "list the host in NO_PROXY"),
        ] {
            stage.behave(behaviour);
            let error = stage.refusal();
            assert!(error.message.contains(said) && error.attempts == 1, "{error}");
        }
    }
}

#[test]
fn test_f23_a_proxy_that_cannot_pass_on_is_asked_again_and_named() {
    for scheme in ["https", "http"] {
        let stage = Stage::new(scheme);
        stage.behave(json!({"status": 502, "body": "<html>canary</html>"}));
        let error = stage.refusal();
        assert!(error.message.contains("status 502") && error.attempts > 1, "{error}");
        assert!(error.message.contains("never answered"), "{scheme}: {error}");
        stage.behave(json!({}));
        assert_eq!(get_whole(&stage.client(&stage.proxy("")), "k").unwrap().0, b"whole");
    }
}

#[test]
fn test_f23_a_proxy_that_hangs_or_is_none_is_named() {
    let stage = Stage::new("https");
    stage.behave(json!({"hangs": true}));
    assert!(stage.refusal().message.contains("silent for too long"));
    stage.behave(json!({"raw": "SSH-2.0-canary\r\n\r\n"}));
    let error = stage.refusal();
    assert!(error.message.contains("no HTTP proxy") && error.attempts == 1, "{error}");
    stage.behave(json!({"raw": "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>canary</html>"}));
    assert!(stage.refusal().message.contains("no HTTP proxy"));
    stage.behave(json!({"raw": "HTTP/1.1 200 OK\r\n\r\n"}));
    assert!(stage.refusal().message.contains("TLS handshake"));
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = get_whole(&stage.client(&format!("http://canary:canary@{nobody}")), "k").unwrap_err();
    assert!(error.message.contains("via proxy") && error.message.contains("refused"), "{error}");
}

#[test]
fn test_f23_a_web_page_with_a_good_status_is_never_an_object() {
    let stage = Stage::new("http");
    let page = "<html>canary</html>";
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n", page.len());
    stage.behave(json!({"raw": format!("{head}{page}")}));
    let outcome = get_whole(&stage.client(&stage.proxy("")), "k");
    let error = outcome.map(|(bytes, _)| String::from_utf8(bytes).unwrap()).unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Protocol | ErrorKind::ConnectionFailed), "{error}");
    assert!(!error.to_string().contains("canary"), "{error}");
}
