//! The emulator as a program: arguments in, the ready line out, signals.

use std::io::{self, Write};
use std::thread::Builder;

use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::arguments::{Asked, HELP, parse};
use crate::server::{EmulatorServer, Options};

/// Runs the emulator until SIGTERM, SIGINT or `POST /_emulator/stop`.
///
/// `args` are the words behind the program's name. Returns the exit code: 0 after a clean stop,
/// 2 for wrong arguments, 1 for anything else; what was wrong is on stderr in one line.
///
/// A host program that has handlers of its own for those signals should restore the default ones
/// before, because they would be called as well.
pub fn main_with_args(args: Vec<String>) -> i32 {
    match parse(args) {
        Ok(Asked::Help) => exit_code(write!(io::stdout(), "{HELP}")),
        Ok(Asked::Run { options, quiet, until_stdin_ends }) => {
            exit_code(run(*options, quiet, until_stdin_ends))
        }
        Err(why) => {
            complain(&why);
            2
        }
    }
}

fn run(options: Options, quiet: bool, until_stdin_ends: bool) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    let server = EmulatorServer::start(options.clone())?;
    let (stop, handle) = (server.stopper(), signals.handle());
    let watcher = Builder::new().name("oss-signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            stop.raise();
        }
    })?;
    if until_stdin_ends {
        let stop = server.stopper();
        Builder::new().name("oss-stdin".to_owned()).spawn(move || {
            // An error ends it as well: stdin is gone either way.
            let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
            stop.raise();
        })?;
    }
    announce(&server, &options, quiet)?;
    server.wait();
    drop(server);
    handle.close();
    // The watcher ends because its signals are closed; a panic there has nothing to say.
    let _ = watcher.join();
    Ok(())
}

fn announce(server: &EmulatorServer, options: &Options, quiet: bool) -> io::Result<()> {
    let ready = json!({
        "endpoint": server.endpoint(),
        "control": server.control_endpoint(),
        "identity": server.identity_endpoint(),
        "proxy": server.proxy_endpoint(),
        "access_key_id": options.access_key_id,
        "access_key_secret": options.access_key_secret,
        "region": server.region(),
        "pid": std::process::id(),
        "ca_file": server.ca_file(),
    });
    if !quiet {
        let (id, secret) = (&options.access_key_id, &options.access_key_secret);
        let (endpoint, region) = (server.endpoint(), server.region());
        let mut stderr = io::stderr().lock();
        writeln!(stderr, "export OSS_ENDPOINT={endpoint} OSS_REGION={region}")?;
        writeln!(stderr, "export OSS_ACCESS_KEY_ID={id}")?;
        writeln!(stderr, "export OSS_ACCESS_KEY_SECRET={secret}")?;
        writeln!(
            stderr,
            "from osstorchconnector import OssIterableDataset; \
             ds = OssIterableDataset.from_prefix(\"oss://bucket/prefix/\", \"{endpoint}\", region=\"{region}\")"
        )?;
    }
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{ready}")?;
    stdout.flush()
}

fn exit_code(result: io::Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(error) => {
            complain(&error.to_string());
            1
        }
    }
}

fn complain(why: &str) {
    // If stderr is gone there is nobody to tell.
    let _ = writeln!(io::stderr(), "oss-emulator: {why}");
}
