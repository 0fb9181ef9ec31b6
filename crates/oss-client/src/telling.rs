//! What a process is doing, for people outside of it: its operations, streams and limits at this moment.
//!
//! Every client of the process is known here from its first request on. The answers are given by a native thread at a
//! socket ([`door`]) that needs neither Python nor any lock that is held for long: a process whose Python hangs can be
//! asked all the same. What is asked for is written down ([`report`]) only then; until then it is a few relaxed stores
//! an operation ([`board`]). Requests that went by are kept only while somebody wants a [`trace`].

pub(crate) mod board;
pub(crate) mod crowd;
pub(crate) mod door;
mod report;
pub mod trace;

use crate::fork::ForkCell;
use crate::sync::{Arc, Mutex, OnceLock, Weak};
use crate::transport::Transport;

pub use report::report;

/// What this process has to tell.
#[derive(Debug, Default)]
struct Process {
    clients: Mutex<Vec<Weak<Transport>>>,
    role: Mutex<String>,
    door: OnceLock<()>,
}

static PROCESS: ForkCell<Process> = ForkCell::new();

/// Where processes are asked: what the names of their sockets begin with.
static PLACE: OnceLock<String> = OnceLock::new();

fn process() -> Option<&'static Arc<Process>> {
    PROCESS.get(Process::default)
}

/// Says where this process, and every child of it, can be asked; the first call counts.
///
/// The names of the sockets begin with `prefix`, which lies in a directory that nobody else can enter.
pub fn answer_at(prefix: String) {
    let _ = PLACE.set(prefix);
}

/// Says what this process is, such as `DataLoader worker 3`.
pub fn set_role(role: String) {
    if let Some(process) = process() {
        *process.role.lock() = role;
    }
}

/// Knows a client from now on, and opens the door if it is the first.
pub(crate) fn enter(transport: &Arc<Transport>) {
    let Some(process) = process() else { return };
    let mut clients = process.clients.lock();
    clients.retain(|client| client.strong_count() > 0);
    clients.push(Arc::downgrade(transport));
    drop(clients);
    if let Some(prefix) = PLACE.get() {
        process.door.get_or_init(|| door::open(prefix));
    }
}
