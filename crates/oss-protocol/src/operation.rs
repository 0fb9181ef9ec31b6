//! The names of OSS operations, and how a request says which one it is.
//!
//! The emulator's rules and journal and the client's errors use this one vocabulary.

use std::fmt;

macro_rules! operations {
    ($($name:ident => $doc:literal),+ $(,)?) => {
        /// One operation of the OSS API, named as in its documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Operation {
            $(#[doc = $doc] $name,)+
        }

        impl Operation {
            /// Every operation, in the order of the declaration.
            pub const ALL: &'static [Operation] = &[$(Operation::$name),+];

            /// Returns the name as the OSS documentation writes it.
            pub fn name(self) -> &'static str {
                match self {
                    $(Operation::$name => stringify!($name),)+
                }
            }
        }
    };
}

operations! {
    GetObject => "`GET /key`, whole or a range.",
    HeadObject => "`HEAD /key`.",
    GetObjectMeta => "`HEAD /key?objectMeta` (the original sends it; GET is accepted too).",
    PutObject => "`PUT /key`.",
    AppendObject => "`POST /key?append&position=n`.",
    CopyObject => "`PUT /key` with `x-oss-copy-source`.",
    DeleteObject => "`DELETE /key`.",
    DeleteMultipleObjects => "`POST /?delete`.",
    ListObjects => "`GET /`, the first version of listing.",
    ListObjectsV2 => "`GET /?list-type=2`.",
    ListObjectVersions => "`GET /?versions`.",
    InitiateMultipartUpload => "`POST /key?uploads`.",
    UploadPart => "`PUT /key?partNumber=n&uploadId=id`.",
    UploadPartCopy => "`PUT /key?partNumber=n&uploadId=id` with `x-oss-copy-source`.",
    CompleteMultipartUpload => "`POST /key?uploadId=id`.",
    AbortMultipartUpload => "`DELETE /key?uploadId=id`.",
    ListParts => "`GET /key?uploadId=id`.",
    ListMultipartUploads => "`GET /?uploads`.",
    PutSymlink => "`PUT /key?symlink`.",
    GetSymlink => "`GET /key?symlink`.",
    RestoreObject => "`POST /key?restore`.",
    GetObjectAcl => "`GET /key?acl`.",
    PutObjectAcl => "`PUT /key?acl`.",
    GetObjectTagging => "`GET /key?tagging`.",
    PutObjectTagging => "`PUT /key?tagging`.",
    DeleteObjectTagging => "`DELETE /key?tagging`.",
    ListBuckets => "`GET /` without a bucket.",
    DescribeRegions => "`GET /?regions` without a bucket.",
    PutBucket => "`PUT /` of a bucket.",
    DeleteBucket => "`DELETE /` of a bucket.",
    GetBucketInfo => "`GET /?bucketInfo`.",
    GetBucketLocation => "`GET /?location`.",
    GetBucketStat => "`GET /?stat`.",
    GetBucketAcl => "`GET /?acl`.",
    PutBucketAcl => "`PUT /?acl`.",
    GetBucketVersioning => "`GET /?versioning`.",
    PutBucketVersioning => "`PUT /?versioning`.",
    BatchGet => "`POST /?x-oss-batchGet`, a private operation of the original; never sent by us.",
    Unknown => "Anything else.",
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Operation {
    /// Finds an operation by the name [`Operation::name`] gives; case matters.
    pub fn from_name(name: &str) -> Option<Operation> {
        Self::ALL.iter().copied().find(|operation| operation.name() == name)
    }

    /// Says which operation a request is.
    ///
    /// `query` holds decoded pairs, `has_header` answers for lower-case names. A sub-resource
    /// that is not listed above makes the request `Unknown`, rather than the plain operation of
    /// the same method: a rule or an error must never name the wrong one. Other parameters
    /// (`versionId`, `response-*`, signatures) do not matter.
    pub fn classify(
        method: &str,
        bucket: Option<&str>,
        key: Option<&str>,
        query: &[(String, String)],
        has_header: impl Fn(&str) -> bool,
    ) -> Operation {
        let request = Request { method, query, copies: has_header("x-oss-copy-source") };
        match (bucket, key.filter(|key| !key.is_empty())) {
            (None, _) => request.on_service(),
            (Some(_), None) => request.on_bucket(),
            (Some(_), Some(_)) => request.on_object(),
        }
    }
}

struct Request<'a> {
    method: &'a str,
    query: &'a [(String, String)],
    copies: bool,
}

impl Request<'_> {
    fn has(&self, name: &str) -> bool {
        self.query.iter().any(|(found, _)| found == name)
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The sub-resource of the request, if it has one.
    fn sub_resource(&self) -> Option<&str> {
        let mut names = self.query.iter().map(|(name, _)| name.as_str());
        names.find(|name| SUB_RESOURCES.contains(name))
    }

    fn on_service(&self) -> Operation {
        match (self.method, self.has("regions")) {
            ("GET", true) => Operation::DescribeRegions,
            ("GET", false) => Operation::ListBuckets,
            _ => Operation::Unknown,
        }
    }

    fn on_bucket(&self) -> Operation {
        match (self.method, self.sub_resource()) {
            ("GET", None) if self.value("list-type") == Some("2") => Operation::ListObjectsV2,
            ("GET", None) => Operation::ListObjects,
            ("PUT", None) => Operation::PutBucket,
            ("DELETE", None) => Operation::DeleteBucket,
            ("POST", Some("delete")) => Operation::DeleteMultipleObjects,
            ("POST", Some("x-oss-batchGet")) => Operation::BatchGet,
            ("GET", Some("uploads")) => Operation::ListMultipartUploads,
            ("GET", Some("versions")) => Operation::ListObjectVersions,
            ("GET", Some("bucketInfo")) => Operation::GetBucketInfo,
            ("GET", Some("location")) => Operation::GetBucketLocation,
            ("GET", Some("stat")) => Operation::GetBucketStat,
            ("GET", Some("acl")) => Operation::GetBucketAcl,
            ("PUT", Some("acl")) => Operation::PutBucketAcl,
            ("GET", Some("versioning")) => Operation::GetBucketVersioning,
            ("PUT", Some("versioning")) => Operation::PutBucketVersioning,
            _ => Operation::Unknown,
        }
    }

    fn on_object(&self) -> Operation {
        match (self.method, self.sub_resource()) {
            ("GET", None) => Operation::GetObject,
            ("HEAD", None) => Operation::HeadObject,
            ("PUT", None) if self.copies => Operation::CopyObject,
            ("PUT", None) => Operation::PutObject,
            ("DELETE", None) => Operation::DeleteObject,
            ("HEAD" | "GET", Some("objectMeta")) => Operation::GetObjectMeta,
            ("POST", Some("append")) => Operation::AppendObject,
            ("POST", Some("uploads")) => Operation::InitiateMultipartUpload,
            (_, Some("uploadId")) => self.on_upload(),
            ("PUT", Some("symlink")) => Operation::PutSymlink,
            ("GET", Some("symlink")) => Operation::GetSymlink,
            ("POST", Some("restore")) => Operation::RestoreObject,
            ("GET", Some("acl")) => Operation::GetObjectAcl,
            ("PUT", Some("acl")) => Operation::PutObjectAcl,
            ("GET", Some("tagging")) => Operation::GetObjectTagging,
            ("PUT", Some("tagging")) => Operation::PutObjectTagging,
            ("DELETE", Some("tagging")) => Operation::DeleteObjectTagging,
            _ => Operation::Unknown,
        }
    }

    fn on_upload(&self) -> Operation {
        match (self.method, self.has("partNumber")) {
            ("PUT", true) if self.copies => Operation::UploadPartCopy,
            ("PUT", true) => Operation::UploadPart,
            ("POST", false) => Operation::CompleteMultipartUpload,
            ("DELETE", false) => Operation::AbortMultipartUpload,
            ("GET", false) => Operation::ListParts,
            _ => Operation::Unknown,
        }
    }
}

/// Parameters that choose the operation: those of V1's signing list (oss-protocol, section 3)
/// that do so, and further ones of the bucket settings, so that they are not taken for a listing.
const SUB_RESOURCES: &[&str] = &[
    "acl",
    "append",
    "bucketInfo",
    "cname",
    "comp",
    "cors",
    "delete",
    "encryption",
    "inventory",
    "lifecycle",
    "live",
    "location",
    "logging",
    "metaQuery",
    "objectMeta",
    "policy",
    "qos",
    "qosInfo",
    "referer",
    "replication",
    "requestPayment",
    "resourceGroup",
    "restore",
    "seal",
    "stat",
    "style",
    "symlink",
    "tagging",
    "transferAcceleration",
    "uploadId",
    "uploads",
    "vod",
    "versioning",
    "versions",
    "website",
    "worm",
    "x-oss-async-process",
    "x-oss-batchGet",
];

#[cfg(test)]
mod tests {
    use super::Operation::{self, *};

    fn classify(line: &str) -> Operation {
        let mut words = line.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (bucket, key) =
            path[1..].split_once('/').map_or((&path[1..], None), |(bucket, key)| (bucket, Some(key)));
        let query: Vec<_> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let copies = words.next() == Some("copy");
        let bucket = Some(bucket).filter(|bucket| !bucket.is_empty());
        Operation::classify(method, bucket, key, &query, |name| copies && name == "x-oss-copy-source")
    }

    #[test]
    fn requests_are_named() {
        let cases = [
            ("GET /", ListBuckets),
            ("GET /?prefix=a&max-keys=1", ListBuckets),
            ("GET /?regions", DescribeRegions),
            ("PUT /", Unknown),
            ("GET /b/", ListObjects),
            ("GET /b", ListObjects),
            ("GET /b/?list-type=2&prefix=x", ListObjectsV2),
            ("GET /b/?list-type=1", ListObjects),
            ("GET /b/?uploads&prefix=a", ListMultipartUploads),
            ("GET /b/?versions", ListObjectVersions),
            ("GET /b/?bucketInfo", GetBucketInfo),
            ("GET /b/?location", GetBucketLocation),
            ("GET /b/?stat", GetBucketStat),
            ("GET /b/?acl", GetBucketAcl),
            ("PUT /b/?acl", PutBucketAcl),
            ("GET /b/?versioning", GetBucketVersioning),
            ("PUT /b/?versioning", PutBucketVersioning),
            ("PUT /b/", PutBucket),
            ("DELETE /b/", DeleteBucket),
            ("POST /b/?delete&encoding-type=url", DeleteMultipleObjects),
            ("POST /b/?x-oss-batchGet", BatchGet),
            ("GET /b/?lifecycle", Unknown),
            ("DELETE /b/?policy", Unknown),
            ("POST /b/", Unknown),
            ("GET /b/k", GetObject),
            ("GET /b/k?versionId=1&response-content-type=a", GetObject),
            ("GET /b/k?x-oss-process=image", GetObject),
            ("HEAD /b/k", HeadObject),
            ("HEAD /b/k?objectMeta", GetObjectMeta),
            ("GET /b/k?objectMeta", GetObjectMeta),
            ("PUT /b/k", PutObject),
            ("PUT /b/k copy", CopyObject),
            ("DELETE /b/k", DeleteObject),
            ("POST /b/k?append&position=0", AppendObject),
            ("POST /b/k?uploads", InitiateMultipartUpload),
            ("PUT /b/k?partNumber=1&uploadId=u", UploadPart),
            ("PUT /b/k?uploadId=u&partNumber=1 copy", UploadPartCopy),
            ("POST /b/k?uploadId=u", CompleteMultipartUpload),
            ("DELETE /b/k?uploadId=u", AbortMultipartUpload),
            ("GET /b/k?uploadId=u&max-parts=1", ListParts),
            ("PUT /b/k?uploadId=u", Unknown),
            ("PUT /b/k?symlink", PutSymlink),
            ("GET /b/k?symlink", GetSymlink),
            ("POST /b/k?restore", RestoreObject),
            ("GET /b/k?acl", GetObjectAcl),
            ("PUT /b/k?acl", PutObjectAcl),
            ("GET /b/k?tagging", GetObjectTagging),
            ("PUT /b/k?tagging", PutObjectTagging),
            ("DELETE /b/k?tagging", DeleteObjectTagging),
            ("POST /b/k", Unknown),
            ("PATCH /b/k", Unknown),
            ("POST /b/k?x-oss-async-process", Unknown),
        ];
        for (line, expected) in cases {
            assert_eq!(classify(line), expected, "{line}");
        }
        for operation in Operation::ALL {
            assert!(cases.iter().any(|(_, named)| named == operation), "{operation} has no case");
        }
    }

    #[test]
    fn names_read_back() {
        for operation in Operation::ALL {
            assert_eq!(Operation::from_name(operation.name()), Some(*operation));
        }
        assert_eq!(Operation::from_name("getobject"), None);
        assert_eq!(Operation::UploadPart.to_string(), "UploadPart");
    }
}
