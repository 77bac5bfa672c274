//! Small XML documents from servers, read within bounds into a tree.
//!
//! Names are taken without their namespace prefix. There are no external entities, no document
//! types, and no expansion: what a server can make us allocate is a multiple of what it sent.

use quick_xml::Reader;
use quick_xml::events::Event;

/// Deepest nesting: WebDAV needs six.
const DEPTH_MAX: usize = 32;

/// An element with its text and its children.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) children: Vec<Self>,
}

/// Why bytes are no document for us.
#[derive(Debug, thiserror::Error)]
#[error("the answer is no XML that is expected here: {0}")]
pub(crate) struct BadXml(String);

impl Element {
    /// The first child of a name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first child of a name; empty when there is none.
    pub(crate) fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", |child| child.text.as_str())
    }

    /// All children of a name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

/// Reads a document and gives its outermost element.
pub(crate) fn parse(bytes: &[u8]) -> Result<Element, BadXml> {
    let bad = |error: &dyn std::fmt::Display| BadXml(error.to_string());
    let mut reader = Reader::from_reader(bytes);
    reader.config_mut().trim_text(false);
    // The element at the bottom collects the outermost one.
    let mut open = vec![Element::default()];
    loop {
        match reader.read_event().map_err(|error| bad(&error))? {
            Event::Start(start) => {
                if open.len() > DEPTH_MAX {
                    return Err(bad(&"it is nested too deeply"));
                }
                let name = String::from_utf8_lossy(start.local_name().into_inner()).into_owned();
                open.push(Element {
                    name,
                    ..Element::default()
                });
            }
            Event::Empty(start) => {
                let name = String::from_utf8_lossy(start.local_name().into_inner()).into_owned();
                if let Some(parent) = open.last_mut() {
                    parent.children.push(Element {
                        name,
                        ..Element::default()
                    });
                }
            }
            Event::End(_) => {
                let (Some(element), Some(parent)) = (open.pop(), open.last_mut()) else {
                    return Err(bad(&"an element ends that did not begin"));
                };
                parent.children.push(element);
            }
            Event::Text(text) => {
                let text = text.decode().map_err(|error| bad(&error))?;
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&text);
                }
            }
            Event::CData(text) => {
                let text = text.decode().map_err(|error| bad(&error))?;
                if let Some(element) = open.last_mut() {
                    element.text.push_str(&text);
                }
            }
            Event::GeneralRef(reference) => {
                let text = match reference.resolve_char_ref().map_err(|error| bad(&error))? {
                    Some(character) => character,
                    None => match &*reference.decode().map_err(|error| bad(&error))? {
                        "amp" => '&',
                        "lt" => '<',
                        "gt" => '>',
                        "quot" => '"',
                        "apos" => '\'',
                        _ => return Err(bad(&"it has an entity of its own")),
                    },
                };
                if let Some(element) = open.last_mut() {
                    element.text.push(text);
                }
            }
            Event::DocType(_) => return Err(bad(&"it has a document type")),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => break,
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some(mut bottom), true) if bottom.children.len() == 1 => {
            bottom.children.pop().ok_or_else(|| bad(&"it is empty"))
        }
        _ => Err(bad(&"it is cut off")),
    }
}

/// Text as it may stand in an element.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read_whatever_its_prefixes() {
        let element = parse(b"<?xml version='1.0'?><D:a xmlns:D='DAV:'><D:b>x&amp;y&#228; z</D:b><b/><c><![CDATA[<]]></c></D:a>").unwrap();
        assert_eq!(element.name, "a");
        assert_eq!(element.text_of("b"), "x&y\u{e4} z");
        assert_eq!(element.all("b").count(), 2);
        assert_eq!(element.text_of("c"), "<");
    }

    #[test]
    fn what_is_cut_deep_or_clever_is_refused() {
        let deep = "<a>".repeat(100);
        for bytes in [
            "",
            "<a>",
            "<a></b>",
            "</a>",
            &deep,
            "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>",
            "<a>&x;</a>",
            "<a/><b/>",
        ] {
            assert!(parse(bytes.as_bytes()).is_err(), "{bytes}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::sample::select(b"<>/a&;#x1'\"!-[]? \xff".to_vec()), 0..60)) {
            let _ = parse(&bytes);
        }
    }
}
