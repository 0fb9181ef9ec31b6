//! AppendObject.

use oss_protocol::crc64::combine;

use crate::halt::Halt;
use crate::inflow::Inflow;
use crate::operations::attributes::{check_key, template};
use crate::operations::writes::receive;
use crate::refusal::Refusal;
use crate::response::Response;
use crate::service::Call;
use crate::store::body::Body;
use crate::store::bucket::Bucket;
use crate::store::intake::{Received, md5_of, quoted_etag};
use crate::store::object::{Kind, Object};

/// Largest object made by appending: 5 GB.
const MAX_APPENDED_BYTES: u64 = 5 * 1024 * 1024 * 1024;

/// AppendObject: position 0 creates, any other must be the present length.
///
/// # Errors
/// 400 InvalidArgument; 409 ObjectNotAppendable, or PositionNotEqualToLength with the right one.
pub(crate) fn append_object(call: &Call<'_>, body: &mut Inflow<'_>) -> Result<Response, Halt> {
    let (name, key) = call.request.place();
    check_key(key)?;
    let position = position(call)?;
    let class = call.store().with(name, |bucket| bucket.storage_class.clone())?;
    // What a later append says of the object is not even looked at.
    let fresh = (position == 0).then(|| template(call.request, &class, call.now_ms())).transpose()?;
    let received = receive(call, body)?;
    let stored = call.store().alter(name, |bucket| {
        let object = append(bucket, key, position, fresh, &received)?;
        let object = Object { modified_ms: call.now_ms(), ..object };
        call.store().commit(bucket, (name, key), "put", object)
    })?;
    let object = &stored.object;
    Ok(Response::empty(200)
        .header("ETag", object.etag.clone())
        .header("x-oss-next-append-position", object.body.size_bytes().to_string())
        .maybe("x-oss-hash-crc64ecma", object.crc64.map(|crc| crc.to_string()))
        .maybe("x-oss-version-id", stored.version_id))
}

fn position(call: &Call<'_>) -> Result<u64, Refusal> {
    let text = call.request.parameter("position").unwrap_or_default();
    text.parse().map_err(|_| Refusal::invalid_argument("The position must be a number of bytes."))
}

fn append(
    bucket: &Bucket,
    key: &str,
    position: u64,
    fresh: Option<Object>,
    received: &Received,
) -> Result<Object, Refusal> {
    let present = bucket.slots.get(key).and_then(|slot| slot.current());
    if present.is_some_and(|object| object.kind != Kind::Appendable) {
        let message = "The object is not appendable";
        return Err(Refusal::new(409, "ObjectNotAppendable", message));
    }
    let length = present.map_or(0, |object| object.body.size_bytes());
    let fresh = fresh.map(|fresh| Object { crc64: Some(0), kind: Kind::Appendable, ..fresh });
    let base = present.map(|object| Object::clone(object)).or(fresh).filter(|_| position == length);
    let base = base.ok_or_else(|| {
        let message = "Position is not equal to file length";
        let refusal = Refusal::new(409, "PositionNotEqualToLength", message);
        refusal.header("x-oss-next-append-position", length.to_string())
    })?;
    let added = received.body.size_bytes();
    if length + added > MAX_APPENDED_BYTES {
        return Err(Refusal::new(400, "EntityTooLarge", "An appendable object has at most 5 GB."));
    }
    let chained = format!("{}{}", base.etag, received.etag());
    Ok(Object {
        etag: quoted_etag(&md5_of(chained.as_bytes())),
        crc64: base.crc64.map(|crc| combine(crc, received.crc64, added)),
        body: Body::join([&base.body, &received.body]),
        ..base
    })
}
