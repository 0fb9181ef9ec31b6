//! What a long save says of itself, and how long its stages took.
//!
//! A save that takes longer than ten ticks (10 s) leaves a line in the log each ten ticks, and one at its
//! end.

use std::time::{Duration, Instant};

use oss_protocol::uri::ObjectUri;

use super::workers::UploadWorkers;
use crate::clock::{Clock as _, SystemClock};
use crate::error::Error;
use crate::interrupt::Watch;
use crate::logs::{self, Level};
use crate::progress::Lines;

/// How long the stages of a save took so far; together that is the time since its first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// The program made bytes, and they were copied and summed up.
    pub serialise: Duration,
    /// The program, or the end of the save, waited for bytes to reach the service.
    pub upload: Duration,
    /// The object was made visible, and a lost answer settled.
    pub settle: Duration,
}

/// What is with the service, and what is not yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sent_bytes: u64,
    pub(super) left: usize,
}

/// The clock of one save, and what its log was told.
#[derive(Debug)]
pub(super) struct Progress {
    lines: Lines,
    first_byte: Option<Instant>,
    end: Option<Instant>,
    upload: Duration,
    settle: Duration,
}

impl Progress {
    pub(super) fn new(uri: &ObjectUri, tick: Duration) -> Self {
        Progress {
            lines: Lines::new(uri, tick),
            first_byte: None,
            end: None,
            upload: Duration::ZERO,
            settle: Duration::ZERO,
        }
    }

    /// The save begins, unless it did.
    pub(super) fn begin(&mut self) {
        if self.first_byte.is_none() {
            self.first_byte = Some(SystemClock.now());
        }
    }

    /// The save ended: its clock stops.
    pub(super) fn stop(&mut self) {
        self.end.get_or_insert_with(|| SystemClock.now());
    }

    /// The stages until now.
    pub(super) fn timings(&self) -> Timings {
        let now = self.end.unwrap_or_else(|| SystemClock.now());
        let total = self.first_byte.map_or(Duration::ZERO, |first| now.saturating_duration_since(first));
        let serialise = total.saturating_sub(self.upload + self.settle);
        Timings { serialise, upload: self.upload, settle: self.settle }
    }

    /// Counts the time since `began` as waiting for the service to take bytes.
    pub(super) fn uploaded_since(&mut self, began: Instant) {
        self.upload += SystemClock.now().saturating_duration_since(began);
    }

    /// What was counted as waiting for the service to take bytes.
    pub(super) fn uploaded(&self) -> Duration {
        self.upload
    }

    /// Counts the time since `began` as making the object visible, but for what was upload since then.
    pub(super) fn settled_since(&mut self, began: Instant, uploaded_before: Duration) {
        let took = SystemClock.now().saturating_duration_since(began);
        self.settle += took.saturating_sub(self.upload - uploaded_before);
    }

    /// Leaves a line in the log if the last is long ago.
    pub(super) fn look(&mut self, counts: impl FnOnce() -> Counts) {
        let Some(first) = self.first_byte else { return };
        let took = SystemClock.now().saturating_duration_since(first);
        if self.lines.is_due(took) {
            let Counts { sent_bytes, left } = counts();
            let text = format!("save {}, {left} parts left", self.lines.line(sent_bytes, took));
            logs::push(Level::Info, "write", text);
        }
    }

    /// Says how long a long save took, and at what.
    pub(super) fn tell_end(&mut self, size_bytes: u64) {
        self.stop();
        let Timings { serialise, upload, settle } = self.timings();
        let total = serialise + upload + settle;
        if !self.lines.is_long(total) {
            return;
        }
        let text = format!(
            "saved {}: serialise {:.1} s, upload {:.1} s, settle {:.1} s",
            self.lines.line(size_bytes, total),
            serialise.as_secs_f64(),
            upload.as_secs_f64(),
            settle.as_secs_f64(),
        );
        logs::push(Level::Info, "write", text);
    }
}

/// A watch that also looks at the clock for the log.
pub(super) fn telling<'a>(
    progress: &'a mut Progress,
    workers: &'a UploadWorkers,
    watch: Watch<'a>,
) -> impl FnMut() -> Result<(), Error> + 'a {
    move || {
        progress.look(|| workers.counts());
        watch()
    }
}
