//! Keys from the metadata service, STS, a URI and profiles, as the emulator hands them out: rotating, failing, slow.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod core_support;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use core_support::{BUCKET, client_by, config, get_whole, world, world_with};
use oss_client::asker::Asker;
use oss_client::cancel::Cancel;
use oss_client::client::Client;
use oss_client::clock::{Clock, SystemClock};
use oss_client::config::ClientConfig;
use oss_client::credentials::{ChainProvider, CredentialsProvider, Surroundings};
use oss_client::error::{Error, ErrorKind};
use oss_emulator::{EmulatorServer, Options};
use serde_json::{Value, json};

const ROLE_ARN: &str = "acs:ram::1:role/training";

/// An emulator, a home directory, and the variables with which the chain finds its way.
struct Stage {
    emulator: EmulatorServer,
    home: PathBuf,
    variables: Vec<(String, String)>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.home);
    }
}

impl Stage {
    fn new(variables: &[(&str, &str)]) -> Self {
        Stage::of(world().emulator, variables)
    }

    fn of(emulator: EmulatorServer, variables: &[(&str, &str)]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let home = std::env::temp_dir().join(format!("oss-client-{}-identity-{number}", std::process::id()));
        fs::create_dir_all(&home).unwrap();
        emulator.put_object(BUCKET, "k", b"whole").unwrap();
        let identity = emulator.identity_endpoint();
        let mut stage = Stage { emulator, home, variables: Vec::new() };
        stage.set("OSSCONNECTOR_STS_ENDPOINT", &identity);
        stage.set("OSSCONNECTOR_METADATA_ENDPOINT", &identity);
        let home = stage.home.display().to_string();
        stage.set("HOME", &home);
        for (name, value) in variables {
            stage.set(name, &value.replace("HOME", &home).replace("IDENTITY", &identity));
        }
        stage
    }

    fn set(&mut self, name: &str, value: &str) {
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.home.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let keys = self.emulator.credentials();
        let text = text.replace("BASE-ID", &keys.access_key_id);
        fs::write(path, text.replace("BASE-SECRET", keys.access_key_secret.expose())).unwrap();
    }

    fn chain(&self) -> ChainProvider {
        let known = self.variables.clone();
        let lookup =
            move |name: &str| known.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let ca_file = self.emulator.ca_file().map(Into::into);
        ChainProvider::new(Surroundings::with(lookup, self.home.join("original"), ca_file))
    }

    fn client(&self) -> Client {
        client_by(&patient(&self.emulator), Arc::new(self.chain()))
    }

    fn read(&self) -> Result<Vec<u8>, Error> {
        get_whole(&self.client(), "k").map(|(bytes, _)| bytes)
    }

    fn asked(&self, kind: &str) -> u64 {
        self.emulator.identity()["asked"][kind].as_u64().unwrap_or(0)
    }

    fn behave(&self, behaviour: Value) {
        self.emulator.set_identity(behaviour).unwrap();
    }

    fn expire_newest(&self) {
        let newest = self.emulator.identity()["newest"].as_str().unwrap().to_owned();
        self.emulator.expire_key(&newest);
    }

    /// Fails, names the source and says nothing secret.
    fn refusal(&self, named: &[&str]) {
        let error = self.read().unwrap_err();
        assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
        let text = error.to_string();
        for word in named {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!text.contains("canary") && text.lines().count() == 1, "{text}");
    }
}

/// Timers that a busy machine with a thousand threads keeps.
fn patient(emulator: &EmulatorServer) -> ClientConfig {
    let mut config = config(&emulator.endpoint());
    config.timeouts.deadline = Duration::from_secs(40);
    config.timeouts.first_byte = Duration::from_secs(30);
    config.timeouts.first_contact = Duration::from_secs(30);
    config.timeouts.connect = Duration::from_secs(30);
    config.ca_file = emulator.ca_file().map(Into::into);
    config
}

const OIDC: [(&str, &str); 3] = [
    ("ALIBABA_CLOUD_ROLE_ARN", ROLE_ARN),
    ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "acs:ram::1:oidc-provider/cluster"),
    ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", "HOME/token"),
];

#[test]
fn a_machine_with_a_role_needs_nothing_else() {
    for role in ["", "emulator-role"] {
        let stage = Stage::new(&[("ALIBABA_CLOUD_ECS_METADATA", role)]);
        assert_eq!(stage.read().unwrap(), b"whole");
        assert_eq!((stage.asked("token"), stage.asked("keys")), (1, 1));
        assert_eq!(stage.asked("role"), u64::from(role.is_empty()));
    }
}

#[test]
fn a_machine_with_a_role_is_asked_again_when_its_first_answer_is_a_fault() {
    for role in ["", "emulator-role"] {
        let stage = Stage::new(&[("ALIBABA_CLOUD_ECS_METADATA", role)]);
        stage.behave(json!({"status": 500, "times": 2}));
        assert_eq!(stage.read().unwrap(), b"whole");
        assert_eq!((stage.asked("token"), stage.asked("keys")), (3, 1));
    }
}

#[test]
fn a_metadata_service_without_tokens_is_asked_without_unless_that_is_forbidden() {
    let stage = Stage::new(&[]);
    stage.behave(json!({"without_token": true}));
    assert_eq!(stage.read().unwrap(), b"whole");
    let strict = Stage::new(&[("ALIBABA_CLOUD_IMDSV1_DISABLED", "true")]);
    strict.behave(json!({"without_token": true}));
    strict.refusal(&["ECS metadata service", "no token was given (status 404)"]);
    assert_eq!(strict.asked("keys"), 0);
}

#[test]
fn rrsa_gives_a_pod_its_role() {
    let stage = Stage::new(&OIDC);
    stage.behave(json!({"oidc_token": "first"}));
    stage.write("token", "first\n");
    let client = stage.client();
    assert_eq!(get_whole(&client, "k").unwrap().0, b"whole");
    // The cluster renews the file; a refused key makes the client read it.
    stage.write("token", "second\n");
    stage.behave(json!({"oidc_token": "second"}));
    stage.expire_newest();
    assert_eq!(get_whole(&client, "k").unwrap().0, b"whole");
    assert_eq!(stage.asked("sts"), 2);
    assert_eq!(stage.asked("token"), 0, "no other identity is tried");
}

#[test]
fn sts_that_fails_once_is_asked_again() {
    let stage = Stage::new(&OIDC);
    stage.write("token", "canary");
    stage.behave(json!({"status": 500, "times": 1}));
    assert_eq!(stage.read().unwrap(), b"whole");
    assert_eq!(stage.asked("sts"), 2);
}

#[test]
fn the_role_of_a_pod_comes_before_profiles_and_these_before_a_uri() {
    let mut stage = Stage::new(&[("ALIBABA_CLOUD_CREDENTIALS_URI", "IDENTITY/credentials")]);
    stage.write("token", "canary");
    let source = |stage: &Stage| stage.client().identity(&Cancel::new()).unwrap().source;
    let uri = source(&stage);
    assert!(uri.contains("ALIBABA_CLOUD_CREDENTIALS_URI"), "{uri}");
    let ini = "[default]\naccess_key_id = BASE-ID\naccess_key_secret = BASE-SECRET\n";
    stage.write(".alibabacloud/credentials.ini", ini);
    assert!(source(&stage).contains("credentials.ini"));
    let cli = r#"{"current":"p","profiles":[
        {"name":"p","mode":"AK","access_key_id":"BASE-ID","access_key_secret":"BASE-SECRET"}]}"#;
    stage.write(".aliyun/config.json", cli);
    assert!(source(&stage).starts_with("CLI profile"));
    for (name, value) in OIDC {
        let home = stage.home.display().to_string();
        stage.set(name, &value.replace("HOME", &home));
    }
    let oidc = source(&stage);
    assert!(oidc.starts_with("OIDC role"), "{oidc}");
    stage.set("OSS_ACCESS_KEY_ID", "id");
    stage.set("OSS_ACCESS_KEY_SECRET", "canary");
    assert!(source(&stage).contains("OSS_ACCESS_KEY_ID"));
}

#[test]
fn sts_is_asked_over_tls() {
    let options = Options { tls: true, ..Options::default() };
    let mut stage = Stage::of(world_with(options, |_config| {}).emulator, &OIDC);
    stage.write("token", "canary");
    let secure = stage.emulator.identity_endpoint().replace("http://", "https://");
    stage.set("OSSCONNECTOR_STS_ENDPOINT", &secure);
    assert_eq!(stage.read().unwrap(), b"whole");
    // An authority that nobody trusts ends it at the first try.
    let mut bare = config(&stage.emulator.endpoint());
    bare.ca_file = stage.emulator.ca_file().map(Into::into);
    let known = stage.variables.clone();
    let lookup =
        move |name: &str| known.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    let asked = stage.asked("sts");
    let error = ChainProvider::new(Surroundings::with(lookup, "/nonexistent", None)).fetch().unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(stage.asked("sts"), asked);
}

#[test]
fn profiles_assume_their_roles() {
    let cli = r#"{"current":"role","profiles":[
        {"name":"base","mode":"AK","access_key_id":"BASE-ID","access_key_secret":"BASE-SECRET"},
        {"name":"role","mode":"RamRoleArn","access_key_id":"BASE-ID","access_key_secret":"BASE-SECRET",
         "ram_role_arn":"acs:ram::1:role/r","ram_session_name":"s","expired_seconds":900},
        {"name":"chained","mode":"ChainableRamRoleArn","source_profile":"base","ram_role_arn":"acs:ram::1:role/r"},
        {"name":"agent","mode":"CredentialsURI","credentials_uri":"IDENTITY/credentials"},
        {"name":"machine-role","mode":"RamRoleArnWithRoleName","ram_role_name":"emulator-role","ram_role_arn":"acs:ram::1:role/r"},
        {"name":"machine","mode":"EcsRamRole","ram_role_name":"emulator-role"},
        {"name":"pod","mode":"OIDC","ram_role_arn":"acs:ram::1:role/r","oidc_provider_arn":"p","oidc_token_file":"TOKEN"}]}"#;
    let ini = "[ini-role]\ntype = ram_role_arn\naccess_key_id = BASE-ID\naccess_key_secret = BASE-SECRET\n\
               role_arn = acs:ram::1:role/r\n[ini-machine]\ntype = ecs_ram_role\n\
               [ini-pod]\ntype = oidc_role_arn\nrole_arn = acs:ram::1:role/r\noidc_provider_arn = p\noidc_token_file_path = TOKEN\n";
    for (profile, service) in [
        ("role", "sts"),
        ("chained", "sts"),
        ("agent", "uri"),
        ("machine", "keys"),
        ("pod", "sts"),
        ("ini-role", "sts"),
        ("ini-machine", "keys"),
        ("ini-pod", "sts"),
    ] {
        let stage = Stage::new(&[("ALIBABA_CLOUD_PROFILE", profile)]);
        let token = stage.home.join("token").display().to_string();
        stage.write("token", "t");
        stage.write(
            ".aliyun/config.json",
            &cli.replace("TOKEN", &token).replace("IDENTITY", &stage.emulator.identity_endpoint()),
        );
        stage.write(".alibabacloud/credentials.ini", &ini.replace("TOKEN", &token));
        assert_eq!(stage.read().unwrap(), b"whole", "{profile}");
        assert_eq!(stage.asked(service), 1, "{profile}");
    }
}

#[test]
fn a_uri_gives_keys() {
    let stage = Stage::new(&[("ALIBABA_CLOUD_CREDENTIALS_URI", "IDENTITY/credentials?secret=canary")]);
    assert_eq!(stage.read().unwrap(), b"whole");
    assert_eq!(stage.asked("uri"), 1);
}

#[test]
fn what_services_refuse_is_named_with_a_remedy() {
    let stage = Stage::new(&OIDC);
    stage.write("token", "canary");
    stage.behave(json!({"oidc_token": "another"}));
    stage.refusal(&["OIDC role", ROLE_ARN, "AuthenticationFail.OIDCToken.Invalid", "trust policy"]);
    assert_eq!(stage.asked("sts"), 1, "a refusal is no reason to ask again");
    stage.behave(json!({"body": "<html>canary</html>"}));
    stage.refusal(&["OIDC role", "it is not STS that answers"]);
    stage.behave(json!({"body": "{\"Credentials\":{\"AccessKeyId\":\"canary\"}}"}));
    stage.refusal(&["AccessKeySecret is absent"]);

    let wrong = Stage::new(&[("ALIBABA_CLOUD_ECS_METADATA", "another-role")]);
    wrong.refusal(&["RAM role another-role", "attach one"]);
    let uri = Stage::new(&[("ALIBABA_CLOUD_CREDENTIALS_URI", "IDENTITY/canary")]);
    uri.refusal(&["ALIBABA_CLOUD_CREDENTIALS_URI", "status 404"]);
    uri.behave(json!({"body": "{\"Code\":\"Failed\"}"}));
    let other = Stage::new(&[("ALIBABA_CLOUD_CREDENTIALS_URI", "IDENTITY/credentials")]);
    other.behave(json!({"body": "{\"Code\":\"Forbidden\"}"}));
    other.refusal(&["the service said Forbidden"]);
}

#[test]
fn a_service_at_fault_is_asked_three_times_and_redirects_are_not_followed() {
    let stage = Stage::new(&[("ALIBABA_CLOUD_ECS_METADATA", "emulator-role")]);
    stage.behave(json!({"status": 500, "times": 2}));
    assert_eq!(stage.read().unwrap(), b"whole");
    assert_eq!(stage.asked("token"), 3);
    let moved = Stage::new(&[("ALIBABA_CLOUD_CREDENTIALS_URI", "IDENTITY/credentials")]);
    moved.behave(json!({"status": 302}));
    moved.refusal(&["status 302"]);
    assert_eq!(moved.asked("uri"), 1);
}

#[test]
fn a_slow_metadata_service_is_given_up() {
    let stage = Stage::new(&[]);
    stage.behave(json!({"delay_ms": 20_000}));
    let begun = SystemClock.now();
    stage.refusal(&["no credentials found", "ECS metadata service", "no answer began in time"]);
    let taken = SystemClock.now() - begun;
    assert!(taken < Duration::from_secs(6), "one look costs about a second: {taken:?}");
}

#[test]
fn a_thousand_refused_requests_make_one_refresh() {
    const REQUESTS: usize = 1000;
    let stage = Stage::new(&[("ALIBABA_CLOUD_ECS_METADATA", "emulator-role")]);
    let mut config = patient(&stage.emulator);
    config.limits.max_concurrency = 1024;
    config.retry.budget_tokens = 1_000_000;
    let client = client_by(&config, Arc::new(stage.chain()));
    get_whole(&client, "k").unwrap();
    for generation in 2..4 {
        stage.expire_newest();
        let ready = Barrier::new(REQUESTS);
        std::thread::scope(|threads| {
            for _ in 0..REQUESTS {
                let thread = std::thread::Builder::new().stack_size(256 * 1024);
                let body = || {
                    ready.wait();
                    assert_eq!(get_whole(&client, "k").unwrap().0, b"whole");
                };
                thread.spawn_scoped(threads, body).unwrap();
            }
        });
        assert_eq!(stage.asked("keys"), generation, "one refresh for each generation");
    }
}

#[test]
fn test_f33_a_failing_service_leaves_the_old_keys_until_they_expire() {
    let stage = Stage::new(&[("ALIBABA_CLOUD_ECS_METADATA", "emulator-role")]);
    stage.behave(json!({"lifetime_seconds": 3}));
    let client = stage.client();
    get_whole(&client, "k").unwrap();
    stage.behave(json!({"status": 500}));
    let error = loop {
        match get_whole(&client, "k") {
            Ok((bytes, _)) => assert_eq!(bytes, b"whole"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, ErrorKind::Credentials, "{error}");
    assert!(error.to_string().contains("RAM role emulator-role"), "{error}");
}

#[test]
fn test_f33_a_refresh_that_failed_after_a_refusal_is_tried_again_and_the_error_says_why_it_failed() {
    let stage = Stage::new(&[("ALIBABA_CLOUD_ECS_METADATA", "emulator-role")]);
    let client = stage.client();
    get_whole(&client, "k").unwrap();
    stage.expire_newest();
    stage.behave(json!({"status": 500}));
    let error = get_whole(&client, "k").unwrap_err();
    assert_eq!(error.status, Some(403), "{error}");
    assert!(error.causes.iter().any(|why| why.contains("RAM role emulator-role")), "{:?}", error.causes);
    stage.behave(json!({}));
    let begun = SystemClock.now();
    while get_whole(&client, "k").is_err() {
        let taken = SystemClock.now() - begun;
        assert!(taken < Duration::from_secs(30), "tries are a second apart");
    }
}

#[test]
fn a_question_that_nobody_waits_for_any_more_is_given_up() {
    let stage = Stage::new(&OIDC);
    stage.write("token", "t");
    stage.behave(json!({"delay_ms": 20_000}));
    let (chain, cancel) = (stage.chain(), Cancel::new());
    let given_up = std::thread::scope(|threads| {
        let asker = threads.spawn(|| chain.fetch_unless(&Asker::silent(&cancel)));
        while stage.asked("sts") == 0 {
            std::thread::yield_now();
        }
        let given_up = SystemClock.now();
        cancel.cancel();
        asker.join().unwrap().unwrap_err();
        given_up
    });
    let taken = SystemClock.now() - given_up;
    assert!(taken < Duration::from_secs(4), "one try alone takes five seconds: {taken:?}");
}
