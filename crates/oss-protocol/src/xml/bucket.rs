//! Documents about buckets.

use super::document::{Document, required};
use super::error::XmlError;
use super::listing::Owner;
use super::reader::Reader;
use super::writer::Writer;

/// `LocationConstraint`: the region of a bucket, with `oss-` in front (`oss-cn-hangzhou`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocationConstraint(pub String);

/// `BucketInfo`: what OSS tells about one bucket. Texts may be empty, the name never when read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketInfo {
    /// Bucket.
    pub name: String,
    /// Region, with `oss-` in front.
    pub location: String,
    /// `2013-07-31T10:56:21.000Z`.
    pub creation_date: String,
    /// Public host.
    pub extranet_endpoint: String,
    /// Host inside Alibaba Cloud.
    pub intranet_endpoint: String,
    /// Storage class new objects get.
    pub storage_class: String,
    /// `LRS` or `ZRS`.
    pub data_redundancy_type: String,
    /// `Enabled` or `Suspended`; empty if versioning was never on.
    pub versioning: String,
    /// Owner of the bucket.
    pub owner: Owner,
    /// `private`, `public-read` or `public-read-write`.
    pub grant: String,
}

/// `ListAllMyBucketsResult`: one page of the buckets of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListAllMyBucketsResult {
    /// Prefix that was asked for.
    pub prefix: Option<String>,
    /// Name this page begins after.
    pub marker: Option<String>,
    /// Most buckets a page may have.
    pub max_keys: Option<u32>,
    /// More pages follow; OSS leaves it out when all fit.
    pub is_truncated: Option<bool>,
    /// Marker of the next page.
    pub next_marker: Option<String>,
    /// Owner of the buckets.
    pub owner: Owner,
    /// Buckets, in the order sent.
    pub buckets: Vec<BucketSummary>,
}

/// One bucket of a [`ListAllMyBucketsResult`]. Texts may be empty, the name never when read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketSummary {
    /// Bucket.
    pub name: String,
    /// Region, with `oss-` in front.
    pub location: String,
    /// Region as signatures want it, without `oss-`.
    pub region: String,
    /// `2014-02-17T18:12:43.000Z`.
    pub creation_date: String,
    /// Public host.
    pub extranet_endpoint: String,
    /// Host inside Alibaba Cloud.
    pub intranet_endpoint: String,
    /// Storage class new objects get.
    pub storage_class: String,
}

/// `AccessControlPolicy`: the answer to GetBucketAcl and GetObjectAcl.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessControlPolicy {
    /// Owner of the bucket.
    pub owner: Owner,
    /// `private`, `public-read`, `public-read-write` or `default`.
    pub grant: String,
}

impl Document for LocationConstraint {
    const ROOT: &'static str = "LocationConstraint";

    fn write(&self, writer: &mut Writer) {
        writer.raw(&self.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        Ok(Self(required(reader.text()?.trim().to_owned(), Self::ROOT)?))
    }
}

impl Document for BucketInfo {
    const ROOT: &'static str = "BucketInfo";

    fn write(&self, writer: &mut Writer) {
        writer.group("Bucket", |writer| {
            writer.text("CreationDate", &self.creation_date);
            writer.text("ExtranetEndpoint", &self.extranet_endpoint);
            writer.text("IntranetEndpoint", &self.intranet_endpoint);
            writer.text("Location", &self.location);
            writer.text("StorageClass", &self.storage_class);
            writer.text("DataRedundancyType", &self.data_redundancy_type);
            writer.text("Name", &self.name);
            if !self.versioning.is_empty() {
                writer.text("Versioning", &self.versioning);
            }
            self.owner.write(writer);
            write_grant(writer, &self.grant);
        });
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut info = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "Bucket" => info.read_bucket(reader)?,
                _ => reader.skip()?,
            }
        }
        info.name = required(info.name, "Name")?;
        Ok(info)
    }
}

impl BucketInfo {
    fn read_bucket(&mut self, reader: &mut Reader<'_>) -> Result<(), XmlError> {
        while let Some(child) = reader.child()? {
            match child.name() {
                "Name" => self.name = reader.text()?,
                "Location" => self.location = reader.text()?,
                "CreationDate" => self.creation_date = reader.text()?,
                "ExtranetEndpoint" => self.extranet_endpoint = reader.text()?,
                "IntranetEndpoint" => self.intranet_endpoint = reader.text()?,
                "StorageClass" => self.storage_class = reader.text()?,
                "DataRedundancyType" => self.data_redundancy_type = reader.text()?,
                "Versioning" => self.versioning = reader.text()?,
                "Owner" => self.owner = Owner::read(reader)?,
                "AccessControlList" => self.grant = read_grant(reader)?,
                _ => reader.skip()?,
            }
        }
        Ok(())
    }
}

impl Document for ListAllMyBucketsResult {
    const ROOT: &'static str = "ListAllMyBucketsResult";

    fn write(&self, writer: &mut Writer) {
        writer.optional("Prefix", self.prefix.as_deref());
        writer.optional("Marker", self.marker.as_deref());
        writer.optional_number("MaxKeys", self.max_keys.map(u64::from));
        if let Some(is_truncated) = self.is_truncated {
            writer.flag("IsTruncated", is_truncated);
        }
        writer.optional("NextMarker", self.next_marker.as_deref());
        self.owner.write(writer);
        writer.group("Buckets", |writer| {
            for bucket in &self.buckets {
                writer.group("Bucket", |writer| bucket.write(writer));
            }
        });
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut page = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "Prefix" => page.prefix = Some(reader.text()?),
                "Marker" => page.marker = Some(reader.text()?),
                "MaxKeys" => page.max_keys = Some(reader.small_number("MaxKeys")?),
                "IsTruncated" => page.is_truncated = Some(reader.flag("IsTruncated")?),
                "NextMarker" => page.next_marker = Some(reader.text()?),
                "Owner" => page.owner = Owner::read(reader)?,
                "Buckets" => page.read_buckets(reader)?,
                _ => reader.skip()?,
            }
        }
        Ok(page)
    }
}

impl ListAllMyBucketsResult {
    fn read_buckets(&mut self, reader: &mut Reader<'_>) -> Result<(), XmlError> {
        while let Some(child) = reader.child()? {
            match child.name() {
                "Bucket" => self.buckets.push(BucketSummary::read(reader)?),
                _ => reader.skip()?,
            }
        }
        Ok(())
    }
}

impl BucketSummary {
    fn write(&self, writer: &mut Writer) {
        writer.text("CreationDate", &self.creation_date);
        writer.text("ExtranetEndpoint", &self.extranet_endpoint);
        writer.text("IntranetEndpoint", &self.intranet_endpoint);
        writer.text("Location", &self.location);
        writer.text("Name", &self.name);
        writer.text("Region", &self.region);
        writer.text("StorageClass", &self.storage_class);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        reader.entry()?;
        let mut bucket = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "Name" => bucket.name = reader.text()?,
                "Location" => bucket.location = reader.text()?,
                "Region" => bucket.region = reader.text()?,
                "CreationDate" => bucket.creation_date = reader.text()?,
                "ExtranetEndpoint" => bucket.extranet_endpoint = reader.text()?,
                "IntranetEndpoint" => bucket.intranet_endpoint = reader.text()?,
                "StorageClass" => bucket.storage_class = reader.text()?,
                _ => reader.skip()?,
            }
        }
        bucket.name = required(bucket.name, "Name")?;
        Ok(bucket)
    }
}

impl Document for AccessControlPolicy {
    const ROOT: &'static str = "AccessControlPolicy";

    fn write(&self, writer: &mut Writer) {
        self.owner.write(writer);
        write_grant(writer, &self.grant);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut policy = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "Owner" => policy.owner = Owner::read(reader)?,
                "AccessControlList" => policy.grant = read_grant(reader)?,
                _ => reader.skip()?,
            }
        }
        Ok(policy)
    }
}

fn write_grant(writer: &mut Writer, grant: &str) {
    writer.group("AccessControlList", |writer| writer.text("Grant", grant));
}

fn read_grant(reader: &mut Reader<'_>) -> Result<String, XmlError> {
    let mut grant = String::new();
    while let Some(child) = reader.child()? {
        match child.name() {
            "Grant" => grant = reader.text()?,
            _ => reader.skip()?,
        }
    }
    Ok(grant)
}
