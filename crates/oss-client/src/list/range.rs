//! One range of keys of a sweep, and how far it was read. Pure.

use std::collections::VecDeque;

use super::Guard;
use super::split::{Known, Letters, common_bytes};
use super::waiting::WaitingPage;
use crate::operations::ListPage;

/// Keys behind `after` up to and with `end`.
pub(super) struct Range {
    pub(super) last: String,
    pub(super) end: Option<String>,
    pub(super) token: Option<String>,
    pub(super) guard: Guard,
    pub(super) span: usize,
    pub(super) varies_at: Option<usize>,
    /// The range it was cut off from.
    pub(super) parent: Option<String>,
    pub(super) pages_read: u64,
    pub(super) is_fetching: bool,
    pub(super) is_done: bool,
    pub(super) waiting: VecDeque<WaitingPage>,
}

/// What a worker asks for.
pub(super) struct Ask {
    pub(super) after: String,
    pub(super) token: Option<String>,
}

impl Range {
    pub(super) fn after(after: String, end: Option<String>) -> Self {
        let guard = Guard { last_key: Some(after.clone()).filter(|key| !key.is_empty()), ..Guard::default() };
        Range {
            last: after,
            end,
            token: None,
            guard,
            span: 0,
            varies_at: None,
            parent: None,
            pages_read: 0,
            is_fetching: false,
            is_done: false,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn ask(&self) -> Ask {
        Ask { after: self.last.clone(), token: self.token.clone() }
    }

    /// Moves behind a page; returns how many of its objects belong to the range.
    pub(super) fn advance(&mut self, page: &ListPage, prefix_bytes: usize, letters: &mut Letters) -> usize {
        let end = self.end.as_deref();
        let kept = page.objects.partition_point(|object| end.is_none_or(|end| object.key.as_str() <= end));
        if let (Some(first), Some(last)) = (page.objects.first(), page.objects[..kept].last()) {
            self.span = common_bytes(&first.key, &last.key);
            self.last.clone_from(&last.key);
        }
        letters.learn(prefix_bytes, page.objects.iter().map(|object| object.key.as_str()));
        self.pages_read += 1;
        self.token.clone_from(&page.next_token);
        let at_end = self.end.as_deref().is_some_and(|end| end == self.last);
        self.is_done = self.token.is_none() || kept < page.objects.len() || at_end;
        kept
    }

    pub(super) fn known(&self, prefix_bytes: usize) -> Known<'_> {
        Known {
            prefix_bytes,
            last: &self.last,
            end: self.end.as_deref(),
            span: self.span,
            varies_at: self.varies_at,
        }
    }
}
