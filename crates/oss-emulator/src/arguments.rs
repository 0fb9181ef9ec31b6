//! The command line.

use std::path::{Path, PathBuf};

use crate::server::Options;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
A local OSS, for tests and demos. Prints one JSON line on stdout when it is ready.

  --host ADDRESS            address to listen on (127.0.0.1)
  --port N                  port of the service, 0 takes a free one (9000)
  --control-port N          port of the control interface on loopback (0)
  --identity-port N         port of its metadata service and STS, on loopback (0)
  --proxy-port N            port of its HTTP proxy, on loopback (0)
  --root DIR                keep objects in DIR; without it they are gone with the process
  --access-key-id ID        key that is accepted
  --access-key-secret TEXT  its secret
  --region NAME             region that signatures must name (cn-local)
  --bucket NAME             create a bucket; may be repeated
  --rules FILE              rules from the start, JSON
  --opaque-etags            ETags that are no MD5, as of objects that OSS encrypts: cheaper to receive
  --seed N                  seed of rules that bring none (0)
  --tls                     speak TLS, with an authority made at the start
  --tls-ca-dir DIR          where the authority's certificate is written
  --until-stdin-ends        stop when stdin ends, so that a killed parent leaves nothing behind
  --quiet, --json           nothing on stderr but errors: the JSON line is all there is
";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Asked {
    /// To run.
    Run {
        /// How.
        options: Box<Options>,
        /// Whether to keep the lines to paste to oneself.
        quiet: bool,
        /// Whether the end of stdin is the end of the emulator.
        until_stdin_ends: bool,
    },
    /// To explain itself.
    Help,
}

/// Reads the arguments, without the name of the program; `--name=value` is understood too.
///
/// # Errors
/// A line that names the argument and the remedy.
pub(crate) fn parse(arguments: Vec<String>) -> Result<Asked, String> {
    let mut options = Options { port: 9000, ..Options::default() };
    let (mut quiet, mut until_stdin_ends) = (false, false);
    let mut words = arguments.into_iter().flat_map(split).peekable();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value; see --help"));
        match word.as_str() {
            "--host" => options.host = value()?,
            "--port" => options.port = number(&word, &value()?)?,
            "--control-port" => options.control_port = number(&word, &value()?)?,
            "--identity-port" => options.identity_port = number(&word, &value()?)?,
            "--proxy-port" => options.proxy_port = number(&word, &value()?)?,
            "--root" => options.root = Some(PathBuf::from(value()?)),
            "--access-key-id" => options.access_key_id = value()?,
            "--access-key-secret" => options.access_key_secret = value()?,
            "--region" => options.region = value()?,
            "--bucket" => options.buckets.push(value()?),
            "--rules" => options.rules = Some(read_rules(Path::new(&value()?))?),
            "--opaque-etags" => options.opaque_etags = true,
            "--seed" => options.seed = number(&word, &value()?)?,
            "--tls" => options.tls = true,
            "--tls-ca-dir" => options.tls_ca_dir = Some(PathBuf::from(value()?)),
            "--until-stdin-ends" => until_stdin_ends = true,
            "--quiet" | "--json" => quiet = true,
            "--help" | "-h" => return Ok(Asked::Help),
            other => return Err(format!("unknown argument {other}; see --help")),
        }
    }
    Ok(Asked::Run { options: Box::new(options), quiet, until_stdin_ends })
}

fn split(word: String) -> Vec<String> {
    match word.split_once('=') {
        Some((name, value)) if name.starts_with("--") => vec![name.to_owned(), value.to_owned()],
        _ => vec![word],
    }
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{name} needs a number, not `{text}`"))
}

fn read_rules(path: &Path) -> Result<serde_json::Value, String> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn arguments_fill_the_options() {
        let asked =
            parse(words("--port 0 --bucket a --bucket=b --region cn-x --seed 7 --tls --quiet")).unwrap();
        let Asked::Run { options, quiet, until_stdin_ends: false } = asked else { panic!("{asked:?}") };
        assert_eq!((options.port, options.seed, options.tls, quiet), (0, 7, true, true));
        assert_eq!((options.buckets.as_slice(), options.region.as_str()), (&words("a b")[..], "cn-x"));
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (line, named) in [("--prot 1", "--prot"), ("--port x", "`x`"), ("--root", "--root"), ("x", "x")] {
            assert!(parse(words(line)).unwrap_err().contains(named), "{line}");
        }
        assert!(parse(words("--rules /nonexistent/rules.json")).unwrap_err().contains("rules.json"));
    }
}
