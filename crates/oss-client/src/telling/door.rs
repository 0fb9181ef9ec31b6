//! A Unix socket at which a process answers what it is doing.
//!
//! Its name is `<prefix>.<process>-<start time>`, so that a process number which comes back is not taken for the one
//! before. The prefix carries the process that owns the files: a child's socket is removed by the parent, or by the
//! next process that comes to the directory. One line is asked: `state`, or `trace <seconds>`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{report, trace};
use crate::clock::{Clock, SystemClock};
use crate::fork::Registered;
use crate::logs::{self, Level};
use crate::sync;

/// How long somebody who asks may take to say what, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// After a failed accept, most likely for want of descriptors.
const BREATH: Duration = Duration::from_secs(1);
/// The longest line that is read.
const LINE_BYTES: u64 = 100;
/// The longest trace: ten minutes.
const LONGEST_TRACE_SECONDS: f64 = 600.0;

/// Opens this process's socket and answers there from a thread of its own. Without one there is only nothing to ask.
pub(super) fn open(prefix: &str) {
    remove_dead(prefix);
    let me = std::process::id();
    let path = PathBuf::from(format!("{prefix}.{me}-{}", start_time(me)));
    let _ = fs::remove_file(&path);
    let opened = bind(&path).and_then(|listener| {
        // A forked child closes its copy and opens a door of its own.
        let registered = Registered::new(listener.as_raw_fd());
        sync::spawn("oss-telling", move || answer_all(&listener, &registered))
    });
    if let Err(error) = opened {
        let text = format!("{}: no socket for `ossconnector dump`: {error}", path.display());
        logs::push(Level::Debug, "telling", text);
        let _ = fs::remove_file(&path);
    }
}

/// Binds a socket at `path`, however long that is.
///
/// The name of a socket ends at 107 bytes, and a scheduler's temporary directory alone may take most of them: the
/// directory is named by a descriptor of it, where the system knows such names.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return UnixListener::bind(path);
    };
    let opened = File::open(directory)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    if short.exists() { UnixListener::bind(short.join(name)) } else { UnixListener::bind(path) }
}

fn answer_all(listener: &UnixListener, _registered: &Registered) {
    loop {
        match listener.accept() {
            Ok((asker, _)) => {
                // One who asks slowly, or for a trace, keeps nobody else waiting.
                let _ = sync::spawn("oss-telling", move || answer(asker));
            }
            Err(_) => SystemClock.sleep_until(SystemClock.now() + BREATH),
        }
    }
}

fn answer(mut asker: UnixStream) {
    let patient =
        asker.set_read_timeout(Some(PATIENCE)).and_then(|()| asker.set_write_timeout(Some(PATIENCE)));
    let mut line = String::new();
    let read = patient.and_then(|()| BufReader::new((&asker).take(LINE_BYTES)).read_line(&mut line));
    if read.is_err() {
        return;
    }
    let answer = match understand(&line) {
        Some(Question::State) => report::report().to_string(),
        Some(Question::Trace(time)) => traced(time),
        None => "{\"error\":\"ask for `state` or `trace <seconds>`\"}".to_owned(),
    };
    // Whoever asked may be gone: nothing is lost then.
    let _ = asker.write_all(answer.as_bytes());
}

/// What is asked at the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// What everything is doing now.
    State,
    /// The requests of so long from now.
    Trace(Duration),
}

/// Reads a question; `None` if it is none. Seconds that are no number, or less than none, are none.
pub(crate) fn understand(line: &str) -> Option<Question> {
    match line.trim().split_once(' ') {
        None if line.trim() == "state" => Some(Question::State),
        Some(("trace", seconds)) => {
            let seconds = seconds.parse().ok().filter(|seconds: &f64| seconds.is_finite()).unwrap_or(0.0);
            Some(Question::Trace(Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_TRACE_SECONDS))))
        }
        _ => None,
    }
}

fn traced(time: Duration) -> String {
    if !trace::start(trace::REQUESTS) {
        return "{\"error\":\"somebody else is tracing this process\"}".to_owned();
    }
    SystemClock.sleep_until(SystemClock.now() + time);
    trace::stop().to_string()
}

/// Removes the sockets of processes that are gone: a long job has many workers one after the other.
fn remove_dead(prefix: &str) {
    let place = Path::new(prefix);
    let (Some(directory), Some(start)) = (place.parent(), place.file_name().and_then(|name| name.to_str()))
    else {
        return;
    };
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner =
            name.to_str().and_then(|name| name.strip_prefix(start)?.strip_prefix('.')?.split_once('-'));
        if let Some((process, started)) = owner
            && process.parse().is_ok_and(|process: u32| start_time(process) != started)
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Tells two processes of one number apart; empty if there is none. As `private_files.start_time` in Python.
fn start_time(process: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // proc(5): field 22; the second, the command in brackets, may hold blanks.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    fields.split_whitespace().nth(19).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_the_dead_are_removed_and_those_of_the_living_and_of_others_stay() {
        let me = std::process::id();
        let directory = std::env::temp_dir().join(format!("oss-client-door-{me}"));
        fs::create_dir_all(&directory).expect("a directory");
        let own = format!("own.{me}-{}", start_time(me));
        let names = [own.as_str(), "own.4194305-1", "other.4194305-1", "own.x"];
        names.iter().for_each(|name| fs::write(directory.join(name), "").expect("a file"));
        remove_dead(directory.join("own").to_str().expect("text"));
        let left = |name: &&str| directory.join(name).exists();
        assert_eq!(names.iter().map(left).collect::<Vec<_>>(), [true, false, true, true]);
        fs::remove_dir_all(directory).expect("removed");
    }
}
