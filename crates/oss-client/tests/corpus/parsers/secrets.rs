//! How keys and tokens come from services, programs and files, and where they are asked for.

use oss_client::credentials::{Fetched, Surroundings, UriProvider};
use oss_client::error::{Error, ErrorKind};
use oss_client::parsers;
use oss_protocol::uri::{Addressing, Endpoint};

use super::Parser;
use super::texts::is_any_taken;

/// One line of the right class, which repeats at most a code or a number that is there to be looked up.
fn check_error(error: &Error) {
    let text = error.to_string();
    assert_eq!(error.kind, ErrorKind::Credentials, "{text}");
    assert!(!text.contains('\n') && text.len() < 500, "{text}");
    let may_quote = text.contains("the service said") || text.contains("STS refused");
    assert!(may_quote || !text.contains("CANARY"), "{text}");
}

/// Keys that were read are whole and not shown; written down again they are the same.
fn is_taken(outcome: Result<Fetched, Error>, again: impl Fn(&[u8]) -> Result<Fetched, Error>) -> bool {
    let fetched = match outcome {
        Ok(fetched) => fetched,
        Err(error) => {
            check_error(&error);
            return false;
        }
    };
    let shown = format!("{fetched:?}");
    let keys = fetched.credentials.as_ref().expect("what is not refused has keys");
    let secret = keys.access_key_secret.expose();
    assert!(!keys.access_key_id.is_empty() && !secret.is_empty());
    assert!(keys.access_key_id.contains("CANARY") || !shown.contains("CANARY"), "{shown}");
    let said = serde_json::json!({
        "AccessKeyId": keys.access_key_id,
        "AccessKeySecret": secret,
        "SecurityToken": keys.security_token.as_ref().map(|token| token.expose()),
        "Expiration": fetched.expires_at.map(|time| time.to_iso_extended()),
    });
    let reread = again(said.to_string().as_bytes()).expect("what is written is read");
    assert_eq!((&reread.credentials, reread.expires_at), (&fetched.credentials, fetched.expires_at));
    true
}

/// What the metadata service and agents answer.
pub(crate) fn service_answers() -> Parser {
    Parser::new(|bytes| is_taken(parsers::service_answer(bytes), parsers::service_answer))
}

/// What STS answers; with another status the same is a refusal.
pub(crate) fn sts_answers() -> Parser {
    Parser::new(|bytes| {
        for status in [400, 403, 500] {
            let error = parsers::sts_answer(status, bytes.to_vec()).expect_err("a refusal");
            assert!(error.status.is_none_or(|seen| seen == status), "{error}");
            check_error(&error);
        }
        is_taken(parsers::sts_answer(200, bytes.to_vec()), |keys| {
            parsers::sts_answer(200, [b"{\"Credentials\":", keys, b"}"].concat())
        })
    })
}

/// What a credentials process writes.
pub(crate) fn process_outputs() -> Parser {
    Parser::new(|bytes| is_taken(parsers::process_output(bytes), parsers::process_output))
}

/// Tokens in files and answers, and names of roles: one word each.
pub(crate) fn words() -> Parser {
    Parser::new(|bytes| {
        let role = parsers::role(bytes);
        let Some(token) = parsers::token(bytes) else {
            assert_eq!(role, None);
            return false;
        };
        assert!(token.bytes().all(|byte| byte.is_ascii_graphic()) && !token.is_empty());
        assert_eq!(parsers::token(token.as_bytes()), Some(token));
        // It becomes a part of a path.
        assert!(
            role.is_none_or(|role| role == token && role.len() <= 64 && !role.contains(['/', '?', '#', '%']))
        );
        true
    })
}

/// URLs that keys are fetched from. Each may hold a secret, so neither errors nor Debug show any of it.
pub(crate) fn credential_uris() -> Parser {
    Parser::new(|bytes| {
        is_any_taken(bytes, |text| {
            let variable = text.to_owned();
            let around = Surroundings::with(
                move |name| (name == "ALIBABA_CLOUD_CREDENTIALS_URI").then(|| variable.clone()),
                "/nonexistent",
                None,
            );
            match UriProvider::from_environment(&around) {
                Ok(provider) => assert!(!format!("{provider:?}").contains("CANARY"), "{provider:?}"),
                Err(error) => assert!(!error.to_string().contains("CANARY"), "{error}"),
            }
            match parsers::credentials_uri(text) {
                Ok((endpoint, target)) => {
                    // It is written into the first line of a request as it is.
                    assert!(target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic()));
                    assert_eq!(
                        Endpoint::parse_for(&endpoint.to_string(), Addressing::Cname).as_ref(),
                        Ok(&endpoint)
                    );
                    let again = parsers::credentials_uri(&format!("{endpoint}{target}"));
                    assert_eq!(again.expect("what was read can be read again"), (endpoint, target));
                    true
                }
                Err(error) => {
                    check_error(&error);
                    false
                }
            }
        })
    })
}
