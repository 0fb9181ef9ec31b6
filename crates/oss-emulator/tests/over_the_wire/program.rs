//! The emulator as a program.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

fn start(arguments: &[&str]) -> (Child, Value) {
    let program = env!("CARGO_BIN_EXE_oss-emulator");
    let mut command = Command::new(program);
    command.args(["--port", "0"]).args(arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, serde_json::from_str(&line).unwrap())
}

#[test]
fn it_says_when_it_is_ready_and_stops_on_sigterm() {
    let (child, ready) = start(&["--region", "cn-x", "--bucket", "one"]);
    assert_eq!((&ready["region"], &ready["pid"]), (&"cn-x".into(), &child.id().into()));
    assert!(ready["endpoint"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    assert!(ready["control"].is_string() && ready["ca_file"].is_null());
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().filter(|line| line.starts_with("export ")).count(), 3, "{said}");
    assert!(said.contains("from osstorchconnector import"), "{said}");
}

#[test]
fn it_stops_with_its_stdin_when_asked_to() {
    let (mut child, _) = start(&["--until-stdin-ends", "--quiet"]);
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn wrong_arguments_end_it_with_a_line() {
    let program = env!("CARGO_BIN_EXE_oss-emulator");
    for (arguments, code) in
        [(vec!["--prot", "1"], 2), (vec!["--bucket", "X"], 1), (vec!["--host", "256.1.1.1"], 1)]
    {
        let output = Command::new(program).args(["--port", "0"]).args(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.lines().count()), (Some(code), 1), "{arguments:?}: {said}");
    }
}
