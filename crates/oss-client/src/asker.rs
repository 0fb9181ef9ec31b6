//! Who waits for credentials: it may give up, and says in the log what it waits for when that is long.

use std::fmt;

use crate::cancel::Cancel;

/// Somebody who asks a provider. Whatever waits on the way to an answer looks in here from time to time.
#[derive(Clone, Copy)]
pub struct Asker<'a> {
    cancel: &'a Cancel,
    tell: Option<&'a dyn Fn()>,
}

impl<'a> Asker<'a> {
    /// Gives up when `cancel` says so, and waits in silence.
    pub fn silent(cancel: &'a Cancel) -> Self {
        Asker { cancel, tell: None }
    }

    /// Gives up when `cancel` says so; `tell` is called several times a second meanwhile, and finds out itself whether
    /// it is time to say something.
    pub(crate) fn telling(cancel: &'a Cancel, tell: &'a dyn Fn()) -> Self {
        Asker { cancel, tell: Some(tell) }
    }

    /// Tells, if it is time to, and says whether the answer is waited for no longer.
    pub fn is_gone(&self) -> bool {
        self.tell();
        self.cancel.is_cancelled()
    }

    /// Says what is waited for, if it is time to.
    pub(crate) fn tell(&self) {
        if let Some(tell) = self.tell {
            tell();
        }
    }

    /// How this one gives up.
    pub(crate) fn cancel(&self) -> &'a Cancel {
        self.cancel
    }
}

impl fmt::Debug for Asker<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Asker").field("cancel", self.cancel).finish_non_exhaustive()
    }
}
