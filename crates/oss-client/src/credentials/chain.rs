//! The chain: who is asked when nobody was named (`contract.md`, D.3).
//!
//! A link that is not configured is passed over. The first configured link is chosen and stays for the
//! life of the provider; if it fails, or if it cannot be told now whether it is configured, that is an error: no
//! second identity is tried. The metadata service is the last:
//! it is asked when nothing else is configured, and chosen once it has answered with keys.

use super::ecs::EcsRoleProvider;
use super::environment::{EnvironmentPair, EnvironmentProvider};
use super::ini::IniProvider;
use super::json_file::JsonFileProvider;
use super::oidc::OidcProvider;
use super::profile::{PROFILE, ProfileProvider};
use super::statics::broken;
use super::uri::UriProvider;
use super::{CredentialsProvider, Fetched, Surroundings};
use crate::asker::Asker;
use crate::error::{Error, ErrorKind};
use crate::sync::OnceLock;

type Link = Box<dyn CredentialsProvider>;
type Found = Result<Option<Link>, Error>;

/// One link: how it is found, and what is looked at, for the error that nothing was found.
#[derive(Debug, Clone, Copy)]
struct Finder {
    find: fn(&Surroundings) -> Found,
    looked_at: fn(&Surroundings) -> String,
}

const FILE: Finder = Finder { find: json_file, looked_at: |around| listed(&json_files(around)) };
const PAIRS: [Finder; 2] = [
    Finder {
        find: |around| pair(EnvironmentPair::Oss, around),
        looked_at: |around| EnvironmentProvider::new(EnvironmentPair::Oss, around).source(),
    },
    Finder {
        find: |around| pair(EnvironmentPair::AlibabaCloud, around),
        looked_at: |around| EnvironmentProvider::new(EnvironmentPair::AlibabaCloud, around).source(),
    },
];
const OIDC: Finder = Finder {
    find: |around| Ok(OidcProvider::from_environment(around)?.map(boxed)),
    looked_at: |_around| {
        "ALIBABA_CLOUD_ROLE_ARN, ALIBABA_CLOUD_OIDC_PROVIDER_ARN and ALIBABA_CLOUD_OIDC_TOKEN_FILE".to_owned()
    },
};
const CLI: Finder = Finder {
    find: |around| Ok(ProfileProvider::from_environment(around)?.map(boxed)),
    looked_at: |around| listed(ProfileProvider::path(around).as_slice()),
};
const INI: Finder = Finder { find: ini, looked_at: |around| listed(IniProvider::path(around).as_slice()) };
const URI: Finder = Finder {
    find: |around| Ok(UriProvider::from_environment(around)?.map(boxed)),
    looked_at: |_around| "ALIBABA_CLOUD_CREDENTIALS_URI".to_owned(),
};
/// The order of contract D.3; the metadata service comes behind.
const ALL: [Finder; 7] = [FILE, PAIRS[0], PAIRS[1], OIDC, CLI, INI, URI];

/// Asks whom it finds first, ever after.
#[derive(Debug)]
pub struct ChainProvider {
    around: Surroundings,
    links: &'static [Finder],
    asks_metadata: bool,
    chosen: OnceLock<Link>,
}

impl ChainProvider {
    /// All links. Nothing is looked at before the first request.
    pub fn new(around: Surroundings) -> Self {
        ChainProvider { around, links: &ALL, asks_metadata: true, chosen: OnceLock::new() }
    }

    /// Only the two pairs of environment variables.
    pub fn of_environment(around: Surroundings) -> Self {
        ChainProvider { around, links: &PAIRS, asks_metadata: false, chosen: OnceLock::new() }
    }

    fn configured(&self) -> Found {
        for link in self.links {
            if let Some(found) = (link.find)(&self.around)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn fetch_from(&self, link: Link, asker: &Asker<'_>) -> Result<Fetched, Error> {
        self.chosen.get_or_init(|| link).fetch_unless(asker)
    }

    /// Nothing is configured: the machine may have a role.
    fn ask_metadata(&self, asker: &Asker<'_>) -> Result<Fetched, Error> {
        let service =
            if self.asks_metadata { EcsRoleProvider::from_environment(&self.around)? } else { None };
        let Some(service) = service else { return Err(self.nothing_found(None)) };
        if service.is_named() {
            return self.fetch_from(boxed(service), asker);
        }
        let fetched = service.fetch_unless(asker).map_err(|error| self.nothing_found(Some(&error)))?;
        // Another thread may have been here before: then its choice stands, and it is the same.
        self.chosen.get_or_init(|| boxed(service));
        Ok(fetched)
    }

    /// Which links come before the chosen one, and which of those behind it are configured too.
    fn others(&self, chosen: &dyn CredentialsProvider) -> (Vec<String>, Vec<String>) {
        let source = chosen.source();
        let mut passed_over = Vec::new();
        let mut unused = Vec::new();
        let mut is_behind = false;
        for link in self.links {
            let found = (link.find)(&self.around).ok().flatten();
            match found {
                Some(found) if !is_behind && found.source() == source => is_behind = true,
                Some(found) if is_behind => unused.push(found.source()),
                _ if is_behind => {}
                _ => passed_over.push((link.looked_at)(&self.around)),
            }
        }
        passed_over.retain(|place| !place.is_empty());
        (passed_over, unused)
    }

    fn nothing_found(&self, metadata: Option<&Error>) -> Error {
        let mut looked: Vec<_> = self.links.iter().map(|link| (link.looked_at)(&self.around)).collect();
        looked.extend(metadata.map(|error| error.message.clone()));
        looked.retain(|place| !place.is_empty());
        let text = format!(
            "no credentials found; looked at: {}. Pass cred_path or cred_provider, or set one of these",
            looked.join("; ")
        );
        Error::new(ErrorKind::Credentials, "credentials", text)
    }
}

impl CredentialsProvider for ChainProvider {
    fn fetch_unless(&self, asker: &Asker<'_>) -> Result<Fetched, Error> {
        if let Some(chosen) = self.chosen.get() {
            return chosen.fetch_unless(asker);
        }
        match self.configured()? {
            Some(link) => self.fetch_from(link, asker),
            None => self.ask_metadata(asker),
        }
    }

    fn source(&self) -> String {
        self.chosen.get().map_or_else(|| "the credentials chain".to_owned(), |link| link.source())
    }

    fn reason(&self) -> Option<String> {
        let (passed_over, unused) = self.others(self.chosen.get()?.as_ref());
        let mut text = "the first link of the chain that is configured".to_owned();
        if !passed_over.is_empty() {
            text = format!("{text}; not configured: {}", passed_over.join("; "));
        }
        if !unused.is_empty() {
            text = format!("{text}; configured too, and not used: {}", unused.join("; "));
        }
        Some(text)
    }

    fn has_changed(&self) -> bool {
        self.chosen.get().is_some_and(|link| link.has_changed())
    }
}

fn boxed(link: impl CredentialsProvider + 'static) -> Link {
    Box::new(link)
}

fn listed(files: &[std::path::PathBuf]) -> String {
    files.iter().map(|path| format!("file {}", path.display())).collect::<Vec<_>>().join("; ")
}

fn json_files(around: &Surroundings) -> Vec<std::path::PathBuf> {
    let mut files = vec![around.original_file.clone()];
    files.extend(around.home_file(".alibabacloud/credentials").filter(|own| *own != around.original_file));
    files
}

fn json_file(around: &Surroundings) -> Found {
    for path in json_files(around) {
        if JsonFileProvider::looks_like_one(&path)? {
            return Ok(Some(boxed(JsonFileProvider::new(path))));
        }
    }
    Ok(None)
}

fn pair(pair: EnvironmentPair, around: &Surroundings) -> Found {
    let provider = EnvironmentProvider::new(pair, around);
    Ok(provider.is_configured().then(|| boxed(provider)))
}

/// The ini file. A profile that was named and that neither this nor the CLI's file has is an error.
fn ini(around: &Surroundings) -> Found {
    if let Some(provider) = IniProvider::from_environment(around)? {
        return Ok(Some(boxed(provider)));
    }
    let Some(name) = around.variable(PROFILE) else { return Ok(None) };
    let places = [ProfileProvider::path(around), IniProvider::path(around)];
    let looked = listed(&places.into_iter().flatten().collect::<Vec<_>>());
    let what = format!("there is no profile {name} in {looked}; add it, or unset {PROFILE}");
    Err(broken(PROFILE, &what))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::sync::atomic::{AtomicUsize, Ordering};

    /// A home directory of its own for one test, removed at the end.
    struct Home(PathBuf);

    impl Home {
        fn new() -> Self {
            static COUNT: AtomicUsize = AtomicUsize::new(0);
            let number = COUNT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("oss-client-{}-chain-{number}", std::process::id()));
            fs::create_dir_all(&path).expect("a writable temporary directory");
            Home(path)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        }

        fn chain(&self, variables: &[(&str, &str)]) -> ChainProvider {
            let mut known: Vec<(String, String)> =
                variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            known.push(("HOME".to_owned(), self.0.display().to_string()));
            known.push(("ALIBABA_CLOUD_ECS_METADATA_DISABLED".to_owned(), "true".to_owned()));
            let lookup =
                move |name: &str| known.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            ChainProvider::new(Surroundings::with(lookup, self.0.join("original"), None))
        }

        fn fetch(&self, variables: &[(&str, &str)]) -> Result<(String, Option<String>), Error> {
            let credentials = self.chain(variables).fetch()?.credentials.expect("signed");
            let token = credentials.security_token.map(|token| token.expose().to_owned());
            Ok((credentials.access_key_id, token))
        }

        fn refusal(&self, variables: &[(&str, &str)]) -> String {
            let error = self.fetch(variables).expect_err("a link that fails");
            assert_eq!(error.kind, ErrorKind::Credentials);
            let text = error.to_string();
            assert!(!text.contains("canary"), "{text}");
            text
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const JSON: &str = r#"{"AccessKeyId":"json","AccessKeySecret":"canary"}"#;
    const INI: &str = "[default]\ntype = access_key\naccess_key_id = ini\naccess_key_secret = canary\n\
                       [sts]\ntype = sts\naccess_key_id = ini-sts\naccess_key_secret = canary\nsecurity_token = t\n";
    const CLI: &str = r#"{"current":"work","profiles":[
        {"name":"work","mode":"AK","access_key_id":"cli","access_key_secret":"canary"},
        {"name":"token","mode":"StsToken","access_key_id":"cli-sts","access_key_secret":"canary","sts_token":"t"},
        {"name":"program","mode":"External","process_command":"echo '{\"AccessKeyId\":\"program\",\"AccessKeySecret\":\"canary\"}'"},
        {"name":"signed-in","mode":"CloudSSO","access_key_id":"sso","access_key_secret":"canary","sts_token":"t","sts_expiration":4000000000},
        {"name":"signed-out","mode":"CloudSSO","access_key_id":""},
        {"name":"circle","mode":"ChainableRamRoleArn","ram_role_arn":"r","source_profile":"circle"},
        {"name":"lost","mode":"ChainableRamRoleArn","ram_role_arn":"r","source_profile":"nowhere"},
        {"name":"half","mode":"AK","access_key_id":"canary"},
        {"name":"new","mode":"Telepathy"}]}"#;
    const OSS: [(&str, &str); 2] = [("OSS_ACCESS_KEY_ID", "oss"), ("OSS_ACCESS_KEY_SECRET", "canary")];
    const CLOUD: [(&str, &str); 3] = [
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", "cloud"),
        ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "canary"),
        ("ALIBABA_CLOUD_SECURITY_TOKEN", "token"),
    ];

    #[test]
    fn nothing_found_lists_what_was_looked_at() {
        let text = Home::new().refusal(&[]);
        for place in [
            "original",
            ".alibabacloud/credentials;",
            "OSS_ACCESS_KEY_ID",
            "ALIBABA_CLOUD_ACCESS_KEY_ID",
            "ALIBABA_CLOUD_OIDC_TOKEN_FILE",
            ".aliyun/config.json",
            ".alibabacloud/credentials.ini",
            "ALIBABA_CLOUD_CREDENTIALS_URI",
        ] {
            assert!(text.contains(place), "{place}: {text}");
        }
    }

    #[test]
    fn the_first_configured_link_wins() {
        let home = Home::new();
        home.write(".alibabacloud/credentials.ini", INI);
        assert_eq!(home.fetch(&[]).expect("ini").0, "ini");
        home.write(".aliyun/config.json", CLI);
        assert_eq!(home.fetch(&[]).expect("the CLI's").0, "cli");
        let off = [("ALIBABA_CLOUD_CLI_PROFILE_DISABLED", "true")];
        assert_eq!(home.fetch(&off).expect("switched off").0, "ini");
        assert_eq!(home.fetch(&CLOUD).expect("variables"), ("cloud".to_owned(), Some("token".to_owned())));
        let both: Vec<_> = OSS.iter().chain(&CLOUD).copied().collect();
        assert_eq!(home.fetch(&both).expect("variables"), ("oss".to_owned(), None));
        home.write(".alibabacloud/credentials", INI);
        assert_eq!(home.fetch(&both).expect("an ini file under that name is passed over").0, "oss");
        home.write(".alibabacloud/credentials", JSON);
        assert_eq!(home.fetch(&both).expect("the file").0, "json");
        home.write("original", &JSON.replace("json", "original"));
        assert_eq!(home.fetch(&both).expect("the original's file").0, "original");
    }

    #[test]
    fn profiles_are_chosen_by_name_in_both_files() {
        let home = Home::new();
        home.write(".aliyun/config.json", CLI);
        home.write(".alibabacloud/credentials.ini", INI);
        for (name, id) in
            [("token", "cli-sts"), ("program", "program"), ("signed-in", "sso"), ("sts", "ini-sts")]
        {
            assert_eq!(home.fetch(&[(PROFILE, name)]).expect(name).0, id);
        }
    }

    #[test]
    fn a_configured_link_that_fails_is_named_and_nothing_else_is_tried() {
        let home = Home::new();
        home.write(".aliyun/config.json", CLI);
        let ini = [("ALIBABA_CLOUD_CREDENTIALS_FILE", "/nonexistent/absent.ini")];
        for (name, said) in [
            ("half", "CLI profile half"),
            ("half", "access_key_secret is absent or empty; run `aliyun configure`"),
            ("circle", "in a circle"),
            ("lost", "source_profile nowhere"),
            ("signed-out", "nobody is signed in"),
            ("new", "mode Telepathy"),
            ("absent", "no profile absent"),
        ] {
            let text = home.refusal(&[(PROFILE, name)]);
            assert!(text.contains(said), "{text}");
        }
        let half = home.refusal(&OSS[..1]);
        assert!(half.contains("OSS_ACCESS_KEY_SECRET is not set"), "{half}");
        home.write(".aliyun/config.json", "{\"canary\"");
        assert!(home.refusal(&ini).contains("config.json"));
        home.write(".aliyun/config.json", "{}");
        assert!(home.refusal(&ini).contains("/nonexistent/absent.ini"));
        home.write("broken", " {canary");
        home.write(".alibabacloud/credentials", " {canary");
        assert!(home.refusal(&OSS).contains("credentials file"));
    }

    /// Of what may keep a file from being read now, a loop of links is what also stops the superuser, as tests may be.
    #[test]
    fn a_file_that_cannot_be_read_now_is_named_and_nothing_else_is_tried() {
        for name in
            ["original", ".alibabacloud/credentials", ".aliyun/config.json", ".alibabacloud/credentials.ini"]
        {
            let home = Home::new();
            let path = home.0.join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            std::os::unix::fs::symlink(&path, &path).expect("a loop");
            let uri = [("ALIBABA_CLOUD_CREDENTIALS_URI", "http://127.0.0.1:9/keys")];
            let variables = if path.extension().is_none() { OSS.as_slice() } else { &uri };
            let text = home.refusal(variables);
            assert!(text.contains(&*path.display().to_string()) && text.contains("cannot be read"), "{text}");
            fs::remove_file(&path).expect("the loop");
            assert!(home.chain(variables).configured().expect("nothing is in the way").is_some());
        }
    }

    #[test]
    fn a_file_that_is_none_or_out_of_reach_is_passed_over() {
        let home = Home::new();
        fs::create_dir_all(home.0.join("original")).expect("a directory in its place");
        home.write(".alibabacloud", "a file where a directory should be");
        assert_eq!(home.fetch(&OSS).expect("variables").0, "oss");
    }

    #[test]
    fn the_reason_names_what_was_passed_over_and_what_is_not_used() {
        let home = Home::new();
        home.write(".aliyun/config.json", CLI);
        let chain = home.chain(&CLOUD);
        assert_eq!(chain.reason(), None);
        chain.fetch().expect("variables");
        let reason = chain.reason().expect("a link was chosen");
        let (before, behind) = reason.split_once("configured too, and not used: ").expect("the CLI's");
        assert!(before.contains(".alibabacloud/credentials"), "{reason}");
        assert!(before.contains("OSS_ACCESS_KEY_ID"), "{reason}");
        assert!(!before.contains("ALIBABA_CLOUD_ACCESS_KEY_ID"), "{reason}");
        assert!(behind.starts_with("CLI profile (current) in "), "{reason}");
        assert!(!reason.contains("canary"), "{reason}");
    }

    #[test]
    fn the_choice_stays() {
        let home = Home::new();
        let chain = home.chain(&OSS);
        assert!(chain.fetch().is_ok());
        home.write("original", JSON);
        assert_eq!(chain.fetch().expect("still").credentials.expect("signed").access_key_id, "oss");
        assert!(chain.source().contains("OSS_ACCESS_KEY_ID"));
    }

    #[test]
    fn sections_of_the_ini_file_that_fail_are_named() {
        let home = Home::new();
        let cases = [
            ("[other]\n", "no such section"),
            ("[default]\naccess_key_id = canary\n", "access_key_secret is absent"),
            ("[default]\nenable = false\n", "enable = false"),
            ("[default]\ntype = rsa_key_pair\nprivate_key_file = canary\n", "type rsa_key_pair"),
            ("[default]\ntype = oidc_role_arn\nrole_arn = r\n", "oidc_provider_arn is absent"),
        ];
        for (content, said) in cases {
            home.write(".alibabacloud/credentials.ini", content);
            let text = home.refusal(&[]);
            assert!(text.contains(said) && text.contains("credentials.ini, section default"), "{text}");
        }
    }

    #[test]
    fn variables_that_lead_nowhere_are_named() {
        let home = Home::new();
        let oidc = [
            ("ALIBABA_CLOUD_ROLE_ARN", "acs:ram::1:role/r"),
            ("ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "acs:ram::1:oidc-provider/p"),
            ("ALIBABA_CLOUD_OIDC_TOKEN_FILE", "/nonexistent/token"),
        ];
        let text = home.refusal(&oidc);
        assert!(text.contains("/nonexistent/token") && text.contains("ALIBABA_CLOUD_ROLE_ARN"), "{text}");
        for uri in ["canary", "ftp://host/canary", "http://canary:x@host/", "http://host/a b", "http://"] {
            let text = home.refusal(&[("ALIBABA_CLOUD_CREDENTIALS_URI", uri)]);
            assert!(text.contains("ALIBABA_CLOUD_CREDENTIALS_URI"), "{text}");
        }
        let by_socks: Vec<_> =
            oidc.into_iter().chain([("ALL_PROXY", "socks5://user:canary@host:1080")]).collect();
        let text = home.refusal(&by_socks);
        for word in ["OIDC role acs:ram::1:role/r", "ALL_PROXY", "list sts.aliyuncs.com in NO_PROXY"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let far: Vec<_> =
            oidc.into_iter().chain([("OSSCONNECTOR_STS_ENDPOINT", "http://sts.example.com")]).collect();
        assert!(home.refusal(&far).contains("clear text"));
    }
}
