//! The one moment at which an object becomes visible, and what follows a lost answer.
//!
//! Before it: every byte is with the service or in the one PutObject, and the parts, put together, have size and
//! checksum of the bytes as they were written. After it: the service's checksum of the object is compared.
//! In between stands one request. If its answer is lost, [`settle`](super::settle) decides by what can be
//! seen whether it was carried out, and only then is it sent again.

use std::time::{Duration, Instant};

use super::abort::is_given_up;
use super::etag::is_md5_of;
use super::failure::{not_committed, upload};
use super::progress::{Counts, Timings, telling};
use super::settle::{
    Commit, Found, Intent, Step, after_head, after_md5, after_parts, is_answered, is_lost, settled,
};
use super::stage::Stage;
use super::upload::Upload;
use super::workers::combined;
use crate::cancel::Cancel;
use crate::clock::{Clock as _, SystemClock};
use crate::config::Verify;
use crate::error::{Error, ErrorKind, UploadState};
use crate::interrupt::{self, SLICE, Watch};
use crate::logs::{self, Level};
use crate::operations::{UploadedPart, Written};
use crate::stats::Counter;

/// A step of publishing that did not end well.
pub(super) enum Stop {
    /// The watch said so.
    Interrupt(Error),
    /// Decided: nothing of ours is visible, or something is and is wrong.
    Failed(Error),
}

/// What looking at the key came to.
enum Looked {
    /// What to do next, and what is under the key.
    Seen(Step, Option<Found>),
    /// It could not be looked at.
    Unseen,
}

use Looked::{Seen, Unseen};

/// What the next try needs to know of the tries before.
struct Tries {
    intent: Intent,
    parts: Vec<UploadedPart>,
    give_up: Instant,
    pause: Duration,
    /// An answer was lost before: a refusal may be the echo of our own success.
    has_lost: bool,
    /// A try was met with silence: it may be carried out at any time yet, whatever those after it are told.
    may_land: bool,
}

impl Upload {
    /// Makes the object visible, whole and checked. The only call that does; a second one does nothing.
    ///
    /// # Errors
    /// `Upload` with what is visible now, `AlreadyExists` with `if_absent`, `Closed` after `abort`,
    /// `Forked` in a child, kinds that ask the user to act (`PermissionDenied`, ...), or the watch's error; for one
    /// that is `Closed`, as another thread gave up, `Upload` if the object may have become visible by then.
    pub fn publish(&mut self, watch: Watch<'_>) -> Result<Written, Error> {
        if self.stage == Stage::Published
            && let Some(written) = &self.written
        {
            return Ok(written.clone());
        }
        self.seal()?;
        if self.stage != Stage::Sealed {
            return Err(self.closed(&format!("it is {}", self.stage.as_str())));
        }
        self.progress.begin();
        let parts = match self.send_rest(&mut *watch) {
            Ok(parts) => parts,
            Err(error) => return Err(self.fail(error, watch)),
        };
        self.check_process("close")?;
        self.stage = Stage::Publishing;
        let (began, uploaded) = (SystemClock.now(), self.progress.uploaded());
        let committed = self.commit(parts, &mut *watch);
        self.progress.settled_since(began, uploaded);
        self.progress.stop();
        match committed {
            Ok(written) => {
                self.progress.tell_end(self.accepted_bytes);
                self.count_save();
                self.buffer = Vec::new();
                self.stage = Stage::Published;
                self.written = Some(written.clone());
                Ok(written)
            }
            Err(Stop::Interrupt(interrupt)) => self.broken_off(interrupt, watch),
            Err(Stop::Failed(error)) => Err(self.give_up(error, watch)),
        }
    }

    /// Ends a publishing that was broken off. A signal wants its way at once; another thread that gives the upload up
    /// wants to know what became of it.
    fn broken_off(&mut self, interrupt: Error, watch: Watch<'_>) -> Result<Written, Error> {
        let wants_certainty = is_given_up(&interrupt);
        if wants_certainty && self.stage == Stage::Unknown {
            self.call_back_interrupted(watch);
            if let Some(written) = self.written.clone() {
                return Ok(written);
            }
        }
        let outcome = self.interrupted();
        self.failure = Some(outcome.clone());
        Err(if wants_certainty && self.stage == Stage::Unknown { outcome } else { interrupt })
    }

    /// Adds the stages of this save to those of the process.
    fn count_save(&self) {
        let Timings { serialise, upload, settle } = self.progress.timings();
        self.client.count(Counter::Saves);
        self.client.count_many(Counter::SaveBytes, self.accepted_bytes);
        let stages = [
            (Counter::SaveSerialise, serialise),
            (Counter::SaveUpload, upload),
            (Counter::SaveSettle, settle),
        ];
        stages.into_iter().for_each(|(counter, took)| self.client.count_time(counter, took));
    }

    /// Brings the last part to the service and checks that the parts make the object.
    fn send_rest(&mut self, watch: Watch<'_>) -> Result<Vec<UploadedPart>, Error> {
        if self.workers.is_some() && !self.buffer.is_empty() {
            self.send_buffer(&mut *watch)?;
        }
        let Some(workers) = self.workers.take() else { return Ok(Vec::new()) };
        let began = SystemClock.now();
        let finished = workers.finish(&mut telling(&mut self.progress, &workers, watch));
        self.progress.uploaded_since(began);
        let sent = match finished {
            Ok(sent) => sent,
            Err(error) => {
                self.workers = Some(workers);
                return Err(error);
            }
        };
        if combined(&sent) != (self.crc64(), self.accepted_bytes) {
            let text = "the parts sent do not make the bytes written; please report this";
            return Err(Error::internal("UploadPart", text).with_uri(self.uri.to_string()));
        }
        self.reused_bytes = sent.iter().filter(|part| part.was_held()).map(|part| part.size_bytes).sum();
        self.part_sums = sent.iter().map(|part| (part.size_bytes, part.crc64)).collect();
        Ok(sent.into_iter().map(|part| part.uploaded).collect())
    }

    fn commit(&mut self, parts: Vec<UploadedPart>, watch: Watch<'_>) -> Result<Written, Stop> {
        let commit = if self.upload_id.is_some() { Commit::Complete } else { Commit::Put };
        let config = self.client.config();
        let mut tries = Tries {
            intent: Intent {
                commit,
                size_bytes: self.accepted_bytes,
                crc64: self.crc64(),
                if_absent: self.options.if_absent,
                first_sent: self.client.server_now(),
            },
            parts,
            give_up: SystemClock.now() + config.timeouts.deadline,
            pause: config.retry.base,
            has_lost: false,
            may_land: false,
        };
        loop {
            let sent = self.send_commit(&tries, &mut *watch)?;
            let lost = match sent {
                Ok(written) => return self.check_answer(written, watch),
                Err(error) if is_lost(&error, tries.has_lost) => error,
                Err(error) if tries.may_land => {
                    let open = self.still_open(error.clone());
                    return self.call_back(error, open, tries.intent, watch);
                }
                Err(error) => return Err(Stop::Failed(not_committed(error, self.upload_id.as_deref()))),
            };
            tries.may_land |= !is_answered(&lost);
            match self.settle(&tries, &mut *watch)? {
                Seen(Step::Published, found) => return self.check_answer(settled(found, &lost), watch),
                Seen(Step::AlreadyExists, _) => return Err(Stop::Failed(self.already_exists(lost))),
                Seen(Step::SendAgain, _) if SystemClock.now() + tries.pause < tries.give_up => {}
                Seen(Step::SendAgain, _) if tries.may_land => {
                    let open = self.still_open(lost.clone());
                    return self.call_back(lost, open, tries.intent, watch);
                }
                // The last look proved that nothing of ours is visible, and a try that was refused will not be carried
                // out later.
                Seen(Step::SendAgain, _) => {
                    let failed = upload(lost, UploadState::NotCommitted, self.upload_id.as_deref());
                    return Err(Stop::Failed(failed));
                }
                Seen(_, found) => {
                    return Err(Stop::Failed(self.unknown(lost, &tries.intent, found.as_ref())));
                }
                Unseen => {
                    let open = self.unknown(lost.clone(), &tries.intent, None);
                    return self.call_back(lost, open, tries.intent, watch);
                }
            }
            if tries.may_land {
                self.leave_in_doubt(tries.intent);
            }
            pause(tries.pause, &mut *watch).map_err(Stop::Interrupt)?;
            self.stage = Stage::Publishing;
            tries.has_lost = true;
            tries.pause = (tries.pause * 2).min(self.client.config().retry.cap);
        }
    }

    /// Sends the request that publishes, once.
    fn send_commit(&mut self, tries: &Tries, watch: Watch<'_>) -> Result<Result<Written, Error>, Stop> {
        let (client, uri, options) = (&self.client, &self.uri, &self.options);
        // The first try ends by its own deadline; those after it share what is left of it.
        let limit = tries.has_lost.then_some(tries.give_up);
        let began = SystemClock.now();
        let counts = match tries.intent.commit {
            Commit::Complete => Counts { sent_bytes: self.accepted_bytes, left: 0 },
            Commit::Put => Counts { sent_bytes: 0, left: 1 },
        };
        let progress = &mut self.progress;
        let mut telling = || {
            progress.look(|| counts);
            watch()
        };
        let (upload_id, buffer) = (&self.upload_id, &self.buffer);
        let ran =
            interrupt::run("oss-publish", limit, &SystemClock, &mut telling, |cancel| match upload_id {
                Some(id) => client.complete_multipart_upload(uri, id, &tries.parts, options, cancel),
                None => client.put_object(uri, &[buffer], options, cancel),
            });
        if tries.intent.commit == Commit::Put {
            self.progress.uploaded_since(began);
        }
        let is_too_late = |interrupt: &Error| ran.result.is_ok() && is_given_up(interrupt);
        let Some(interrupt) = ran.interrupt.filter(|interrupt| !is_too_late(interrupt)) else {
            return Ok(ran.result);
        };
        match ran.result {
            Ok(written) => {
                let checked = self.check_answer(written, watch)?;
                self.stage = Stage::Published;
                self.written = Some(checked);
            }
            Err(error) => {
                let may_land = error.ambiguous || error.own_repeat || error.request_sent || tries.may_land;
                if may_land {
                    self.leave_in_doubt(tries.intent);
                } else {
                    self.stage = Stage::Sealed;
                }
            }
        }
        Err(Stop::Interrupt(interrupt))
    }

    /// Looks at the key until it is decided what became of a lost answer.
    fn settle(&mut self, tries: &Tries, watch: Watch<'_>) -> Result<Looked, Stop> {
        let least = SystemClock.now() + self.client.config().timeouts.settle;
        let limit = least.max(tries.give_up);
        let looked = interrupt::run("oss-settle", Some(limit), &SystemClock, watch, |cancel| {
            let found = match self.look(cancel) {
                // Who may write but not look can still send the same bytes twice.
                Err(error) if error.kind == ErrorKind::PermissionDenied && !tries.intent.if_absent => None,
                looked => looked?,
            };
            let mut step = after_head(&tries.intent, found.as_ref());
            if step == Step::CompareMd5 {
                step = after_md5(&tries.intent, self.has_our_md5(found.as_ref()));
            } else if step == Step::ListParts
                && let Some(upload_id) = &self.upload_id
            {
                step = after_parts(&tries.intent, found.as_ref(), self.is_open(upload_id, cancel)?);
            }
            Ok(Seen(step, found))
        });
        if let Some(interrupt) = looked.interrupt {
            self.leave_in_doubt(tries.intent);
            return Err(Stop::Interrupt(interrupt));
        }
        Ok(looked.result.unwrap_or(Unseen))
    }

    pub(super) fn look(&self, cancel: &Cancel) -> Result<Option<Found>, Error> {
        match self.client.head_object(&self.uri, cancel) {
            Ok(info) => Ok(Some(Found {
                size_bytes: info.size,
                crc64: info.crc64,
                etag: info.etag,
                last_modified: info.last_modified,
            })),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Compares the ETag found with the MD5 of the body, which is computed only here: it is rarely needed.
    fn has_our_md5(&self, found: Option<&Found>) -> bool {
        found.and_then(|found| found.etag.as_deref()).is_some_and(|etag| is_md5_of(etag, &self.buffer))
    }

    /// Says that nothing was forbidden, where that is so: OSS ignores the header in a bucket with versions.
    fn warn_of_versions(&self, written: &Written) {
        if self.options.if_absent && written.version_id.is_some() {
            let text = format!(
                "{} {}: the bucket keeps versions, and there OSS ignores if_absent: if an object was there, this is \
                 its new version now",
                self.commit_name(),
                self.uri
            );
            logs::push(Level::Warning, "write", text);
        }
    }

    /// Compares the checksum in the answer of a commit with ours.
    pub(super) fn check_answer(&mut self, written: Written, watch: Watch<'_>) -> Result<Written, Stop> {
        self.warn_of_versions(&written);
        let verify = self.client.config().verify;
        let ours = self.crc64();
        let what = match written.crc64 {
            _ if verify == Verify::Off => return Ok(written),
            Some(crc64) if crc64 == ours => {
                self.client.count(Counter::CrcChecked);
                return Ok(written);
            }
            None if verify != Verify::Require => {
                self.client.count(Counter::CrcUnchecked);
                return Ok(written);
            }
            None => {
                let text = "OSS sent no CRC-64 for it, which verify=\"require\" asks for: let the header \
                            x-oss-hash-crc64ecma pass, or save with verify=\"check\"";
                text.to_owned()
            }
            Some(crc64) => {
                self.client.count(Counter::CrcMismatched);
                format!("its CRC-64 is {crc64} at OSS and {ours} here")
            }
        };
        let mut text = format!("the object was written, but {what}");
        if let Some(version) = &written.version_id {
            match self.delete_version(version, watch) {
                Ok(()) => text.push_str("; that version was deleted"),
                Err(error) => text = format!("{text}; that version could not be deleted ({})", error.message),
            }
        }
        let error = Error::new(ErrorKind::Integrity, self.commit_name(), text)
            .with_uri(self.uri.to_string())
            .with_effort(written.attempts, 0.0);
        Err(Stop::Failed(upload(error, UploadState::Committed, self.upload_id.as_deref())))
    }

    /// With versioning a bad version alone can go, and the one before is current again.
    fn delete_version(&self, version: &str, watch: Watch<'_>) -> Result<(), Error> {
        let delete = |cancel: &_| self.client.delete_object(&self.uri, Some(version), cancel);
        self.clean_up("oss-publish", watch, delete).even_if_interrupted()
    }

    fn commit_name(&self) -> &'static str {
        if self.upload_id.is_some() { "CompleteMultipartUpload" } else { "PutObject" }
    }

    fn already_exists(&self, mut lost: Error) -> Error {
        lost.kind = ErrorKind::AlreadyExists;
        lost.errno = lost.kind.default_errno();
        lost.message =
            "another object has this key, and if_absent forbids to replace it; nothing was written"
                .to_owned();
        lost
    }

    /// What the last of several tries failed with. Nothing of ours is visible now, and it may not stay so.
    fn still_open(&self, mut last: Error) -> Error {
        last.message.push_str("; a try that was met with silence may still be carried out");
        upload(last, UploadState::Unknown, self.upload_id.as_deref())
    }

    fn unknown(&self, mut lost: Error, intent: &Intent, found: Option<&Found>) -> Error {
        let found = match found {
            Some(Found { size_bytes, crc64: Some(crc64), .. }) => {
                format!("{size_bytes} bytes, CRC-64 {crc64}")
            }
            Some(Found { size_bytes, .. }) => format!("{size_bytes} bytes, no CRC-64"),
            None => "nothing that could be read".to_owned(),
        };
        lost.message = format!(
            "the answer was lost ({}); expected {} bytes, CRC-64 {}, found {found}",
            lost.message, intent.size_bytes, intent.crc64,
        );
        upload(lost, UploadState::Unknown, self.upload_id.as_deref())
    }

    pub(super) fn interrupted(&self) -> Error {
        let (state, text) = match self.stage {
            Stage::Published => (UploadState::Committed, "interrupted right after publishing"),
            Stage::Unknown => (UploadState::Unknown, "interrupted while publishing"),
            _ => (UploadState::NotCommitted, "interrupted before publishing"),
        };
        let error = Error::new(ErrorKind::Cancelled, self.commit_name(), text).with_uri(self.uri.to_string());
        upload(error, state, self.upload_id.as_deref())
    }

    /// Ends an upload whose commit failed: aborts it where nothing of it can be visible.
    fn give_up(&mut self, mut error: Error, watch: Watch<'_>) -> Error {
        self.buffer = Vec::new();
        self.stage = match &error.kind {
            ErrorKind::Upload { state: UploadState::Unknown, .. } => Stage::Unknown,
            ErrorKind::Upload { state: UploadState::Committed, .. } => Stage::Published,
            _ => Stage::Aborted,
        };
        if self.stage == Stage::Aborted
            && let Err(leftover) = self.abort_upload(watch)
        {
            error = error.with_cause(leftover.message.clone());
        }
        self.failure = Some(error.clone());
        error
    }
}

/// Waits, watching.
fn pause(length: Duration, watch: Watch<'_>) -> Result<(), Error> {
    let end = SystemClock.now() + length;
    while SystemClock.now() < end {
        watch()?;
        SystemClock.sleep_until(end.min(SystemClock.now() + SLICE));
    }
    Ok(())
}
