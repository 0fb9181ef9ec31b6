//! Asking for an archived object back.

use super::document::Document;
use super::error::XmlError;
use super::reader::Reader;
use super::writer::Writer;

/// `RestoreRequest`: the optional body of RestoreObject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreRequest {
    /// Days the restored copy stays readable.
    pub days: Option<u32>,
    /// `Expedited`, `Standard` or `Bulk`; only for cold archives.
    pub tier: Option<String>,
}

impl Document for RestoreRequest {
    const ROOT: &'static str = "RestoreRequest";

    fn write(&self, writer: &mut Writer) {
        writer.optional_number("Days", self.days.map(u64::from));
        if let Some(tier) = &self.tier {
            writer.group("JobParameters", |writer| writer.text("Tier", tier));
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, XmlError> {
        let mut request = Self::default();
        while let Some(child) = reader.child()? {
            match child.name() {
                "Days" => request.days = Some(reader.small_number("Days")?),
                "JobParameters" => request.tier = read_tier(reader)?,
                _ => reader.skip()?,
            }
        }
        Ok(request)
    }
}

fn read_tier(reader: &mut Reader<'_>) -> Result<Option<String>, XmlError> {
    let mut tier = None;
    while let Some(child) = reader.child()? {
        match child.name() {
            "Tier" => tier = Some(reader.text()?),
            _ => reader.skip()?,
        }
    }
    Ok(tier)
}
