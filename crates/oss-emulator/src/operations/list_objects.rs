//! ListObjects and ListObjectsV2.

use std::borrow::Cow;
use std::ops::Bound;

use oss_protocol::encoding::{base64_decode, base64_encode};
use oss_protocol::time::UtcTime;
use oss_protocol::xml::{Document, ListBucketResult, ListedObject, Owner};

use crate::operations::attributes::restore_header;
use crate::operations::pages::{Entry, Page, Query, page_of};
use crate::refusal::Refusal;
use crate::request::Request;
use crate::response::Response;
use crate::rules::action::TokenFault;
use crate::service::{Call, OWNER_ID};
use crate::store::bucket::Bucket;
use crate::store::multitude::Member;
use crate::store::object::Kind;
use crate::store::slot::Slot;

/// Keys of a page when the client names no number.
const DEFAULT_KEYS: u32 = 100;

/// Most keys of a page.
const MAX_KEYS: u32 = 1000;

/// Longest prefix or marker in bytes; the documented limit is "less than 1024".
const MAX_MARKER_BYTES: usize = 1023;

/// ListObjects, the first version: `marker` and `NextMarker`.
///
/// # Errors
/// 404 NoSuchBucket; 400 InvalidArgument.
pub(crate) fn list_v1(call: &Call<'_>) -> Result<Response, Refusal> {
    let marker = call.request.parameter("marker").unwrap_or_default().to_owned();
    list(call, &marker, |result, next| {
        result.marker = Some(marker.clone());
        if result.is_truncated {
            result.next_marker = next;
        }
    })
}

/// ListObjectsV2: opaque tokens, `start-after`, owners on request.
///
/// # Errors
/// 404 NoSuchBucket; 400 InvalidArgument, also for a token nobody gave.
pub(crate) fn list_v2(call: &Call<'_>) -> Result<Response, Refusal> {
    let start_after = call.request.parameter("start-after").unwrap_or_default();
    let token = call.request.parameter("continuation-token").filter(|token| !token.is_empty());
    let after = match token {
        Some(_) if call.quirks.token == Some(TokenFault::NotRising) => start_after.to_owned(),
        Some(token) => read_token(token)?,
        None => start_after.to_owned(),
    };
    list(call, &after, |result, next| {
        result.start_after = call.request.parameter("start-after").map(str::to_owned);
        result.continuation_token = token.map(str::to_owned);
        result.key_count = Some((result.contents.len() + result.common_prefixes.len()) as u64);
        if result.is_truncated {
            result.next_continuation_token = next.map(|next| write_token(&next));
        }
        if call.request.parameter("fetch-owner") != Some("true") {
            result.contents.iter_mut().for_each(|object| object.owner = None);
        }
    })
}

fn list(
    call: &Call<'_>,
    after: &str,
    finish: impl FnOnce(&mut ListBucketResult, Option<String>),
) -> Result<Response, Refusal> {
    let request = call.request;
    let max_keys = count(request, "max-keys", DEFAULT_KEYS, MAX_KEYS)?;
    let query = Query {
        prefix: text(request, "prefix")?,
        delimiter: text(request, "delimiter")?,
        after,
        max: max_keys as usize,
    };
    let mut result = ListBucketResult {
        name: request.bucket_name().to_owned(),
        prefix: query.prefix.to_owned(),
        delimiter: query.delimiter.to_owned(),
        encoding_url: call.encoding_url()?,
        max_keys: Some(max_keys),
        ..ListBucketResult::default()
    };
    let now_ms = call.now_ms();
    let next = call.store().with(request.bucket_name(), |bucket| {
        let page = page_in(bucket, &query);
        fill(&mut result, &page, now_ms);
        let next = page.last().to_owned();
        let first = || page_in(bucket, &Query { after: "", ..query }).last().to_owned();
        spoil(call.quirks.token, &mut result, next, after, first)
    })?;
    finish(&mut result, next);
    Ok(Response::xml(result.encode()))
}

/// An object of a page.
enum Listed<'a> {
    Stored(&'a Slot),
    Computed(Member<'a>),
}

fn page_in<'a>(bucket: &'a Bucket, query: &Query<'_>) -> Page<'a, Listed<'a>> {
    page_of(
        |from| {
            let stored = bucket.slots.range::<str, _>((from, Bound::Unbounded));
            let stored = stored.map(|(key, slot)| (Cow::Borrowed(key.as_str()), Listed::Stored(slot)));
            let mut sources: Vec<Source<'a>> = vec![Box::new(stored)];
            for multitude in &bucket.multitudes {
                let members = multitude.range(from);
                sources.push(Box::new(members.map(|(key, member)| (key, Listed::Computed(member)))));
            }
            merged(sources)
        },
        query,
        |listed| !matches!(listed, Listed::Stored(slot) if slot.current().is_none()),
    )
}

type Source<'a> = Box<dyn Iterator<Item = (Cow<'a, str>, Listed<'a>)> + 'a>;

/// One sorted sequence of several; of equal keys the one of the first source.
fn merged<'a>(sources: Vec<Source<'a>>) -> impl Iterator<Item = (Cow<'a, str>, Listed<'a>)> {
    let mut heads: Vec<_> = sources.into_iter().map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        let keys = heads.iter_mut().enumerate();
        let keys = keys.filter_map(|(n, head)| Some((head.peek()?.0.clone(), n)));
        let (key, n) = keys.min()?;
        let next = heads[n].next();
        for other in &mut heads {
            other.next_if(|(twin, _)| *twin == key);
        }
        next
    })
}

fn fill(result: &mut ListBucketResult, page: &Page<'_, Listed<'_>>, now_ms: i64) {
    result.is_truncated = page.is_truncated;
    for entry in &page.entries {
        match entry {
            Entry::CommonPrefix(prefix) => result.common_prefixes.push(prefix.clone()),
            Entry::Key(key, Listed::Computed(member)) => result.contents.push(ListedObject {
                key: key.to_string(),
                last_modified: UtcTime(member.made_ms().div_euclid(1000)).to_iso_extended_millis(),
                etag: member.etag(),
                object_type: Kind::Normal.name().into(),
                size: member.size_bytes(),
                storage_class: "Standard".into(),
                owner: Some(owner()),
                restore_info: None,
            }),
            Entry::Key(key, Listed::Stored(slot)) => {
                let Some(object) = slot.current() else { continue };
                result.contents.push(ListedObject {
                    key: key.to_string(),
                    last_modified: object.modified_iso(),
                    etag: object.etag.clone(),
                    object_type: object.kind.name().into(),
                    size: object.body.size_bytes(),
                    storage_class: object.storage_class.clone().into(),
                    owner: Some(owner()),
                    restore_info: restore_header(object, now_ms),
                });
            }
        }
    }
}

/// Lets the page lie about what follows it, where a rule asks for that.
fn spoil(
    fault: Option<TokenFault>,
    result: &mut ListBucketResult,
    next: String,
    after: &str,
    first: impl FnOnce() -> String,
) -> Option<String> {
    let Some(fault) = fault else { return Some(next) };
    result.is_truncated = true;
    match fault {
        TokenFault::Missing => None,
        TokenFault::Same if !after.is_empty() => Some(after.to_owned()),
        TokenFault::Same => Some(next),
        TokenFault::First => Some(first()),
        // A token of its own, so that only the keys give the lie away.
        TokenFault::NotRising => Some(format!("{next}\u{1}")),
    }
}

/// The one account there is.
pub(crate) fn owner() -> Owner {
    Owner { id: OWNER_ID.to_owned(), display_name: OWNER_ID.to_owned() }
}

/// Reads a number of entries.
///
/// # Errors
/// 400 InvalidArgument outside 1..=most.
pub(crate) fn count(request: &Request, name: &str, default: u32, most: u32) -> Result<u32, Refusal> {
    let Some(text) = request.parameter(name).filter(|text| !text.is_empty()) else { return Ok(default) };
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| {
        Refusal::invalid_argument(format!("Argument {name} must be an integer between 1 and {most}."))
    })
}

/// Reads a prefix, delimiter or marker; "" if absent.
///
/// # Errors
/// 400 InvalidArgument above 1023 bytes.
pub(crate) fn text<'r>(request: &'r Request, name: &str) -> Result<&'r str, Refusal> {
    let text = request.parameter(name).unwrap_or_default();
    if text.len() > MAX_MARKER_BYTES {
        return Err(Refusal::invalid_argument(format!("The length of {name} must be less than 1024.")));
    }
    Ok(text)
}

/// The marks of base64 and what stands for them in a token, where URLs need no encoding: OSS's own
/// tokens look like `CgJiYw--`, and the original connector signs other marks wrongly.
const TOKEN_MARKS: [(&str, &str); 3] = [("+", "."), ("/", "_"), ("=", "-")];

fn write_token(after: &str) -> String {
    let plain = base64_encode(after.as_bytes());
    TOKEN_MARKS.iter().fold(plain, |token, (mark, stand_in)| token.replace(mark, stand_in))
}

fn read_token(token: &str) -> Result<String, Refusal> {
    let bad = || Refusal::invalid_argument("The continuation token provided is incorrect.");
    let plain =
        TOKEN_MARKS.iter().fold(token.to_owned(), |token, (mark, stand_in)| token.replace(stand_in, mark));
    String::from_utf8(base64_decode(&plain).map_err(|_| bad())?).map_err(|_| bad())
}
