//! Keys from a program's output.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::document::{self, Names, USUAL};
use super::statics::broken;
use super::{CredentialsProvider, Fetched};
use crate::asker::Asker;
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::http::socket::is_readable;

/// A program that has not ended by then is killed, with all that it started.
const LIMIT: Duration = Duration::from_secs(15);
/// How often it is looked whether the program has ended.
const SLICE: Duration = Duration::from_millis(10);
/// More output than one set of keys is none: 64 KiB.
const OUTPUT_BYTES: usize = 64 << 10;
/// The names of the CLI's profiles, which some programs write.
const PROFILE: Names = Names(["access_key_id", "access_key_secret", "sts_token", "expiration"]);

/// Runs a command by the shell for every set of keys; its standard output is one JSON object.
#[derive(Debug)]
pub struct ProcessProvider {
    /// May hold a secret, so it is never shown.
    command: CommandLine,
    limit: Duration,
}

/// A command line without a readable Debug.
struct CommandLine(String);

impl std::fmt::Debug for CommandLine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?}", program_of(&self.0))
    }
}

impl ProcessProvider {
    /// Runs nothing yet.
    ///
    /// # Errors
    /// `Credentials`, if the command is blank.
    pub fn new(command: &str) -> Result<Self, Error> {
        if command.trim().is_empty() || command.contains('\0') {
            return Err(broken("credentials process", "the command is empty; name a program"));
        }
        Ok(ProcessProvider { command: CommandLine(command.to_owned()), limit: LIMIT })
    }

    fn run(&self, asker: &Asker<'_>) -> Result<Vec<u8>, Error> {
        let failed = |what: String| broken(&self.source(), &what);
        let unwatched = |error: io::Error| failed(format!("cannot be waited for ({})", error.kind()));
        let mut program = Program::start(&self.command.0)
            .map_err(|error| failed(format!("cannot be started ({})", error.kind())))?;
        let end = SystemClock.now() + self.limit;
        let mut bytes = Vec::new();
        loop {
            // What it wrote before its end is in the pipe then. What else holds the pipe is not waited for.
            let ended = program.ended().map_err(unwatched)?;
            let wait = if ended.is_none() { SLICE } else { Duration::ZERO };
            let has_more = program.read(&mut bytes, wait).map_err(unwatched)?;
            if bytes.len() > OUTPUT_BYTES {
                return Err(failed("wrote more than 64 KiB".to_owned()));
            }
            match ended {
                Some(_) if has_more => {}
                Some(status) if status.success() => return Ok(bytes),
                Some(status) => {
                    return Err(failed(format!("failed ({status}); run the command by hand to see why")));
                }
                None if asker.is_gone() => return Err(Error::cancelled("credentials")),
                None if SystemClock.now() >= end => {
                    let seconds = self.limit.as_secs();
                    return Err(failed(format!("had not ended after {seconds} s; correct the command")));
                }
                None => {}
            }
        }
    }
}

/// A command that runs, with all that it starts in a process group of its own. Dropped before the command has ended,
/// it kills the group: `helper | jq` is three processes.
struct Program {
    shell: Child,
    /// `None` after its end.
    output: Option<ChildStdout>,
    status: Option<ExitStatus>,
}

impl Program {
    fn start(command: &str) -> io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let output = shell.stdout.take();
        Ok(Program { shell, output, status: None })
    }

    /// How it ended, if it has.
    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.status = self.shell.try_wait()?;
        Ok(self.status)
    }

    /// Reads what there is, waiting for it as long as `wait` says; tells whether there was anything.
    fn read(&mut self, into: &mut Vec<u8>, wait: Duration) -> io::Result<bool> {
        let Some(output) = &mut self.output else {
            SystemClock.sleep_until(SystemClock.now() + wait);
            return Ok(false);
        };
        if !is_readable(output, wait)? {
            return Ok(false);
        }
        let mut piece = [0; 4096];
        let count = output.read(&mut piece)?;
        into.extend_from_slice(&piece[..count]);
        if count == 0 {
            self.output = None;
        }
        Ok(count > 0)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.status.is_none() {
            kill_group(&self.shell);
            // It was killed, or the kernel refuses that, and then nothing else would help.
            let _ = self.shell.wait();
        }
    }
}

/// Kills the process group that `leader`, which nobody has waited for yet, leads.
fn kill_group(leader: &Child) {
    let Ok(group) = libc::pid_t::try_from(leader.id()) else { return };
    // SAFETY: kill touches no memory; until somebody waits for the leader its number is given to nobody else.
    #[expect(unsafe_code, reason = "std kills no groups")]
    unsafe {
        libc::kill(-group, libc::SIGKILL);
    }
}

impl CredentialsProvider for ProcessProvider {
    fn fetch_unless(&self, asker: &Asker<'_>) -> Result<Fetched, Error> {
        keys_in(&self.run(asker)?, &format!("output of {}", self.source()))
    }

    fn source(&self) -> String {
        format!("credentials process {}", program_of(&self.command.0))
    }
}

/// Reads what a program wrote, in either spelling.
///
/// # Errors
/// `Credentials`, naming `source`, never the output.
pub(crate) fn keys_in(output: &[u8], source: &str) -> Result<Fetched, Error> {
    let document = document::parse(output, source)?;
    let names = if document.contains_key("AccessKeyId") { &USUAL } else { &PROFILE };
    document::credentials(&document, names, source)
}

/// The program's own name: arguments may be secrets, and so may a variable set in front. Only what is plainly a name
/// is shown; in front of it, quotes could hold blanks.
fn program_of(command: &str) -> String {
    let is_plain = |word: &&str| !word.contains(['\'', '"', '`', '\\', '$', '(']);
    let mut plain = command.split_whitespace().take_while(is_plain);
    let word = plain.find(|word| !word.contains('=')).unwrap_or("sh");
    word.chars().take(128).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::Cancel;
    use crate::error::ErrorKind;
    use crate::sync::spawn;

    fn fetch(command: &str) -> Result<Fetched, Error> {
        ProcessProvider::new(command).expect("a command").fetch()
    }

    #[test]
    fn both_spellings_of_the_output_are_read() {
        for (command, token) in [
            (r#"echo '{"AccessKeyId":"i","AccessKeySecret":"s","SecurityToken":"t"}'"#, Some("t")),
            (r#"echo '{"mode":"StsToken","access_key_id":"i","access_key_secret":"s"}'"#, None),
        ] {
            let credentials = fetch(command).expect(command).credentials.expect("keys");
            assert_eq!(credentials.access_key_id, "i");
            assert_eq!(credentials.security_token.as_ref().map(|token| token.expose()), token);
        }
    }

    #[test]
    fn a_program_that_fails_is_named_without_arguments_and_output() {
        for (command, said) in [
            ("echo canary; exit 3 # canary", "exit status: 3"),
            ("echo canary", "not the expected JSON"),
            ("PASSWORD=canary /nonexistent/vault canary", "/nonexistent/vault: failed"),
            ("PASSWORD='a canary' /nonexistent/vault canary", "credentials process sh: failed"),
            ("$(echo canary) canary", "credentials process sh: failed"),
            ("echo '{\"AccessKeyId\":\"canary\"}'", "AccessKeySecret is absent"),
        ] {
            let error = fetch(command).expect_err(command).to_string();
            assert!(error.contains(said) && !error.contains("canary"), "{error}");
        }
        assert!(ProcessProvider::new("  ").is_err());
        assert!(
            !format!("{:?}", ProcessProvider::new("vault canary").expect("a command")).contains("canary")
        );
    }

    /// How many processes have `mark` among their arguments; those that ended have none.
    #[cfg(target_os = "linux")]
    fn processes_with(mark: &str) -> usize {
        let found = std::fs::read_dir("/proc").expect("the processes").filter_map(Result::ok);
        let lines = found.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).contains(mark)).count()
    }

    #[cfg(target_os = "linux")]
    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let end = SystemClock.now() + Duration::from_secs(30);
        while !is_so() {
            assert!(SystemClock.now() < end, "{what}");
            std::thread::yield_now();
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_program_that_hangs_is_killed_with_all_that_it_started() {
        let mut hanging = ProcessProvider::new("sleep 60.0731 | cat").expect("a command");
        hanging.limit = Duration::from_millis(50);
        let error = hanging.fetch().expect_err("it hangs").to_string();
        assert!(error.contains("had not ended"), "{error}");
        wait_until("nothing is left of it", || processes_with("60.0731") == 0);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_program_is_killed_when_nobody_waits_for_it_any_more() {
        let cancel = Cancel::new();
        let given_up = cancel.clone();
        let hanging = ProcessProvider::new("sleep 60.0732 | cat").expect("a command");
        let asker =
            spawn("asker", move || hanging.fetch_unless(&Asker::silent(&given_up))).expect("a thread");
        wait_until("shell and program run", || processes_with("60.0732") >= 2);
        cancel.cancel();
        let error = asker.join().expect("no panic").expect_err("given up");
        assert_eq!(error.kind, ErrorKind::Cancelled);
        wait_until("nothing is left of it", || processes_with("60.0732") == 0);
    }

    #[test]
    fn what_goes_on_behind_the_command_is_not_waited_for() {
        let keys = r#"'{"AccessKeyId":"i","AccessKeySecret":"s"}'"#;
        let begun = SystemClock.now();
        fetch(&format!("sleep 12.0733 & echo {keys}")).expect("keys");
        assert!(SystemClock.now() - begun < Duration::from_secs(10), "an agent may hold the pipe");
    }

    #[test]
    fn a_program_that_closes_its_output_is_waited_for() {
        let error = fetch("exec 1>&-; sleep 0.05; exit 7").expect_err("it fails").to_string();
        assert!(error.contains("exit status: 7"), "{error}");
    }

    #[test]
    fn output_without_end_is_refused() {
        let error = fetch("yes").expect_err("too much").to_string();
        assert!(error.contains("more than 64 KiB"), "{error}");
    }
}
