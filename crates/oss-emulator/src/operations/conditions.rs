//! `If-Match` and its relatives, on reads and on the source of copies.

use oss_protocol::time::UtcTime;

use crate::refusal::Refusal;
use crate::store::object::Object;

/// Checks the four conditions; `value` gives the header of `If-Match` and so on by its short name.
///
/// A date that cannot be read is ignored, as OSS documents for If-Modified-Since.
///
/// # Errors
/// 412 PreconditionFailed, or 304.
pub(crate) fn check<'a>(object: &Object, value: impl Fn(&str) -> Option<&'a str>) -> Result<(), Refusal> {
    let date = |name| value(name).and_then(|text| UtcTime::parse_http_date(text).ok());
    if value("if-match").is_some_and(|wanted| !names(wanted, &object.etag)) {
        return Err(Refusal::precondition("If-Match"));
    }
    if date("if-unmodified-since").is_some_and(|since| object.modified().0 > since.0) {
        return Err(Refusal::precondition("If-Unmodified-Since"));
    }
    if value("if-none-match").is_some_and(|known| names(known, &object.etag)) {
        return Err(not_modified(object));
    }
    if date("if-modified-since").is_some_and(|since| object.modified().0 <= since.0) {
        return Err(not_modified(object));
    }
    Ok(())
}

fn not_modified(object: &Object) -> Refusal {
    let refusal = Refusal::new(304, "NotModified", "Not Modified");
    refusal.header("ETag", object.etag.clone()).header("Last-Modified", object.modified().to_http_date())
}

/// Says whether a list of ETags names one; quotes are optional, `*` names all.
fn names(list: &str, etag: &str) -> bool {
    let bare = |text: &str| text.trim().trim_matches('"').to_ascii_uppercase();
    list.split(',').any(|item| item.trim() == "*" || bare(item) == bare(etag))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn etags_compare_without_quotes_and_case() {
        assert!(names("\"ABC\"", "\"ABC\"") && names("abc", "\"ABC\"") && names("*", "\"ABC\""));
        assert!(names("\"x\", \"ABC\"", "\"ABC\"") && !names("\"x\"", "\"ABC\""));
    }
}
