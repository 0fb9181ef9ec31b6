//! Operations on buckets and on the account.

use std::ops::Bound;

use oss_protocol::time::UtcTime;
use oss_protocol::uri::is_valid_bucket_name;
use oss_protocol::xml::{
    AccessControlPolicy, BucketSummary, Document, ListAllMyBucketsResult, LocationConstraint, Writer,
};

use crate::operations::attributes::one_of;
use crate::operations::list_objects::{count, owner};
use crate::operations::settings::{bucket_configuration, versioning_configuration};
use crate::refusal::Refusal;
use crate::response::Response;
use crate::service::{Call, OWNER_ID, Service};
use crate::store::bucket::Bucket;
use crate::store::object::{ACLS, STORAGE_CLASSES};
use crate::store::slot::{Slot, Versioning};

/// PutBucket: creates it; a bucket that is there keeps its objects.
///
/// # Errors
/// 400 InvalidBucketName, InvalidArgument or MalformedXML.
pub(crate) fn put_bucket(call: &Call<'_>, document: &[u8]) -> Result<Response, Refusal> {
    let name = call.request.bucket_name();
    if !is_valid_bucket_name(name) {
        return Err(Refusal::new(400, "InvalidBucketName", "The specified bucket is not valid."));
    }
    let class = bucket_configuration(document)?.unwrap_or_else(|| "Standard".to_owned());
    let class = one_of(&class, STORAGE_CLASSES, "StorageClass")?;
    let acl = acl_header(call)?;
    call.store().create_bucket(name, acl.as_deref(), &class)?;
    Ok(Response::empty(200).header("Location", format!("/{name}")))
}

fn acl_header(call: &Call<'_>) -> Result<Option<String>, Refusal> {
    let acl = call.request.header("x-oss-acl");
    acl.map(|acl| one_of(acl, ACLS, "x-oss-acl")).transpose()
}

/// PutBucketAcl: creates the bucket if it is not there, as OSS does.
///
/// # Errors
/// As PutBucket.
pub(crate) fn put_bucket_acl(call: &Call<'_>) -> Result<Response, Refusal> {
    put_bucket(call, b"")
}

/// DeleteBucket.
///
/// # Errors
/// 404 NoSuchBucket; 409 BucketNotEmpty.
pub(crate) fn delete_bucket(call: &Call<'_>) -> Result<Response, Refusal> {
    call.store().delete_bucket(call.request.bucket_name())?;
    Ok(Response::empty(204))
}

/// ListBuckets.
///
/// # Errors
/// 400 InvalidArgument.
pub(crate) fn list_buckets(call: &Call<'_>) -> Result<Response, Refusal> {
    let named = |name| call.request.parameter(name).filter(|text| !text.is_empty());
    let (prefix, marker) = (named("prefix"), named("marker"));
    let max = count(call.request, "max-keys", 100, 1000)?;
    let after = marker.map_or(Bound::Unbounded, Bound::Excluded);
    let mut result = ListAllMyBucketsResult { owner: owner(), ..ListAllMyBucketsResult::default() };
    let more = call.store().with_all(|buckets| {
        let all = buckets.range::<str, _>((after, Bound::Unbounded));
        let mut wanted = all.filter(|(name, _)| prefix.is_none_or(|prefix| name.starts_with(prefix)));
        let page = wanted.by_ref().take(max as usize);
        result.buckets = page.map(|(name, bucket)| summary(call.service, name, bucket)).collect();
        wanted.next().is_some()
    });
    if more {
        result.is_truncated = Some(true);
        result.next_marker = result.buckets.last().map(|bucket| bucket.name.clone());
        result.max_keys = Some(max);
        result.prefix = Some(prefix.unwrap_or_default().to_owned());
        result.marker = Some(marker.unwrap_or_default().to_owned());
    }
    Ok(Response::xml(result.encode()))
}

fn summary(service: &Service, name: &str, bucket: &Bucket) -> BucketSummary {
    BucketSummary {
        name: name.to_owned(),
        location: format!("oss-{}", service.region),
        region: service.region.clone(),
        creation_date: iso(bucket.created_ms),
        extranet_endpoint: service.endpoint.clone(),
        intranet_endpoint: service.endpoint.clone(),
        storage_class: bucket.storage_class.clone(),
    }
}

/// DescribeRegions: the configured region and others, as there are always several.
///
/// # Errors
/// 404 NoSuchRegion for a region that is none of them.
pub(crate) fn describe_regions(call: &Call<'_>) -> Result<Response, Refusal> {
    let own = format!("oss-{}", call.service.region);
    let mut known = vec!["oss-cn-hangzhou".to_owned(), "oss-cn-shanghai".to_owned()];
    known.retain(|region| *region != own);
    known.insert(0, own);
    if let Some(wanted) = call.request.parameter("regions").filter(|text| !text.is_empty()) {
        known.retain(|region| region == wanted);
    }
    if known.is_empty() {
        return Err(Refusal::new(404, "NoSuchRegion", "The specified region does not exist."));
    }
    let mut writer = Writer::new("RegionInfoList");
    for region in &known {
        writer.group("RegionInfo", |writer| {
            writer.text("Region", region);
            writer.text("InternetEndpoint", &format!("{region}.aliyuncs.com"));
            writer.text("InternalEndpoint", &format!("{region}-internal.aliyuncs.com"));
            writer.text("AccelerateEndpoint", "oss-accelerate.aliyuncs.com");
        });
    }
    Ok(Response::xml(writer.finish()))
}

/// GetBucketInfo.
///
/// # Errors
/// 404 NoSuchBucket.
pub(crate) fn bucket_info(call: &Call<'_>) -> Result<Response, Refusal> {
    let name = call.request.bucket_name();
    let service = call.service;
    let document = call.store().with(name, |bucket| {
        let mut writer = Writer::new("BucketInfo");
        writer.group("Bucket", |writer| write_info(writer, service, name, bucket));
        writer.finish()
    })?;
    Ok(Response::xml(document))
}

fn write_info(writer: &mut Writer, service: &Service, name: &str, bucket: &Bucket) {
    writer.text("Name", name);
    writer.text("Location", &format!("oss-{}", service.region));
    writer.text("CreationDate", &iso(bucket.created_ms));
    writer.text("ExtranetEndpoint", &service.endpoint);
    writer.text("IntranetEndpoint", &service.endpoint);
    writer.text("StorageClass", &bucket.storage_class);
    writer.text("DataRedundancyType", "LRS");
    writer.optional("Versioning", bucket.versioning.status());
    writer.text("AccessMonitor", "Disabled");
    writer.text("CrossRegionReplication", "Disabled");
    writer.text("TransferAcceleration", "Disabled");
    writer.flag("BlockPublicAccess", false);
    writer.text("ResourceGroupId", "rg-emulator");
    write_owner(writer);
    writer.group("AccessControlList", |writer| writer.text("Grant", &bucket.acl));
    writer.group("ServerSideEncryptionRule", |writer| writer.text("SSEAlgorithm", "None"));
}

fn write_owner(writer: &mut Writer) {
    writer.group("Owner", |writer| {
        writer.text("ID", OWNER_ID);
        writer.text("DisplayName", OWNER_ID);
    });
}

/// GetBucketLocation: the region with `oss-` in front.
///
/// # Errors
/// 404 NoSuchBucket.
pub(crate) fn bucket_location(call: &Call<'_>) -> Result<Response, Refusal> {
    Ok(Response::xml(LocationConstraint(format!("oss-{}", call.service.region)).encode()))
}

/// GetBucketAcl.
///
/// # Errors
/// 404 NoSuchBucket.
pub(crate) fn bucket_acl(call: &Call<'_>) -> Result<Response, Refusal> {
    let grant = call.store().with(call.request.bucket_name(), |bucket| bucket.acl.clone())?;
    Ok(Response::xml(AccessControlPolicy { owner: owner(), grant }.encode()))
}

/// GetBucketStat: objects, bytes and uploads, by storage class.
///
/// # Errors
/// 404 NoSuchBucket.
pub(crate) fn bucket_stat(call: &Call<'_>) -> Result<Response, Refusal> {
    let document = call.store().with(call.request.bucket_name(), |bucket| {
        let mut writer = Writer::new("BucketStat");
        let (bytes, count) = sum(bucket, |_| true);
        writer.number("Storage", bytes);
        writer.number("ObjectCount", count);
        writer.number("MultipartUploadCount", bucket.uploads.len() as u64);
        writer.number("LiveChannelCount", 0);
        let newest = bucket.slots.values().filter_map(Slot::current).map(|object| object.modified().0).max();
        writer.number("LastModifiedTime", newest.and_then(|at| u64::try_from(at).ok()).unwrap_or(0));
        write_classes(&mut writer, bucket);
        writer.number("DeleteMarkerCount", 0);
        writer.finish()
    })?;
    Ok(Response::xml(document))
}

fn write_classes(writer: &mut Writer, bucket: &Bucket) {
    let (bytes, count) = sum(bucket, |class| class == "Standard");
    writer.number("StandardStorage", bytes);
    writer.number("StandardObjectCount", count);
    for (class, storage, real, objects) in [
        ("IA", "InfrequentAccessStorage", "InfrequentAccessRealStorage", "InfrequentAccessObjectCount"),
        ("Archive", "ArchiveStorage", "ArchiveRealStorage", "ArchiveObjectCount"),
        ("ColdArchive", "ColdArchiveStorage", "ColdArchiveRealStorage", "ColdArchiveObjectCount"),
        (
            "DeepColdArchive",
            "DeepColdArchiveStorage",
            "DeepColdArchiveRealStorage",
            "DeepColdArchiveObjectCount",
        ),
    ] {
        let (bytes, count) = sum(bucket, |found| found == class);
        writer.number(storage, bytes);
        writer.number(real, bytes);
        writer.number(objects, count);
    }
}

fn sum(bucket: &Bucket, takes: impl Fn(&str) -> bool) -> (u64, u64) {
    let objects = bucket.slots.values().filter_map(Slot::current);
    let wanted = objects.filter(|object| takes(&object.storage_class));
    wanted.fold((0, 0), |(bytes, count), object| (bytes + object.body.size_bytes(), count + 1))
}

/// GetBucketVersioning.
///
/// # Errors
/// 404 NoSuchBucket.
pub(crate) fn bucket_versioning(call: &Call<'_>) -> Result<Response, Refusal> {
    let versioning = call.store().with(call.request.bucket_name(), |bucket| bucket.versioning)?;
    let mut writer = Writer::new("VersioningConfiguration");
    writer.optional("Status", versioning.status());
    Ok(Response::xml(writer.finish()))
}

/// PutBucketVersioning.
///
/// # Errors
/// 404 NoSuchBucket; 400 MalformedXML.
pub(crate) fn put_versioning(call: &Call<'_>, document: &[u8]) -> Result<Response, Refusal> {
    let versioning: Versioning = versioning_configuration(document)?;
    call.store().set_bucket(call.request.bucket_name(), |bucket| bucket.versioning = versioning)?;
    Ok(Response::empty(200))
}

/// ListLiveChannel: there are none; official SDKs ask before they delete a bucket.
///
/// # Errors
/// 404 NoSuchBucket.
pub(crate) fn live_channels(call: &Call<'_>) -> Result<Response, Refusal> {
    call.store().with(call.request.bucket_name(), |_| ())?;
    let mut writer = Writer::new("ListLiveChannelResult");
    writer.text("Prefix", "");
    writer.text("Marker", "");
    writer.number("MaxKeys", 100);
    writer.flag("IsTruncated", false);
    Ok(Response::xml(writer.finish()))
}

fn iso(unix_ms: i64) -> String {
    UtcTime(unix_ms.div_euclid(1000)).to_iso_extended_millis()
}
