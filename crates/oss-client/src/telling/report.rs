//! The state of this process, written down for people and programs outside of it.

use serde_json::{Value, json};

use super::process;
use crate::clock::{Clock, SystemClock};
use crate::sync::Weak;
use crate::transport::Transport;

/// What every client of this process is doing now, as a JSON object.
#[must_use]
pub fn report() -> Value {
    let (role, clients) = process().map_or_else(Default::default, |process| {
        let clients: Vec<_> = process.clients.lock().iter().filter_map(Weak::upgrade).collect();
        (process.role.lock().clone(), clients)
    });
    json!({
        "pid": std::process::id(),
        "role": role,
        "clients": clients.iter().map(|client| of_client(client)).collect::<Vec<_>>(),
    })
}

fn of_client(transport: &Transport) -> Value {
    let now = SystemClock.now();
    let outlook = transport.outlook();
    let members: Vec<_> = transport.crowd.present().iter().map(|member| member.tell(now)).collect();
    let of_kind = |kinds: &[&str]| -> Vec<Value> {
        let kind = |member: &&Value| member["kind"].as_str().is_some_and(|kind| kinds.contains(&kind));
        members.iter().filter(kind).cloned().collect()
    };
    json!({
        "endpoint": transport.config.endpoint.to_string(),
        "region": transport.config.region,
        "credentials": outlook.credentials_source,
        "credentials_expire_seconds": outlook.credentials_expire_seconds,
        "clock_offset_seconds": outlook.clock_offset_seconds,
        "requests_per_second": outlook.requests_per_second,
        "requests_per_second_limit": outlook.requests_per_second_limit,
        "pause_seconds": outlook.pause_seconds,
        "is_in_slow_mode": outlook.is_in_slow_mode,
        "connections_in_use": outlook.connections_in_use,
        "connections_idle": outlook.connections_idle,
        "requests": transport.board.rows(now).iter().map(of_row).collect::<Vec<_>>(),
        "streams": of_kind(&["objects", "reader"]),
        "uploads": of_kind(&["upload"]),
        "workers": of_kind(&["workers"]),
    })
}

fn of_row(row: &super::board::Row) -> Value {
    json!({
        "operation": row.label,
        "uri": row.uri,
        "state": row.doing,
        "for_seconds": row.for_seconds,
        "age_seconds": row.age_seconds,
        "silent_seconds": row.silent_seconds,
        "attempt": row.attempts,
        "received_bytes": row.received_bytes,
        "last_cause": row.last_cause,
    })
}
