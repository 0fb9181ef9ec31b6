//! Giving an upload up, and making sure that the service has (`faults.md`, 4.3).
//!
//! OSS does not drop parts that were on their way when the abort arrived. So our own are ended first,
//! then the upload is aborted, and ListParts tells whether it is gone; three rounds at most. A part that
//! was cut off may have been received whole and be entered a moment after the abort: then the upload must
//! be seen gone twice, with a pause between.

use std::time::Duration;

use super::stage::Stage;
use super::upload::Upload;
use crate::cancel::Cancel;
use crate::clock::{Clock as _, SystemClock};
use crate::error::{Error, ErrorKind, UploadState};
use crate::interrupt::{self, Ran, Watch};
use crate::logs::{self, Level};
use crate::stats::Counter;

/// Times an upload is aborted at most.
const ROUNDS: u32 = 3;

/// What the service gets to enter a part whose last bytes it has: 200 ms.
const ENTERING: Duration = Duration::from_millis(200);

impl Upload {
    /// Gives up: ends all work, drops the parts the service has, unless they are to be kept. A previous object stays.
    ///
    /// Does nothing on an upload that was aborted.
    ///
    /// # Errors
    /// `Closed` after it was published, `Forked` in a child; `Upload` if it may have been published, or if the
    /// service could not be told within the abort effort: the upload id in it stays behind (user: remove it with
    /// [`abandoned_uploads`](super::abandoned_uploads)); or the watch's error.
    pub fn abort(&mut self, watch: Watch<'_>) -> Result<(), Error> {
        self.check_process("abort")?;
        match self.stage {
            Stage::Published => return Err(self.closed("it is published")),
            Stage::Aborted => return Ok(()),
            Stage::Unknown => return self.abort_in_doubt(watch),
            Stage::Open | Stage::Multipart | Stage::Sealed | Stage::Publishing => {}
        }
        self.stop();
        self.stage = Stage::Aborted;
        self.abort_upload(watch)
    }

    /// Gives up after the request that publishes was sent: nobody may be told that the previous object stays, unless
    /// that was called back.
    fn abort_in_doubt(&mut self, watch: Watch<'_>) -> Result<(), Error> {
        if !self.call_back_interrupted(watch) {
            return self.failure.clone().map_or(Ok(()), Err);
        }
        if self.stage == Stage::Published {
            self.failure = None;
            return Err(self.closed("it is published"));
        }
        self.failure = Some(self.interrupted());
        Ok(())
    }

    /// Aborts the multipart upload at the service, if there is one and it is not to be gone on with.
    pub(super) fn abort_upload(&self, watch: Watch<'_>) -> Result<(), Error> {
        let Some(upload_id) = self.upload_id.as_ref().filter(|_| !self.keeps_parts) else { return Ok(()) };
        let ran = self.clean_up("oss-abort", watch, |cancel| {
            let mut was_gone = false;
            for _ in 0..ROUNDS {
                match self.abort_once(upload_id, cancel) {
                    Ok(is_gone) if is_gone && (was_gone || !self.is_cut_off) => return Ok(()),
                    Ok(is_gone) => was_gone = is_gone,
                    // It was gone; that we could not look a second time is no failure.
                    Err(_) if was_gone => return Ok(()),
                    Err(error) => return Err(error),
                }
                cancel.wait_until(SystemClock.now() + ENTERING, &SystemClock);
            }
            Err(Error::new(ErrorKind::Service, "AbortMultipartUpload", "the upload is still there"))
        });
        match ran.interrupt {
            Some(interrupt) => Err(interrupt),
            None => ran.result.map_err(|error| self.left_behind(error, upload_id)),
        }
    }

    /// Runs `body`, which removes what is not to stay, for as long as an abort may take.
    ///
    /// A signal ends it; another thread that gives the upload up does not, as this is what it asks for.
    pub(super) fn clean_up<T: Send>(
        &self,
        name: &str,
        watch: Watch<'_>,
        body: impl FnOnce(&Cancel) -> Result<T, Error> + Send,
    ) -> Ran<T> {
        let limit = SystemClock.now() + self.client.config().timeouts.abort;
        let mut for_signals = || match watch() {
            Err(error) if is_given_up(&error) => Ok(()),
            looked => looked,
        };
        interrupt::run(name, Some(limit), &SystemClock, &mut for_signals, body)
    }

    /// Aborts and looks; true if the upload is gone.
    fn abort_once(&self, upload_id: &str, cancel: &Cancel) -> Result<bool, Error> {
        self.client.abort_multipart_upload(&self.uri, upload_id, cancel)?;
        Ok(!self.is_open(upload_id, cancel)?)
    }

    /// Whether the service still knows the upload.
    pub(super) fn is_open(&self, upload_id: &str, cancel: &Cancel) -> Result<bool, Error> {
        match self.client.list_parts(&self.uri, upload_id, cancel) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn left_behind(&self, error: Error, upload_id: &str) -> Error {
        let text = format!(
            "upload {upload_id} of {} could not be aborted ({}) and stays behind with its parts; nothing was \
             published; remove it later through abandoned_uploads",
            self.uri, error.message,
        );
        logs::push(Level::Warning, "write", text.clone());
        self.client.count(Counter::UploadsLeft);
        self.client.count_many(Counter::UploadsLeftBytes, self.parts_bytes);
        let mut error = error.into_upload(UploadState::NotCommitted, Some(upload_id.to_owned()));
        error.message = text;
        error
    }
}

/// Whether the watch found that another thread gives the upload up, and no signal.
pub(super) fn is_given_up(interrupt: &Error) -> bool {
    interrupt.kind == ErrorKind::Closed
}
