//! RestoreObject: calling archived objects back.

use oss_protocol::xml::{Document, RestoreRequest};

use crate::operations::deletes::malformed_xml;
use crate::refusal::Refusal;
use crate::response::Response;
use crate::service::Call;
use crate::store::object::Restore;

/// How long a restoration takes here. OSS needs a minute to hours; tests move the clock on.
const RESTORE_MS: i64 = 60_000;

/// Days a restored copy stays when the client names none.
const DEFAULT_DAYS: u32 = 1;

/// RestoreObject: 202 the first time, 409 while it goes on, 200 when it is done.
///
/// # Errors
/// 404 NoSuchKey; 400 OperationNotSupported, MalformedXML or InvalidArgument; 409
/// RestoreAlreadyInProgress.
pub(crate) fn restore(call: &Call<'_>, document: &[u8]) -> Result<Response, Refusal> {
    let asked = read_request(document)?;
    let now_ms = call.now_ms();
    let status = call.store().update(call.request.place(), call.request.version_id(), |object| {
        if !object.is_archived() {
            let message = "The operation is not supported for this resource";
            return Err(Refusal::new(400, "OperationNotSupported", message));
        }
        if asked.tier.is_some() && object.storage_class == "Archive" {
            return Err(malformed_xml(&"an Archive object has no restore tiers"));
        }
        let days = asked.days.unwrap_or(DEFAULT_DAYS);
        match object.restore {
            Restore::Asked { ready_ms, .. } if now_ms < ready_ms => {
                let message = "The restore operation is in progress.";
                Err(Refusal::new(409, "RestoreAlreadyInProgress", message))
            }
            Restore::Asked { ready_ms, .. } => {
                object.restore = Restore::Asked { ready_ms, days };
                Ok(200)
            }
            Restore::Never => {
                object.restore = Restore::Asked { ready_ms: now_ms + RESTORE_MS, days };
                Ok(202)
            }
        }
    })?;
    Ok(Response::empty(status).maybe("x-oss-object-restore-priority", asked.tier))
}

fn read_request(document: &[u8]) -> Result<RestoreRequest, Refusal> {
    if document.is_empty() {
        return Ok(RestoreRequest::default());
    }
    let read = RestoreRequest::decode(document, RestoreRequest::MAX_BYTES);
    let request = read.map_err(|error| malformed_xml(&error))?;
    if request.tier.as_deref().is_some_and(|tier| !["Expedited", "Standard", "Bulk"].contains(&tier)) {
        return Err(Refusal::invalid_argument("The restore tier must be Expedited, Standard or Bulk."));
    }
    Ok(request)
}
