//! What a rule does to the state of the service before or after a request is served.

use std::process::Command;

use crate::accounts::expire_sender;
use crate::refusal::Refusal;
use crate::request::Request;
use crate::rules::action::{Action, Kill, Replacement};
use crate::rules::fired::Fired;
use crate::service::Service;
use crate::store::body::Body;
use crate::store::object::{Object, Restore};
use crate::store::synthetic;

/// Changes the state as a rule asks, before the request is served.
///
/// # Errors
/// 404 NoSuchBucket, 500: what the change itself meets. A missing object is no error.
pub(crate) fn prepare(service: &Service, request: &Request, fired: &Fired) -> Result<(), Refusal> {
    let action = &fired.action;
    if let Some(seconds) = action.clock_offset_seconds {
        service.store.clock().set_offset_seconds(seconds);
    }
    if action.expire_token {
        expire_sender(service, request);
    }
    if request.key.is_some() {
        change_object(service, request, fired)?;
    }
    if let Some(kill) = action.kill_client_at.filter(|kill| !kill.after) {
        send_signal(kill);
    }
    Ok(())
}

/// Does what a rule asks for after the request was carried out.
pub(crate) fn conclude(action: &Action) {
    if let Some(kill) = action.kill_client_at.filter(|kill| kill.after) {
        send_signal(kill);
    }
}

fn change_object(service: &Service, request: &Request, fired: &Fired) -> Result<(), Refusal> {
    let (action, place) = (&fired.action, request.place());
    if let Some(switch) = action.replace_object.as_ref().filter(|switch| switch.is_on()) {
        replace(service, place, switch.value(), fired.bits)?;
    }
    if let Some(wanted) = action.virtual_object {
        let present = service.store.find(place.0, place.1, None).ok();
        if present.is_none_or(|(object, _)| object.body.size_bytes() != wanted.size) {
            let now_ms = service.store.clock().unix_millis();
            let object = synthetic::object(Body::pattern(wanted.seed, wanted.size), wanted.seed, now_ms);
            service.store.put(place, false, object)?;
        }
    }
    if action.archive {
        let archived = service.store.update(place, None, |object| {
            object.storage_class = "Archive".to_owned();
            object.restore = Restore::Never;
            Ok(())
        });
        archived.or_else(unless_missing)?;
    }
    if action.delete_object {
        service.store.remove(place, None)?;
    }
    Ok(())
}

fn replace(
    service: &Service,
    place: (&str, &str),
    with: Option<&Replacement>,
    bits: u64,
) -> Result<(), Refusal> {
    let present = service.store.find(place.0, place.1, None).ok().map(|(object, _)| object);
    let old_size = present.as_ref().map_or(0, |object| object.body.size_bytes());
    let seed = with.and_then(|with| with.seed).unwrap_or(bits);
    let body = match with.and_then(|with| with.body.as_ref()) {
        Some(bytes) => Body::from_bytes(bytes.to_vec()),
        None => Body::pattern(seed, with.and_then(|with| with.size).unwrap_or(old_size)),
    };
    let fresh = synthetic::object(body, seed, service.store.clock().unix_millis());
    let object = match present {
        Some(old) => Object {
            storage_class: old.storage_class.clone(),
            headers: old.headers.clone(),
            metadata: old.metadata.clone(),
            acl: old.acl.clone(),
            ..fresh
        },
        None => fresh,
    };
    service.store.put(place, false, object).map(drop)
}

fn unless_missing(refusal: Refusal) -> Result<(), Refusal> {
    if refusal.status == 404 { Ok(()) } else { Err(refusal) }
}

/// Sends a signal through the `kill` program: the language offers none without unsafe code.
fn send_signal(kill: Kill) {
    let signal = format!("-{}", kill.signal.unwrap_or(9));
    // A process that is already gone is what was wanted.
    let _ = Command::new("kill").arg(signal).arg(kill.pid.to_string()).status();
}
