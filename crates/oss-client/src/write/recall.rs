//! Calling a Complete back that was met with silence.
//!
//! Such a request may still be on its way, and be carried out after the last look at the key. An abort ends that
//! (`faults.md`, 4.2): OSS knows an upload until it is completed or aborted. If our abort drops it, no Complete of it
//! was carried out, and none can be; if it is gone, the key tells whether ours was. A PutObject has no such handle.

use super::failure::not_committed;
use super::publish::Stop;
use super::settle::{Commit, Found, Intent, Step, after_head, after_parts, settled};
use super::stage::Stage;
use super::upload::Upload;
use crate::cancel::Cancel;
use crate::error::Error;
use crate::interrupt::Watch;
use crate::operations::Written;

/// What became of a request that was called back.
enum Recalled {
    /// It was carried out: this is the object.
    Landed(Found),
    /// It was not, and cannot be any more.
    Dropped,
    /// Nobody can tell.
    Open,
}

impl Upload {
    /// Notes that a request which publishes may be carried out at any time yet.
    pub(super) fn leave_in_doubt(&mut self, intent: Intent) {
        let can_be_called_back = intent.commit == Commit::Complete && !self.keeps_parts;
        self.in_doubt = can_be_called_back.then_some(intent);
        self.stage = Stage::Unknown;
    }

    /// Decides, once no further try is made, what became of those before: `last` is what the last failed with, `open`
    /// what is told if that cannot be decided.
    pub(super) fn call_back(
        &mut self,
        last: Error,
        open: Error,
        intent: Intent,
        watch: Watch<'_>,
    ) -> Result<Written, Stop> {
        self.leave_in_doubt(intent);
        match self.recall(&mut *watch) {
            Recalled::Landed(found) => self.check_answer(settled(Some(found), &last), watch),
            Recalled::Dropped => Err(Stop::Failed(not_committed(last, self.upload_id.as_deref()))),
            Recalled::Open => Err(Stop::Failed(open)),
        }
    }

    /// As `call_back`, for a try that was broken off. True if something is certain now: the stage says what.
    pub(super) fn call_back_interrupted(&mut self, watch: Watch<'_>) -> bool {
        let recalled = self.recall(&mut *watch);
        let landed = match recalled {
            Recalled::Open => return false,
            Recalled::Dropped => None,
            Recalled::Landed(found) => Some(settled(Some(found), &Error::cancelled("publish"))),
        };
        self.stage = if landed.is_some() { Stage::Published } else { Stage::Aborted };
        self.written = landed;
        true
    }

    /// Asks at most once.
    fn recall(&mut self, watch: Watch<'_>) -> Recalled {
        let (Some(intent), Some(upload_id)) = (self.in_doubt.take(), &self.upload_id) else {
            return Recalled::Open;
        };
        let ran = self.clean_up("oss-recall", watch, |cancel| {
            let is_dropped = self.client.abort_multipart_upload(&self.uri, upload_id, cancel)?;
            Ok(self.judge(&intent, is_dropped, cancel))
        });
        ran.even_if_interrupted().unwrap_or(Recalled::Open)
    }

    /// Looks at the key as well where the abort dropped the upload: success must never be told as failure, and of what
    /// OSS does with an abort amid a Complete nothing is written.
    fn judge(&self, intent: &Intent, is_dropped: bool, cancel: &Cancel) -> Recalled {
        let looked = self.look(cancel);
        let is_ours = |found: &Found| {
            let step = after_head(intent, Some(found));
            step == Step::Published
                || (!is_dropped && after_parts(intent, Some(found), false) == Step::Published)
        };
        match looked {
            Ok(Some(found)) if is_ours(&found) => Recalled::Landed(found),
            _ if is_dropped => Recalled::Dropped,
            _ => Recalled::Open,
        }
    }
}
