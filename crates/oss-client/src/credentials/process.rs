//! Keys from a program's output.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::document::{self, Names, USUAL};
use super::statics::broken;
use super::{CredentialsProvider, Fetched};
use crate::clock::{Clock, SystemClock};
use crate::error::Error;
use crate::sync::{Arc, spawn};

/// A program that has not ended by then is killed.
const LIMIT: Duration = Duration::from_secs(15);
/// How often it is looked whether the program has ended.
const SLICE: Duration = Duration::from_millis(10);
/// More output than one set of keys is none: 64 KiB.
const OUTPUT_BYTES: u64 = 64 << 10;
/// The names of the CLI's profiles, which some programs write.
const PROFILE: Names = Names(["access_key_id", "access_key_secret", "sts_token", "expiration"]);

/// Runs a command by the shell for every set of keys; its standard output is one JSON object.
#[derive(Debug)]
pub struct ProcessProvider {
    /// May hold a secret, so it is never shown.
    command: CommandLine,
    clock: Arc<dyn Clock>,
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
        Ok(ProcessProvider {
            command: CommandLine(command.to_owned()),
            clock: Arc::new(SystemClock),
            limit: LIMIT,
        })
    }

    fn run(&self) -> Result<Vec<u8>, Error> {
        let failed = |what: String| broken(&self.source(), &what);
        let mut child = Command::new("sh")
            .args(["-c", &self.command.0])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(format!("cannot be started ({})", error.kind())))?;
        let Some(output) = child.stdout.take() else { return Err(failed("has no output".to_owned())) };
        // Reading could wait for ever; this thread ends when the last holder of the pipe does.
        let reader = spawn("oss-process", move || {
            let mut bytes = Vec::new();
            output.take(OUTPUT_BYTES + 1).read_to_end(&mut bytes).map(|_count| bytes)
        })
        .map_err(|error| failed(format!("no thread to read it ({})", error.kind())))?;
        let end = self.clock.now() + self.limit;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) if reader.is_finished() => break status,
                Ok(_) if self.clock.now() >= end => {
                    stop(&mut child);
                    let seconds = self.limit.as_secs();
                    return Err(failed(format!("had not ended after {seconds} s; correct the command")));
                }
                Ok(_) => self.clock.sleep_until(self.clock.now() + SLICE),
                Err(error) => return Err(failed(format!("cannot be waited for ({})", error.kind()))),
            }
        };
        let bytes = reader.join().ok().and_then(Result::ok).unwrap_or_default();
        if !status.success() {
            return Err(failed(format!("failed ({status}); run the command by hand to see why")));
        }
        if bytes.len() as u64 > OUTPUT_BYTES {
            return Err(failed("wrote more than 64 KiB".to_owned()));
        }
        Ok(bytes)
    }
}

impl CredentialsProvider for ProcessProvider {
    fn fetch(&self) -> Result<Fetched, Error> {
        let source = format!("output of {}", self.source());
        let document = document::parse(&self.run()?, &source)?;
        let names = if document.contains_key("AccessKeyId") { &USUAL } else { &PROFILE };
        document::credentials(&document, names, &source)
    }

    fn source(&self) -> String {
        format!("credentials process {}", program_of(&self.command.0))
    }
}

/// The program's own name: arguments may be secrets, and so may a variable set in front. Only what is plainly a name
/// is shown; in front of it, quotes could hold blanks.
fn program_of(command: &str) -> String {
    let is_plain = |word: &&str| !word.contains(['\'', '"', '`', '\\', '$', '(']);
    let mut plain = command.split_whitespace().take_while(is_plain);
    let word = plain.find(|word| !word.contains('=')).unwrap_or("sh");
    word.chars().take(128).filter(|c| !c.is_control()).collect()
}

fn stop(child: &mut Child) {
    // Either it ended meanwhile or the kernel refuses, and then nothing else would help.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_program_that_hangs_is_killed() {
        let mut hanging = ProcessProvider::new("exec sleep 60").expect("a command");
        hanging.limit = Duration::from_millis(50);
        let error = hanging.fetch().expect_err("it hangs").to_string();
        assert!(error.contains("had not ended"), "{error}");
    }
}
