//! quick-xml as a witness: whatever is taken apart here is taken apart there, and in the same way.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use quick_xml::events::Event;

use super::*;

/// A token that owns its text; `Reference` with `&` in front.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Start(String),
    End,
    Text(String),
    CData(String),
}

fn ours(text: &str) -> Result<Vec<Piece>, XmlError> {
    let mut tokens = Tokens::new(text);
    let mut pieces = Vec::new();
    loop {
        pieces.push(match tokens.next()? {
            Token::Start(name) => Piece::Start(name.to_owned()),
            Token::End => Piece::End,
            Token::Text(text) => Piece::Text(text.to_owned()),
            Token::CData(text) => Piece::CData(text.to_owned()),
            Token::Reference(name) => Piece::Text(format!("&{name}")),
            Token::Eof => return Ok(pieces),
        });
    }
}

/// Returns None for what is refused, be it by the witness or by the rules of an OSS document.
fn witness(text: &str) -> Option<Vec<Piece>> {
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().expand_empty_elements = true;
    let (mut pieces, mut depth, mut is_first) = (Vec::new(), 0, true);
    loop {
        let event = reader.read_event().ok()?;
        match event {
            Event::Start(start) => {
                depth += 1;
                pieces.push(Piece::Start(start.name().into_inner().to_owned()));
            }
            Event::End(_) => {
                depth -= 1;
                pieces.push(Piece::End);
            }
            Event::Text(text) => pieces.push(Piece::Text(text.into_inner().into_owned())),
            Event::CData(text) => pieces.push(Piece::CData(text.into_inner().into_owned())),
            Event::GeneralRef(name) => pieces.push(Piece::Text(format!("&{}", &*name))),
            Event::Comment(_) => {}
            Event::Decl(_) if is_first => {}
            Event::Eof => return (depth == 0).then_some(pieces),
            _ => return None,
        }
        is_first = false;
    }
}

/// Documents that are well-formed as often as not.
fn document() -> impl Strategy<Value = String> {
    let sound = select(vec![
        "<a>",
        "</a>",
        "</a\t>",
        "<a/>",
        "<a />",
        "<n:b x='>' y=\"'/\">",
        "</n:b>",
        "text",
        " \r\n",
        "é😀",
        "]]>",
        "&amp;",
        "&#x26;",
        "<!-- - <c> -->",
        "<![CDATA[<&]]>",
        "<?xml version=\"1.0\"?>",
    ]);
    let torn = select(vec![
        "<",
        ">",
        "&",
        ";",
        "/",
        "'",
        "=",
        "!",
        "?",
        "<!",
        "<!--",
        "-->",
        "<![CDATA[",
        "<?",
        "?>",
    ]);
    let refused = select(vec!["<!DOCTYPE a>", "<!doctype", "<?php ?>", "<!x>", "</b>", "<x y='"]);
    vec(prop_oneof![12 => sound, 1 => torn, 1 => refused], 0..12).prop_map(|pieces| pieces.concat())
}

/// A tree as a document, so that most of it is taken.
fn tree() -> impl Strategy<Value = String> {
    let leaf =
        select(vec!["", "text", "&lt;", "<!-- c -->", "<![CDATA[ x ]]>", "<e/>", "<e a='/'/>", "&#10;é"]);
    leaf.prop_map(str::to_owned).prop_recursive(6, 40, 5, |inner| {
        (select(vec!["a", "n:b", "Contents"]), vec(inner, 0..5))
            .prop_map(|(name, children)| format!("<{name} z='1'>{}</{name} >", children.concat()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_taken_is_what_the_witness_finds(text in document()) {
        if let Ok(pieces) = ours(&text) {
            prop_assert_eq!(Some(pieces), witness(&text));
        }
    }

    #[test]
    fn well_formed_documents_are_taken(text in tree()) {
        prop_assert_eq!(ours(&text).ok(), witness(&text));
    }

    /// Whatever is cut off is told from what is damaged: it may be asked for again.
    #[test]
    fn a_cut_document_is_known_as_one(text in tree(), at in any::<prop::sample::Index>()) {
        let text = format!("<root>{text}</root>");
        let cut: String = text.chars().take(at.index(text.chars().count())).collect();
        let found = ours(&cut);
        prop_assert!(cut.is_empty() || found == Err(XmlError::Cut), "{cut}: {found:?}");
    }
}
