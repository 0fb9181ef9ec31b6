//! A decision of the rules.

use std::sync::Arc;

use crate::rules::action::Action;
use crate::shaping::Admission;

/// A rule that applies to a request.
#[derive(Clone, Debug)]
pub(crate) struct Fired {
    /// Name of the rule (or its number from 0) and the words of its action, for the journal.
    pub(crate) label: Arc<str>,
    /// What it does.
    pub(crate) action: Arc<Action>,
    /// Random bits of this firing, for positions and delays.
    pub(crate) bits: u64,
    /// The leaky bucket of `admit_rps`, which all firings of the rule share.
    pub(crate) admission: Option<Arc<Admission>>,
}
