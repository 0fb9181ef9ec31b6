//! Making text from a peer fit to be printed.

/// Returns up to `max_bytes` of `text` on one line.
///
/// Control characters, line breaks and blanks shrink to one blank each run, so that an answer
/// can neither forge a log line nor move the cursor of a terminal. A cut is marked with `...`,
/// which counts.
pub(crate) fn printable(text: &str, max_bytes: usize) -> String {
    let mut out = String::new();
    let words = text.split(|c: char| c.is_whitespace() || is_unprintable(c)).filter(|word| !word.is_empty());
    for word in words {
        let separator = if out.is_empty() { "" } else { " " };
        if out.len() + separator.len() + word.len() > max_bytes {
            return cut(out + separator + prefix(word, max_bytes), max_bytes);
        }
        out.push_str(separator);
        out.push_str(word);
    }
    out
}

fn cut(text: String, max_bytes: usize) -> String {
    let kept = prefix(&text, max_bytes.saturating_sub(CUT.len()));
    format!("{kept}{CUT}")
}

/// The longest start of `text` that is at most `max_bytes` long and ends between characters.
fn prefix(text: &str, max_bytes: usize) -> &str {
    let end = (0..=max_bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

const CUT: &str = "...";

/// Control characters, and the format characters that reorder or hide text.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn text_becomes_one_short_line() {
        assert_eq!(printable("  a\r\nX-Evil: b\u{1b}[31m \u{202e}c  ", 100), "a X-Evil: b [31m c");
        assert_eq!(printable("", 10), "");
        assert_eq!(printable("0123456789", 10), "0123456789");
        assert_eq!(printable("0123456789a", 10), "0123456...");
        assert_eq!(printable("äöüß", 7), "äö...");
    }
}
