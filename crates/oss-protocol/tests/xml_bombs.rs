//! A corpus of documents that are made to cost more than they weigh (fault F49).

use std::time::{Duration, Instant};

use oss_protocol::xml::{DeleteResult, Document, ListBucketResult, MAX_DEPTH, XmlError};

fn decode<D: Document>(text: &str) -> Result<D, XmlError> {
    D::decode(text.as_bytes(), D::MAX_BYTES)
}

/// What a bomb may cost. The promise is one second; an unoptimised build on a busy machine is
/// given ten times as long, which still tells linear cost from any other.
const BOMB_SECONDS: Duration = Duration::from_secs(if cfg!(debug_assertions) { 10 } else { 1 });

/// Name and text of each bomb; all are within the cap of a listing but the last.
fn bombs() -> Vec<(&'static str, String)> {
    let lol: String = (1..10)
        .map(|level| format!("<!ENTITY l{level} \"{}\">", format!("&l{};", level - 1).repeat(10)))
        .collect();
    let body = "<ListBucketResult><Name>&l9;</Name></ListBucketResult>";
    let inside = |inner: &str| format!("<ListBucketResult>{inner}</ListBucketResult>");
    vec![
        ("billion laughs", format!("<!DOCTYPE l [<!ENTITY l0 \"lol\">{lol}]>{body}")),
        ("external entity", format!("<!DOCTYPE l [<!ENTITY l9 SYSTEM \"file:///etc/passwd\">]>{body}")),
        ("external DTD", format!("<!DOCTYPE l SYSTEM \"http://192.0.2.1/l.dtd\">{body}")),
        ("entity without DTD", body.to_owned()),
        ("million levels", "<a>".repeat(1_000_000)),
        ("million levels in an unknown element", inside(&"<a>".repeat(1_000_000))),
        ("million levels in a key", inside(&format!("<Contents><Key>{}", "<a>".repeat(1_000_000)))),
        ("million entries", inside(&"<Contents><Key>k</Key><Size>1</Size></Contents>".repeat(300_000))),
        (
            "million prefixes",
            inside(&format!("<CommonPrefixes>{}</CommonPrefixes>", "<Prefix/>".repeat(1_500_000))),
        ),
        ("endless tag", format!("<ListBucketResult {}", "a".repeat(15 << 20))),
        ("endless attributes", format!("<ListBucketResult {}", "a='b' ".repeat(2_500_000))),
        ("endless comment", format!("<ListBucketResult><!-- {}", "-".repeat(15 << 20))),
        ("endless CDATA", format!("<ListBucketResult><![CDATA[{}", "]".repeat(15 << 20))),
        ("endless references", inside(&format!("<Name>{}", "&amp;".repeat(3_000_000)))),
        ("ampersands", inside(&format!("<Name>{}", "&".repeat(15 << 20)))),
        ("brackets", "<".repeat(15 << 20)),
        ("exclamations", "<!".repeat(7 << 20)),
        ("endless DTD", format!("<!DOCTYPE {}", "<".repeat(15 << 20))),
        ("endless root name", format!("<{}>", "a".repeat(15 << 20))),
        ("endless names", inside(&format!("<{}></{}>", "a".repeat(7 << 20), "b".repeat(7 << 20)))),
        ("too large", format!("<ListBucketResult><Name>{}</Name></ListBucketResult>", "a".repeat(16 << 20))),
    ]
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the promise is about real time")]
fn test_f49_bombs_are_refused_quickly() {
    for (name, text) in bombs() {
        let begin = Instant::now();
        let refused = decode::<ListBucketResult>(&text);
        let took = begin.elapsed();
        assert!(refused.is_err(), "{name} was taken");
        assert!(took < BOMB_SECONDS, "{name} took {took:?}");
        assert!(refused.unwrap_err().to_string().len() < 300, "{name}: a long message");
    }
}

#[test]
fn bombs_are_refused_for_the_right_reason() {
    let bombs = bombs();
    let refusal = |wanted: &str| {
        let (_, text) = bombs.iter().find(|(name, _)| *name == wanted).unwrap();
        decode::<ListBucketResult>(text).unwrap_err()
    };
    for name in ["billion laughs", "external entity", "external DTD"] {
        assert_eq!(refusal(name), XmlError::Refused("a DTD"));
    }
    assert_eq!(refusal("entity without DTD"), XmlError::Refused("an entity"));
    assert_eq!(refusal("million levels in an unknown element"), XmlError::TooDeep);
    assert_eq!(refusal("million entries"), XmlError::TooManyEntries);
    assert_eq!(refusal("million prefixes"), XmlError::TooManyEntries);
    assert_eq!(refusal("endless comment"), XmlError::Cut);
    assert_eq!(refusal("too large"), XmlError::TooLarge(16 << 20));
}

#[test]
fn thirty_two_levels_are_taken() {
    let nested = |levels: usize| {
        let inner = format!("{}{}", "<a>".repeat(levels - 1), "</a>".repeat(levels - 1));
        format!("<DeleteResult>{inner}</DeleteResult>")
    };
    assert_eq!(decode::<DeleteResult>(&nested(MAX_DEPTH)), Ok(DeleteResult::default()));
    assert_eq!(decode::<DeleteResult>(&nested(MAX_DEPTH + 1)), Err(XmlError::TooDeep));
}
