//! Documents: samples of the documentation, round trips over arbitrary keys, and documents that
//! somebody damaged.

use std::fmt::Debug;

use oss_protocol::xml::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn decode<D: Document>(text: &str) -> Result<D, XmlError> {
    D::decode(text.as_bytes(), D::MAX_BYTES)
}

#[test]
fn a_page_of_version_two_is_read() {
    let page: ListBucketResult = decode(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://doc.oss-cn-hangzhou.aliyuncs.com">
  <Name>examplebucket</Name>
  <Prefix>a%2F</Prefix>
  <StartAfter>b%20c</StartAfter>
  <MaxKeys>3</MaxKeys>
  <Delimiter>%2F</Delimiter>
  <EncodingType>url</EncodingType>
  <IsTruncated>true</IsTruncated>
  <NextContinuationToken>CgJiYw--</NextContinuationToken>
  <Contents>
    <Key>a%2F1%2B2+3%E4%B8%AD</Key>
    <LastModified>2020-05-18T05:45:43.000Z</LastModified>
    <ETag>"35A27C2B9EAEEB6F48FD7FB5861D****"</ETag>
    <Type>Normal</Type>
    <Size>25</Size>
    <StorageClass>STANDARD</StorageClass>
    <Owner><ID>1686240967192623</ID><DisplayName>1686240967192623</DisplayName></Owner>
    <TransitionTime>x<y/></TransitionTime>
  </Contents>
  <CommonPrefixes><Prefix>a%2Fb%2F</Prefix></CommonPrefixes>
  <KeyCount>2</KeyCount>
</ListBucketResult>
"#,
    )
    .unwrap();
    assert_eq!((page.prefix.as_str(), page.delimiter.as_str()), ("a/", "/"));
    assert_eq!(page.start_after.as_deref(), Some("b c"));
    assert_eq!(page.next_continuation_token.as_deref(), Some("CgJiYw--"));
    assert_eq!((page.is_truncated, page.key_count, page.max_keys), (true, Some(2), Some(3)));
    assert_eq!(page.common_prefixes, ["a/b/"]);
    let [object] = page.contents.as_slice() else { panic!("one object: {:?}", page.contents) };
    assert_eq!(object.key, "a/1+2+3中", "a plus sign stays one");
    assert_eq!((object.size, &*object.object_type), (25, "Normal"));
    assert_eq!(object.owner.as_ref().unwrap().id, "1686240967192623");
}

#[test]
fn keys_stay_as_they_are_without_encoding() {
    let page: ListBucketResult = decode(
        "<ListBucketResult><Prefix/><IsTruncated>false</IsTruncated><EncodingType></EncodingType>\
         <Contents><Key>100%25 &amp;&#x1;&#10;</Key><Size> 7 </Size></Contents></ListBucketResult>",
    )
    .unwrap();
    assert_eq!(page.contents[0].key, "100%25 &\u{1}\n");
    assert_eq!((page.contents[0].size, page.marker), (7, None));
}

#[test]
fn what_a_page_must_have_is_demanded() {
    let page =
        |inner: &str| decode::<ListBucketResult>(&format!("<ListBucketResult>{inner}</ListBucketResult>"));
    let object = |inner: &str| page(&format!("<IsTruncated>false</IsTruncated><Contents>{inner}</Contents>"));
    assert_eq!(page(""), Err(XmlError::Missing("IsTruncated")), "an empty document is not an empty listing");
    assert_eq!(page("<IsTruncated>maybe</IsTruncated>"), Err(XmlError::BadValue("IsTruncated")));
    assert_eq!(object("<Size>1</Size>"), Err(XmlError::Missing("Key")));
    assert_eq!(object("<Key/><Size>1</Size>"), Err(XmlError::Missing("Key")));
    assert_eq!(object("<Key>k</Key>"), Err(XmlError::Missing("Size")));
    for size in ["", "-1", "+1", "1.0", "0x1", "18446744073709551616", "1 1"] {
        assert_eq!(
            object(&format!("<Key>k</Key><Size>{size}</Size>")),
            Err(XmlError::BadValue("Size")),
            "{size}"
        );
    }
    let coded = "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>";
    for key in ["%", "%zz", "%4", "%FF", "%C3%28"] {
        let text = format!("{coded}<Contents><Key>{key}</Key><Size>1</Size></Contents>");
        assert_eq!(page(&text), Err(XmlError::BadValue("Key")), "{key}");
    }
    assert_eq!(page("<EncodingType>rot13</EncodingType>"), Err(XmlError::BadValue("EncodingType")));
    assert!(matches!(object("<Key>a<b/></Key><Size>1</Size>"), Err(XmlError::Malformed(_))));
    assert!(matches!(page("no such page"), Err(XmlError::Malformed(_))));
}

#[test]
fn another_document_is_told_from_an_error_and_from_a_cut() {
    let error = "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>no</Message><EC>0003-00000001</EC>\
        <Endpoint>oss-cn-beijing.aliyuncs.com</Endpoint><Other><a/></Other></Error>";
    let Err(XmlError::ErrorRoot(found)) = decode::<CompleteMultipartUploadResult>(error) else {
        panic!("an error document is an ErrorRoot");
    };
    assert_eq!((found.code.as_str(), found.ec.as_str()), ("AccessDenied", "0003-00000001"));
    assert_eq!(found.extra("Endpoint"), Some("oss-cn-beijing.aliyuncs.com"));
    assert_eq!(decode::<ErrorDocument>(error).unwrap(), *found);
    assert_eq!(
        decode::<ListBucketResult>("<html><body>Bad Gateway</body></html>"),
        Err(XmlError::WrongRoot { expected: "ListBucketResult", found: "html".to_owned() })
    );
    assert_eq!(decode::<ListBucketResult>("<Error><Code>x</Code>"), Err(XmlError::Cut));
    assert_eq!(
        decode::<ListBucketResult>("<Error><Message>x</Message></Error>"),
        Err(XmlError::Missing("Code"))
    );
    assert_eq!(decode::<ListBucketResult>(""), Err(XmlError::Cut));
    assert!(matches!(decode::<ListBucketResult>("Bad Gateway"), Err(XmlError::Malformed(_))));
}

#[test]
fn an_empty_answer_to_a_quiet_delete_is_an_empty_result() {
    assert_eq!(DeleteResult::decode_body(b"", 100), Ok(DeleteResult::default()));
    assert_eq!(DeleteResult::decode(b"", 100), Err(XmlError::Cut));
    let body = b"<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code></Error></DeleteResult>";
    assert_eq!(DeleteResult::decode_body(body, 1000).unwrap().failures[0].code, "AccessDenied");
}

#[test]
fn requests_of_the_official_sdk_are_read() {
    let delete: Delete = decode(
        "<Delete><Quiet>true</Quiet><Object><Key>a&amp;&lt;&gt;&quot;&#10;&#1;</Key></Object>\
         <Object><Key>b</Key><VersionId>v</VersionId></Object></Delete>",
    )
    .unwrap();
    assert!(delete.quiet);
    assert_eq!(delete.objects[0].key, "a&<>\"\n\u{1}");
    assert_eq!(delete.objects[1].version_id.as_deref(), Some("v"));
    let upload: CompleteMultipartUpload = decode(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"A\"</ETag></Part>\
         <Part><ETag>B</ETag><PartNumber>10000</PartNumber></Part></CompleteMultipartUpload>",
    )
    .unwrap();
    assert_eq!((upload.parts[0].etag.as_str(), upload.parts[1].part_number), ("\"A\"", 10_000));
    let restore: RestoreRequest = decode(
        "<RestoreRequest><Days>2</Days><JobParameters><Tier>Bulk</Tier></JobParameters></RestoreRequest>",
    )
    .unwrap();
    assert_eq!(restore, RestoreRequest { days: Some(2), tier: Some("Bulk".to_owned()) });
    let location: LocationConstraint =
        decode("<LocationConstraint> oss-cn-hangzhou\n</LocationConstraint>").unwrap();
    assert_eq!(location.0, "oss-cn-hangzhou");
}

#[test]
fn markers_of_parts_may_be_empty() {
    let page: ListPartsResult = decode(
        "<ListPartsResult><PartNumberMarker></PartNumberMarker><NextPartNumberMarker>5</NextPartNumberMarker>\
         <IsTruncated>false</IsTruncated></ListPartsResult>",
    )
    .unwrap();
    assert_eq!((page.part_number_marker, page.next_part_number_marker), (None, Some(5)));
    for bad in ["-1", "4294967296", "x", "+1"] {
        let text =
            format!("<ListPartsResult><NextPartNumberMarker>{bad}</NextPartNumberMarker></ListPartsResult>");
        assert_eq!(
            decode::<ListPartsResult>(&text),
            Err(XmlError::BadValue("NextPartNumberMarker")),
            "{bad}"
        );
    }
}

#[test]
fn the_largest_honest_documents_fit_their_caps() {
    let part = CompletedPart { part_number: 10_000, etag: format!("\"{}\"", "A".repeat(32)) };
    let upload = CompleteMultipartUpload { parts: vec![part; 10_000] };
    let bytes = upload.encode();
    assert_eq!(CompleteMultipartUpload::decode(&bytes, CompleteMultipartUpload::MAX_BYTES), Ok(upload));
    let target = DeleteTarget { key: "\u{1}".repeat(1023), version_id: None };
    let delete = Delete { quiet: true, objects: vec![target; 1000] };
    assert_eq!(Delete::decode(&delete.encode(), Delete::MAX_BYTES), Ok(delete));
    let object =
        ListedObject { key: "&".repeat(1023), owner: Some(Owner::default()), ..ListedObject::default() };
    for encoding_url in [false, true] {
        let page = ListBucketResult {
            encoding_url,
            contents: vec![object.clone(); 1000],
            ..ListBucketResult::default()
        };
        assert_eq!(ListBucketResult::decode(&page.encode(), ListBucketResult::MAX_BYTES), Ok(page));
    }
}

fn round_trip<D: Document + PartialEq + Debug>(document: D) -> Result<(), TestCaseError> {
    let bytes = document.encode();
    match D::decode(&bytes, D::MAX_BYTES) {
        Ok(read) => prop_assert_eq!(read, document),
        Err(error) => prop_assert!(false, "{}: {}", error, bytes.escape_ascii()),
    }
    Ok(())
}

/// Any text, with what XML and url-encoding find hard more often than chance would have it.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        any::<char>(),
        prop::sample::select(vec![
            '\0', '\u{1}', '\t', '\n', '\r', '\u{7f}', '\u{85}', '\u{fffe}', '\u{feff}', ' '
        ]),
        prop::sample::select("&<>\"'%+/;#]!-?".chars().collect::<Vec<_>>()),
        prop::char::range('a', 'z'),
    ];
    vec(character, 0..12).prop_map(|characters| characters.into_iter().collect())
}

fn key() -> impl Strategy<Value = String> {
    text().prop_map(|text| if text.is_empty() { "k".to_owned() } else { text })
}

fn owner() -> impl Strategy<Value = Owner> {
    (text(), text()).prop_map(|(id, display_name)| Owner { id, display_name })
}

fn object() -> impl Strategy<Value = ListedObject> {
    (key(), [text(), text(), text(), text()], any::<u64>(), option::of(owner()), option::of(text())).prop_map(
        |(key, [last_modified, etag, object_type, storage_class], size, owner, restore_info)| ListedObject {
            key,
            last_modified,
            etag,
            object_type: object_type.into(),
            size,
            storage_class: storage_class.into(),
            owner,
            restore_info,
        },
    )
}

prop_compose! {
    fn page()(
        texts in [text(), text(), text()],
        flags in any::<[bool; 2]>(),
        markers in prop::array::uniform5(option::of(text())),
        max_keys in option::of(any::<u32>()),
        key_count in option::of(any::<u64>()),
        contents in vec(object(), 0..4),
        common_prefixes in vec(text(), 0..3),
    ) -> ListBucketResult {
        let [name, prefix, delimiter] = texts;
        let [encoding_url, is_truncated] = flags;
        let [marker, next_marker, start_after, continuation_token, next_continuation_token] = markers;
        ListBucketResult {
            name, prefix, delimiter, encoding_url, is_truncated, marker, next_marker, start_after,
            continuation_token, next_continuation_token, max_keys, key_count, contents, common_prefixes,
        }
    }
}

prop_compose! {
    fn parts_page()(
        texts in [text(), text(), text()],
        flags in any::<[bool; 2]>(),
        markers in prop::array::uniform3(option::of(any::<u32>())),
        storage_class in option::of(text()),
        parts in vec((any::<u32>(), text(), key(), option::of(any::<u64>()), any::<u64>()), 0..4),
    ) -> ListPartsResult {
        let [bucket, key, upload_id] = texts;
        let [encoding_url, is_truncated] = flags;
        let [part_number_marker, next_part_number_marker, max_parts] = markers;
        let part = |(part_number, last_modified, etag, hash_crc64, size)| ListedPart {
            part_number, last_modified, etag, hash_crc64, size,
        };
        ListPartsResult {
            bucket, key, upload_id, encoding_url, is_truncated, part_number_marker, next_part_number_marker,
            max_parts, storage_class, parts: parts.into_iter().map(part).collect(),
        }
    }
}

prop_compose! {
    fn uploads_page()(
        texts in prop::array::uniform7(text()),
        flags in any::<[bool; 2]>(),
        max_uploads in option::of(any::<u32>()),
        uploads in vec((key(), key(), text(), text()), 0..4),
        common_prefixes in vec(text(), 0..3),
    ) -> ListMultipartUploadsResult {
        let [bucket, prefix, delimiter, key_marker, upload_id_marker, next_key_marker, next_upload_id_marker] = texts;
        let [encoding_url, is_truncated] = flags;
        let upload = |(key, upload_id, initiated, storage_class)| ListedUpload { key, upload_id, initiated, storage_class };
        ListMultipartUploadsResult {
            bucket, prefix, delimiter, encoding_url, key_marker, upload_id_marker, next_key_marker,
            next_upload_id_marker, max_uploads, is_truncated, common_prefixes,
            uploads: uploads.into_iter().map(upload).collect(),
        }
    }
}

prop_compose! {
    fn buckets()(
        markers in prop::array::uniform3(option::of(text())),
        max_keys in option::of(any::<u32>()),
        is_truncated in option::of(any::<bool>()),
        owner in owner(),
        buckets in vec((key(), prop::array::uniform6(text())), 0..4),
    ) -> ListAllMyBucketsResult {
        let [prefix, marker, next_marker] = markers;
        let bucket = |(name, texts)| {
            let [location, region, creation_date, extranet_endpoint, intranet_endpoint, storage_class] = texts;
            BucketSummary { name, location, region, creation_date, extranet_endpoint, intranet_endpoint, storage_class }
        };
        let buckets = buckets.into_iter().map(bucket).collect();
        ListAllMyBucketsResult { prefix, marker, max_keys, is_truncated, next_marker, owner, buckets }
    }
}

prop_compose! {
    fn bucket_info()(name in key(), texts in prop::array::uniform8(text()), owner in owner()) -> BucketInfo {
        let [location, creation_date, extranet_endpoint, intranet_endpoint, storage_class, data_redundancy_type,
            versioning, grant] = texts;
        BucketInfo {
            name, location, creation_date, extranet_endpoint, intranet_endpoint, storage_class,
            data_redundancy_type, versioning, owner, grant,
        }
    }
}

prop_compose! {
    fn error_document()(
        code in key(),
        texts in prop::array::uniform5(text()),
        extras in vec((prop::sample::select(ERROR_EXTRAS), text()), 0..4),
    ) -> ErrorDocument {
        let [message, request_id, host_id, ec, recommend_doc] = texts;
        ErrorDocument { code, message, request_id, host_id, ec, recommend_doc, extras }
    }
}

/// Takes a valid document and cuts, repeats, overwrites or fills in pieces of it.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..4),
        prop::sample::select(vec![
            "<",
            ">",
            "/>",
            "</",
            "&",
            ";",
            "&#",
            "<!--",
            "-->",
            "<![CDATA[",
            "]]>",
            "<?",
            "?>",
            "<!DOCTYPE ",
            "\"",
            "<Contents>",
            "</Contents>",
            "<Key>",
            "&#0;",
            "\u{feff}",
            "%",
            "<Error><Code>x</Code></Error>",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    let edit = (any::<prop::sample::Index>(), 0usize..40, piece);
    (page(), vec(edit, 0..5)).prop_map(|(page, edits)| {
        let mut bytes = page.encode();
        for (at, length, piece) in edits {
            let at = at.index(bytes.len() + 1);
            let end = bytes.len().min(at + length);
            bytes.splice(at..end, piece);
        }
        bytes
    })
}

/// Decodes as every kind of document; none of them may panic.
fn decode_as_everything(bytes: &[u8]) {
    fn one<D: Document>(bytes: &[u8]) {
        let _ = D::decode(bytes, D::MAX_BYTES).map_err(|error| error.to_string());
    }
    one::<ListBucketResult>(bytes);
    one::<ListPartsResult>(bytes);
    one::<ListMultipartUploadsResult>(bytes);
    one::<InitiateMultipartUploadResult>(bytes);
    one::<CompleteMultipartUpload>(bytes);
    one::<CompleteMultipartUploadResult>(bytes);
    one::<Delete>(bytes);
    one::<DeleteResult>(bytes);
    one::<CopyObjectResult>(bytes);
    one::<CopyPartResult>(bytes);
    one::<LocationConstraint>(bytes);
    one::<BucketInfo>(bytes);
    one::<ListAllMyBucketsResult>(bytes);
    one::<AccessControlPolicy>(bytes);
    one::<RestoreRequest>(bytes);
    one::<ErrorDocument>(bytes);
}

proptest! {
    #[test]
    fn listings_round_trip(page in page()) {
        round_trip(page)?;
    }

    #[test]
    fn pages_of_parts_round_trip(page in parts_page()) {
        round_trip(page)?;
    }

    #[test]
    fn pages_of_uploads_round_trip(page in uploads_page()) {
        round_trip(page)?;
    }

    #[test]
    fn uploads_round_trip(
        texts in [text(), text(), text()],
        id in key(),
        encoding_url in any::<bool>(),
        parts in vec((any::<u32>(), text()), 0..5),
    ) {
        let [bucket, key, location] = texts;
        let part = |(part_number, etag)| CompletedPart { part_number, etag };
        round_trip(InitiateMultipartUploadResult {
            bucket: bucket.clone(), key: key.clone(), upload_id: id.clone(), encoding_url,
        })?;
        round_trip(CompleteMultipartUpload { parts: parts.into_iter().map(part).collect() })?;
        round_trip(CompleteMultipartUploadResult { location, bucket, key, etag: id, encoding_url })?;
    }

    #[test]
    fn deletions_round_trip(
        quiet in any::<bool>(),
        keys in vec((key(), option::of(text())), 0..5),
        failures in vec((text(), text(), text()), 0..3),
    ) {
        let target = |(key, version_id)| DeleteTarget { key, version_id };
        let deleted = |(key, version_id)| DeletedObject { key, version_id };
        let failure = |(key, code, message)| DeleteFailure { key, code, message };
        round_trip(Delete { quiet, objects: keys.iter().cloned().map(target).collect() })?;
        round_trip(DeleteResult {
            encoding_url: quiet,
            deleted: keys.into_iter().map(deleted).collect(),
            failures: failures.into_iter().map(failure).collect(),
        })?;
    }

    #[test]
    fn buckets_round_trip(page in buckets(), info in bucket_info(), owner in owner(), region in "[a-z0-9-]{1,20}") {
        round_trip(page)?;
        round_trip(AccessControlPolicy { owner, grant: info.grant.clone() })?;
        round_trip(info)?;
        round_trip(LocationConstraint(region))?;
    }

    #[test]
    fn small_documents_round_trip(
        error in error_document(),
        etag in key(),
        last_modified in text(),
        days in option::of(any::<u32>()),
        tier in option::of(text()),
    ) {
        round_trip(error)?;
        round_trip(CopyObjectResult { etag: etag.clone(), last_modified: last_modified.clone() })?;
        round_trip(CopyPartResult { etag, last_modified })?;
        round_trip(RestoreRequest { days, tier })?;
    }

    #[test]
    fn a_cut_page_is_never_a_page(page in page(), at in any::<prop::sample::Index>()) {
        let bytes = page.encode();
        let cut = &bytes[..at.index(bytes.len())];
        prop_assert_eq!(ListBucketResult::decode(cut, ListBucketResult::MAX_BYTES), Err(XmlError::Cut));
    }

    #[test]
    fn damaged_documents_never_panic(bytes in damaged()) {
        decode_as_everything(&bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        decode_as_everything(&bytes);
    }

    /// What is taken can be written and read again: nothing is lost, nothing is made up.
    #[test]
    fn whatever_is_taken_is_stable(bytes in damaged()) {
        if let Ok(page) = ListBucketResult::decode(&bytes, ListBucketResult::MAX_BYTES) {
            round_trip(page)?;
        }
    }
}
