//! A parser for XML as SOAP 1.1 allows it (section 3): elements and text, without a document type
//! and processing instructions, and with limits that are checked before anything is built.
//!
//! A parsed document contains no unresolved references, so it cannot grow.

use quick_xml::XmlVersion;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;

/// The largest depth of nested elements.
pub(super) const DEPTH_MAX: usize = 16;
/// The largest number of elements in one document.
pub(super) const ELEMENTS_MAX: usize = 1_024;
/// The largest number of attributes of one element, namespace declarations included.
pub(super) const ATTRIBUTES_MAX: usize = 64;

/// The namespace of SOAP 1.1's envelope, section 3.
pub(super) const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
/// The namespace of SOAP 1.2's envelope, recognised so that the fault can name the version.
const SOAP_1_2: &str = "http://www.w3.org/2003/05/soap-envelope";
/// The namespace of the vendor's commands.
pub(super) const SIGNATURE: &str = "http://www.vasco.com/IdentikeyServer/IdentikeyTypes/Signature";
/// The namespace of the vendor's commands for logins.
pub(super) const AUTHENTICATION: &str =
    "http://www.vasco.com/IdentikeyServer/IdentikeyTypes/Authentication";
const INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// SOAP 1.1, section 4.2.2: the first receiver of the header.
const ACTOR_NEXT: &str = "http://schemas.xmlsoap.org/soap/actor/next";

/// An element with its content.
#[derive(Debug)]
pub(super) struct Element {
    pub(super) space: Space,
    /// The local name, without a prefix.
    pub(super) name: String,
    /// All of its text, with references resolved.
    text: String,
    pub(super) children: Vec<Element>,
    /// Whether it is marked as having no value (`xsi:nil`).
    pub(super) is_nil: bool,
    must_understand: bool,
    is_for_others: bool,
}

/// The namespaces that this dialect knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Space {
    /// No namespace.
    Unqualified,
    /// SOAP 1.1.
    Soap,
    /// SOAP 1.2.
    Soap12,
    /// The vendor's namespace of signatures.
    Signature,
    /// The vendor's namespace of logins.
    Authentication,
    /// Any other namespace.
    Other,
}

/// The reason why bytes are not accepted as XML; a sentence for the caller.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadXml {
    /// The encoding is not UTF-8.
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// An element, an attribute or a character is wrong.
    #[error("the body is not well-formed XML")]
    NotWellFormed,
    /// There is a `DOCTYPE` (SOAP 1.1, section 3).
    #[error("a document type is not allowed in SOAP")]
    DocumentType,
    /// There is a processing instruction (SOAP 1.1, section 3).
    #[error("a processing instruction is not allowed in SOAP")]
    Instruction,
    /// There is a reference to another entity.
    #[error("only the five predefined entities and character references are allowed")]
    Entity,
    /// An element is too deep.
    #[error("the elements are more than {DEPTH_MAX} deep")]
    Deep,
    /// There are too many elements.
    #[error("there are more than {ELEMENTS_MAX} elements")]
    Many,
    /// There are too many attributes.
    #[error("an element has more than {ATTRIBUTES_MAX} attributes")]
    ManyAttributes,
    /// The prefix of a name has no declaration.
    #[error("a prefix is bound to no namespace")]
    Unbound,
}

impl Element {
    /// The text without surrounding white space, if the element contains nothing else.
    pub(super) fn text(&self) -> Option<&str> {
        self.children.is_empty().then(|| trimmed(&self.text))
    }

    /// The text with its white space, if the element contains nothing else, because users read it.
    pub(super) fn whole_text(&self) -> Option<&str> {
        self.children.is_empty().then_some(&*self.text)
    }

    /// The child elements, if only white space is between them.
    pub(super) fn elements(&self) -> Option<&[Element]> {
        trimmed(&self.text).is_empty().then_some(&self.children)
    }

    /// Whether it is a header entry that the receiver must understand (SOAP 1.1, section 4.2.3).
    pub(super) fn is_mandatory(&self) -> bool {
        self.must_understand && !self.is_for_others
    }
}

/// White space by XML 1.0, section 2.3; Unicode's other kinds are text.
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// Parses a document.
///
/// # Errors
/// [`BadXml`], the first reason found.
pub(super) fn parse(bytes: &[u8]) -> Result<Element, BadXml> {
    let text = str::from_utf8(bytes).map_err(|_| BadXml::NotUtf8)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = NsReader::from_str(text);
    let mut building = Building::default();
    let mut is_first = true;
    loop {
        match reader.read_event().map_err(|_| BadXml::NotWellFormed)? {
            Event::Decl(declaration) if is_first => check(&declaration)?,
            Event::Decl(_) => return Err(BadXml::NotWellFormed),
            Event::DocType(_) => return Err(BadXml::DocumentType),
            Event::PI(_) => return Err(BadXml::Instruction),
            Event::Comment(_) => {}
            Event::Start(tag) => building.open(element(&reader, &tag)?)?,
            Event::Empty(tag) => {
                building.open(element(&reader, &tag)?)?;
                building.close()?;
            }
            Event::End(_) => building.close()?,
            Event::Text(text) => {
                let text = text.xml10_content();
                if text.contains("]]>") {
                    return Err(BadXml::NotWellFormed);
                }
                building.text(&text)?;
            }
            Event::CData(text) if building.open.is_empty() => {
                drop(text);
                return Err(BadXml::NotWellFormed);
            }
            Event::CData(text) => building.text(&text.xml10_content())?,
            Event::GeneralRef(reference) => building.reference(&reference)?,
            Event::Eof => break,
        }
        is_first = false;
    }
    match building.root {
        Some(root) if building.open.is_empty() => Ok(root),
        _ => Err(BadXml::NotWellFormed),
    }
}

/// Refuses a declaration that names another encoding.
fn check(declaration: &BytesDecl<'_>) -> Result<(), BadXml> {
    let version = declaration.version().map_err(|_| BadXml::NotWellFormed)?;
    let encoding = declaration.encoding().transpose().map_err(|_| BadXml::NotWellFormed)?;
    let is_utf8 =
        |name: &str| name.eq_ignore_ascii_case("utf-8") || name.eq_ignore_ascii_case("us-ascii");
    match encoding {
        _ if version != "1.0" => Err(BadXml::NotWellFormed),
        Some(encoding) if !is_utf8(&encoding) => Err(BadXml::NotUtf8),
        _ => Ok(()),
    }
}

/// The element of a tag, with all names resolved.
fn element(reader: &NsReader<&[u8]>, tag: &BytesStart<'_>) -> Result<Element, BadXml> {
    let (space, name) = reader.resolver().resolve_element(tag.name());
    let mut element = Element {
        space: Space::of(&space)?,
        name: name.as_ref().to_owned(),
        text: String::new(),
        children: Vec::new(),
        is_nil: false,
        must_understand: false,
        is_for_others: false,
    };
    if element.name.is_empty() {
        return Err(BadXml::NotWellFormed);
    }
    let mut attributes = tag.attributes();
    for number in 0.. {
        let Some(attribute) = attributes.next() else { break };
        if number == ATTRIBUTES_MAX {
            return Err(BadXml::ManyAttributes);
        }
        let attribute = attribute.map_err(|_| BadXml::NotWellFormed)?;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0);
        let value = value.map_err(|_| BadXml::Entity)?;
        if attribute.value.contains('<') || !value.chars().all(is_allowed) {
            return Err(BadXml::NotWellFormed);
        }
        let (space, name) = reader.resolver().resolve_attribute(attribute.key);
        let is_true = matches!(&*value, "1" | "true");
        match (space, name.as_ref()) {
            (ResolveResult::Unknown(_), _) => return Err(BadXml::Unbound),
            (ResolveResult::Bound(Namespace(INSTANCE)), "nil") => element.is_nil = is_true,
            (ResolveResult::Bound(Namespace(SOAP)), "mustUnderstand") => {
                element.must_understand = is_true;
            }
            (ResolveResult::Bound(Namespace(SOAP)), "actor") => {
                element.is_for_others = !value.is_empty() && value != ACTOR_NEXT;
            }
            _ => {}
        }
    }
    Ok(element)
}

impl Element {
    /// The first child of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }
}

impl Space {
    fn of(resolved: &ResolveResult<'_>) -> Result<Self, BadXml> {
        match resolved {
            ResolveResult::Unbound => Ok(Self::Unqualified),
            ResolveResult::Bound(Namespace(SOAP)) => Ok(Self::Soap),
            ResolveResult::Bound(Namespace(SOAP_1_2)) => Ok(Self::Soap12),
            ResolveResult::Bound(Namespace(SIGNATURE)) => Ok(Self::Signature),
            ResolveResult::Bound(Namespace(AUTHENTICATION)) => Ok(Self::Authentication),
            ResolveResult::Bound(_) => Ok(Self::Other),
            ResolveResult::Unknown(_) => Err(BadXml::Unbound),
        }
    }
}

/// A document that is being parsed.
#[derive(Default)]
struct Building {
    root: Option<Element>,
    /// Elements that are not yet closed, the innermost last.
    open: Vec<Element>,
    begun: usize,
}

impl Building {
    fn open(&mut self, element: Element) -> Result<(), BadXml> {
        if self.root.is_some() {
            return Err(BadXml::NotWellFormed);
        }
        if self.open.len() == DEPTH_MAX {
            return Err(BadXml::Deep);
        }
        if self.begun == ELEMENTS_MAX {
            return Err(BadXml::Many);
        }
        self.begun += 1;
        self.open.push(element);
        Ok(())
    }

    fn close(&mut self) -> Result<(), BadXml> {
        let element = self.open.pop().ok_or(BadXml::NotWellFormed)?;
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), BadXml> {
        match self.open.last_mut() {
            Some(element) if text.chars().all(is_allowed) => element.text.push_str(text),
            None if trimmed(text).is_empty() => {}
            _ => return Err(BadXml::NotWellFormed),
        }
        Ok(())
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<(), BadXml> {
        let element = self.open.last_mut().ok_or(BadXml::NotWellFormed)?;
        match reference.resolve_char_ref().map_err(|_| BadXml::NotWellFormed)? {
            Some(character) if is_allowed(character) => element.text.push(character),
            Some(_) => return Err(BadXml::NotWellFormed),
            None => element.text.push_str(resolve_xml_entity(reference).ok_or(BadXml::Entity)?),
        }
        Ok(())
    }
}

/// XML 1.0, section 2.2.
pub(super) fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> BadXml {
        parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn names_are_resolved_and_text_is_whole() {
        let text = format!(
            "\u{feff}<?xml version='1.0' encoding=\"utf-8\"?>\n<!-- a --><a:x xmlns:a='{SIGNATURE}' \
             xmlns='{SOAP}'><y/><z xmlns=''> 1 &lt; 2<![CDATA[ & <3]]>&#x20ac;\r\n</z></a:x>\n"
        );
        let root = parse(text.as_bytes()).unwrap();
        assert_eq!((root.space, root.name.as_str()), (Space::Signature, "x"));
        let [y, z] = root.elements().unwrap() else { panic!("two elements") };
        assert_eq!((y.space, y.text()), (Space::Soap, Some("")));
        assert_eq!((z.space, z.text()), (Space::Unqualified, Some("1 < 2 & <3€")));
        assert_eq!(root.text(), None);
    }

    #[test]
    fn an_element_that_has_text_beside_elements_has_no_elements() {
        assert!(parse(b"<a>x<b/></a>").unwrap().elements().is_none());
        assert!(parse(b"<a>&#160;<b/></a>").unwrap().elements().is_none());
    }

    #[test]
    fn a_document_type_is_refused_before_what_it_declares_is_read() {
        let bomb = "<!DOCTYPE a [<!ENTITY b 'ha'><!ENTITY c '&b;&b;&b;&b;'>]><a>&c;</a>";
        assert_eq!(refused(bomb), BadXml::DocumentType);
        assert_eq!(refused("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>"), BadXml::DocumentType);
        assert_eq!(refused("<a><!DOCTYPE a></a>"), BadXml::DocumentType);
        assert_eq!(refused("<a>&c;</a>"), BadXml::Entity);
        assert_eq!(refused("<a b='&c;'/>"), BadXml::Entity);
        assert_eq!(refused("<a>&nbsp;</a>"), BadXml::Entity);
        assert_eq!(refused("<?php x ?><a/>"), BadXml::Instruction);
    }

    #[test]
    fn depth_elements_and_attributes_are_bounded() {
        let deep = |depth| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(parse(deep(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(refused(&deep(DEPTH_MAX + 1)), BadXml::Deep);
        let wide = |count| format!("<a>{}</a>", "<b/>".repeat(count));
        assert!(parse(wide(ELEMENTS_MAX - 1).as_bytes()).is_ok());
        assert_eq!(refused(&wide(ELEMENTS_MAX)), BadXml::Many);
        let with = |count: usize| {
            let attributes = (0..count).map(|n| format!(" b{n}=''")).collect::<Vec<_>>();
            format!("<a{}/>", attributes.concat())
        };
        assert!(parse(with(ATTRIBUTES_MAX).as_bytes()).is_ok());
        assert_eq!(refused(&with(ATTRIBUTES_MAX + 1)), BadXml::ManyAttributes);
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for text in [
            "",
            " ",
            "a",
            "<a>",
            "<a></b>",
            "</a>",
            "<a/><a/>",
            "<a/>a",
            "a<a/>",
            "<a b='1' b='2'/>",
            "<a b=1/>",
            "<a>&</a>",
            "<a>&#0;</a>",
            "<a>&#xd800;</a>",
            "<a>\u{1}</a>",
            "<a>]]></a>",
            "<a b='<'/>",
            "<a b='\u{1}'/>",
            "&lt;<a/>",
            "<a/><![CDATA[ ]]>",
            " <?xml version='1.0'?><a/>",
            "<?xml version='1.1'?><a/>",
            "<a/><?xml version='1.0'?>",
            "{\"a\": 1}",
            "<:/>",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(refused("<a:b/>"), BadXml::Unbound);
        assert_eq!(refused("<a b:c=''/>"), BadXml::Unbound);
        assert_eq!(refused("<?xml version='1.0' encoding='UTF-16'?><a/>"), BadXml::NotUtf8);
        assert_eq!(parse(b"<a>\xff</a>").unwrap_err(), BadXml::NotUtf8);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn text_reads_as_it_was_escaped(text: String) {
            let text: String = text.chars().filter(|c| is_allowed(*c) && *c != '\r').collect();
            let document = format!("<a>{}</a>", quick_xml::escape::escape(&text));
            prop_assert_eq!(parse(document.as_bytes()).unwrap().text, text);
        }
    }
}
