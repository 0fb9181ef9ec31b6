//! A listing, page by page, with the guards of `faults.md`, 3.9.
//!
//! Keys rise strictly by bytes across pages; a token that was seen before, a page that says there is more
//! without saying where, or a key out of order is a `Listing` error at once. A page that fails is an error,
//! never an empty page.

mod range;
mod split;
mod sweep;
mod waiting;

pub use sweep::{Progress, Sweep};

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use oss_protocol::uri::ObjectUri;

use crate::cancel::Cancel;
use crate::client::Client;
use crate::error::{Error, ErrorKind};
use crate::operations::{ListPage, ListPageRequest, ListedObject};

/// An object of a listing, as far as an index needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found<'a> {
    /// The key, as raw text.
    pub key: &'a str,
    /// Size in bytes.
    pub size: u64,
    /// ETag with its quotes; may be empty.
    pub etag: &'a str,
}

/// Where pages come from: the client, or a test's bucket.
pub trait PageSource: Sync {
    /// Fetches one page.
    ///
    /// # Errors
    /// As [`Client::list_objects_page`].
    fn page(&self, request: &ListPageRequest<'_>, cancel: &Cancel) -> Result<ListPage, Error>;
}

impl PageSource for Client {
    fn page(&self, request: &ListPageRequest<'_>, cancel: &Cancel) -> Result<ListPage, Error> {
        self.list_objects_page(request, cancel)
    }
}

/// What to list.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Only keys after this one.
    pub start_after: Option<String>,
    /// Stop before the first key that is not below this one; for listing a key range.
    pub end_before: Option<String>,
    /// Groups keys by the first occurrence after the prefix.
    pub delimiter: Option<String>,
    /// Keys a page, 1 to 1000; 0 = 1000.
    pub page_size: u32,
}

/// One line of a listing with a delimiter: an object, or everything below a common prefix.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// An object.
    Object(ListedObject),
    /// What a group of keys begins with, the delimiter included.
    Prefix(String),
}

impl Entry {
    /// The key or the prefix.
    pub fn key(&self) -> &str {
        match self {
            Entry::Object(object) => &object.key,
            Entry::Prefix(prefix) => prefix,
        }
    }
}

impl ListPage {
    /// The objects and the common prefixes of this page, together in byte order.
    pub fn into_entries(self) -> Vec<Entry> {
        let objects = self.objects.into_iter().map(Entry::Object);
        let mut entries: Vec<Entry> =
            objects.chain(self.common_prefixes.into_iter().map(Entry::Prefix)).collect();
        entries.sort_by(|one, other| one.key().as_bytes().cmp(other.key().as_bytes()));
        entries
    }
}

/// Iterator over the pages of one listing. Ends after the last page or the first error.
#[derive(Debug)]
pub struct Pages {
    client: Client,
    uri: ObjectUri,
    options: ListOptions,
    cancel: Cancel,
    token: Option<String>,
    guard: Guard,
    finished: bool,
}

impl Client {
    /// Lists the objects whose keys begin with `uri.key`, in byte order.
    pub fn list_objects(&self, uri: &ObjectUri, options: ListOptions, cancel: &Cancel) -> Pages {
        Pages {
            client: self.clone(),
            uri: uri.clone(),
            options,
            cancel: cancel.clone(),
            token: None,
            guard: Guard::default(),
            finished: false,
        }
    }
}

impl Pages {
    fn next_page(&mut self) -> Result<ListPage, Error> {
        let request = ListPageRequest {
            bucket: &self.uri.bucket,
            prefix: &self.uri.key,
            start_after: self.options.start_after.as_deref(),
            continuation_token: self.token.as_deref(),
            delimiter: self.options.delimiter.as_deref(),
            max_keys: self.options.page_size,
        };
        let page = self.client.list_objects_page(&request, &self.cancel);
        let checked = page.and_then(|page| self.guard.check(&page, &self.uri.key).map(|()| page));
        // The request names the bucket alone, the user asked for a prefix.
        let mut page = checked.map_err(|error| error.with_uri(self.uri.to_string()))?;
        if let Some(end) = &self.options.end_before
            && page.objects.last().is_some_and(|object| object.key.as_str() >= end.as_str())
        {
            page.objects.retain(|object| object.key.as_str() < end.as_str());
            page.next_token = None;
            page.is_truncated = false;
        }
        self.token.clone_from(&page.next_token);
        self.finished = page.next_token.is_none();
        Ok(page)
    }
}

impl Iterator for Pages {
    type Item = Result<ListPage, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let page = self.next_page();
        if page.is_err() {
            self.finished = true;
        }
        Some(page)
    }
}

/// What was seen so far of a listing.
#[derive(Debug, Default)]
struct Guard {
    last_key: Option<String>,
    last_prefix: Option<String>,
    /// 128-bit hashes of the tokens: a token may be a kilobyte, and a listing may have a million pages.
    tokens: HashSet<(u64, u64)>,
    hashers: (RandomState, RandomState),
}

impl Guard {
    fn check(&mut self, page: &ListPage, prefix: &str) -> Result<(), Error> {
        for object in &page.objects {
            if !object.key.starts_with(prefix) {
                return Err(broken(format!("key {:?} does not begin with the prefix", object.key)));
            }
            rises(&mut self.last_key, &object.key)?;
        }
        for group in &page.common_prefixes {
            if !group.starts_with(prefix) {
                return Err(broken(format!("group {group:?} does not begin with the prefix")));
            }
            rises(&mut self.last_prefix, group)?;
        }
        match (&page.next_token, page.is_truncated) {
            (None, true) => Err(broken("a page says that there is more, but not where".to_owned())),
            (Some(_), false) | (None, false) => Ok(()),
            (Some(token), true) => {
                let hash = (self.hashers.0.hash_one(token), self.hashers.1.hash_one(token));
                if self.tokens.insert(hash) {
                    Ok(())
                } else {
                    Err(broken("a continuation token came twice: the listing runs in a circle".to_owned()))
                }
            }
        }
    }
}

fn rises(last: &mut Option<String>, key: &str) -> Result<(), Error> {
    if let Some(last) = last
        && key.as_bytes() <= last.as_bytes()
    {
        return Err(broken(format!("key {key:?} follows {last:?}: keys do not rise")));
    }
    *last = Some(key.to_owned());
    Ok(())
}

fn broken(what: String) -> Error {
    let text = format!("{what}; something between this machine and OSS changes listings, nothing was used");
    Error::new(ErrorKind::Listing, "ListObjectsV2", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: &[&str], token: Option<&str>, is_truncated: bool) -> ListPage {
        let object = |key: &&str| ListedObject {
            key: (*key).to_owned(),
            size: 1,
            etag: "\"E\"".to_owned(),
            last_modified: None,
            storage_class: "Standard".into(),
            object_type: "Normal".into(),
        };
        ListPage {
            objects: keys.iter().map(object).collect(),
            common_prefixes: Vec::new(),
            next_token: token.map(str::to_owned),
            is_truncated,
            ..ListPage::default()
        }
    }

    fn run(pages: &[ListPage]) -> Result<(), String> {
        let mut guard = Guard::default();
        pages.iter().try_for_each(|page| guard.check(page, "p/").map_err(|error| error.to_string()))
    }

    #[test]
    fn a_clean_listing_passes() {
        let pages = [
            page(&["p/a", "p/b"], Some("1"), true),
            page(&["p/b0"], Some("2"), true),
            page(&[], None, false),
        ];
        assert_eq!(run(&pages), Ok(()));
    }

    #[test]
    fn groups_stand_among_the_objects() {
        let mut mixed = page(&["p/a", "p/c"], None, false);
        mixed.common_prefixes = vec!["p/b/".to_owned(), "p/d/".to_owned()];
        let keys: Vec<String> =
            mixed.clone().into_entries().iter().map(|entry| entry.key().to_owned()).collect();
        assert_eq!(keys, ["p/a", "p/b/", "p/c", "p/d/"]);
        mixed.common_prefixes = vec!["q/".to_owned()];
        assert!(run(&[mixed]).expect_err("a stranger").contains("prefix"));
    }

    #[test]
    fn lies_are_found_at_the_first_repeat() {
        let cases: [(&str, Vec<ListPage>); 5] = [
            ("twice", vec![page(&["p/a"], Some("1"), true), page(&["p/b"], Some("1"), true)]),
            (
                "twice",
                vec![
                    page(&["p/a"], Some("A"), true),
                    page(&["p/b"], Some("B"), true),
                    page(&["p/c"], Some("A"), true),
                ],
            ),
            ("not where", vec![page(&["p/a"], None, true)]),
            ("do not rise", vec![page(&["p/a"], Some("1"), true), page(&["p/a"], Some("2"), true)]),
            ("prefix", vec![page(&["q/a"], None, false)]),
        ];
        for (expected, pages) in cases {
            let error = run(&pages).expect_err(expected);
            assert!(error.contains(expected), "{error}");
        }
    }
}
