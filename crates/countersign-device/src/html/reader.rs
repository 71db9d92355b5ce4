//! Walks the tree of a page and writes its text, by the [`rule`].

use std::collections::BTreeSet;

use super::rule::{self, AttributeTreatment, Treatment};
use super::text_layout::{Break, TextLayout};
use super::tree::{Element, Node, Tree};
use super::{CannotShowHtml, short};

/// The most names in the mark at the end of a page; further names are counted.
const MARKED_MAX: usize = 16;

/// Refuses a page that has a forbidden element or attribute anywhere.
pub(super) fn check(tree: &Tree) -> Result<(), CannotShowHtml> {
    for element in tree.elements() {
        let name = element.name();
        if rule::element(name) == Treatment::Refused {
            return Err(CannotShowHtml::Has(short(name)));
        }
        for (attribute, value) in element.attributes() {
            if rule::attribute(name, attribute, value) == AttributeTreatment::Refused {
                return Err(CannotShowHtml::Has(format!("{} {}", short(name), short(attribute))));
            }
        }
    }
    Ok(())
}

/// The text of a page that passed [`check`].
pub(super) fn read(tree: &Tree) -> String {
    let mut reader = Reader::default();
    let mut steps = vec![Step::Open(Tree::ROOT)];
    while let Some(step) = steps.pop() {
        match step {
            Step::Close(at) => {
                if let Node::Element(element) = tree.node(at) {
                    reader.close(element);
                }
            }
            Step::Open(at) => {
                let is_read = match tree.node(at) {
                    Node::Root => true,
                    Node::Comment => false,
                    Node::Text(text) => {
                        reader.layout.text(text);
                        false
                    }
                    Node::Element(element) => {
                        let is_read = reader.open(element);
                        if is_read {
                            steps.push(Step::Close(at));
                        }
                        is_read
                    }
                };
                if is_read {
                    steps.extend(tree.children(at).iter().rev().map(|child| Step::Open(*child)));
                }
            }
        }
    }
    reader.finish()
}

enum Step {
    Open(usize),
    Close(usize),
}

#[derive(Default)]
struct Reader {
    layout: TextLayout,
    /// The names for the mark at the end of the page.
    marked: BTreeSet<String>,
}

impl Reader {
    /// Begins an element. Returns whether its children are shown too.
    fn open(&mut self, element: &Element) -> bool {
        let name = element.name();
        let treatment =
            if element.is_html() { rule::element(name) } else { Treatment::MarkedWhole };
        match treatment {
            Treatment::MarkedOnce => {
                self.marked.insert(name.to_owned());
                return false;
            }
            Treatment::Marked | Treatment::MarkedWhole => {
                self.layout.mark(&format!("[not shown here: {}]", short(name)));
            }
            Treatment::Inline | Treatment::Unseen => self.note(element),
            Treatment::Block { is_apart } => {
                self.layout.need(if is_apart { Break::Paragraph } else { Break::Line });
                self.note(element);
            }
            Treatment::Special if rule::is_void(name) => {
                self.note(element);
                if is_hidden(element, treatment) {
                    self.layout.mark("[hidden: ");
                }
                self.open_special(element);
                return true;
            }
            Treatment::Special => {
                self.open_special(element);
                self.note(element);
            }
            Treatment::Refused => unreachable!("the page was checked"),
        }
        let is_read = treatment != Treatment::MarkedWhole;
        if is_read && is_hidden(element, treatment) {
            self.layout.mark("[hidden: ");
        }
        is_read
    }

    /// Writes the shown attributes of an element, and marks the others.
    fn note(&mut self, element: &Element) {
        for (name, value) in element.attributes() {
            let value = value.trim();
            match rule::attribute(element.name(), name, value) {
                AttributeTreatment::Marked => {
                    self.marked.insert(short(name));
                }
                AttributeTreatment::Shown if name == "title" && !value.is_empty() => {
                    self.layout.mark(&format!("[title: {value}]"));
                }
                _ => {}
            }
        }
    }

    fn open_special(&mut self, element: &Element) {
        let layout = &mut self.layout;
        let attribute = |name: &str| element.attribute(name);
        match element.name() {
            "br" => layout.line_break(),
            "hr" => layout.rule(),
            "a" => layout.link(attribute("href")),
            "img" => layout.mark(&image(attribute("alt"))),
            "input" => layout.mark(&input(element)),
            "del" | "s" | "strike" => layout.mark("[struck out: "),
            "bdo" => layout.mark(direction(element).unwrap_or_default()),
            "sup" => layout.mark("^("),
            "sub" => layout.mark("_("),
            "rt" => layout.mark("[above: "),
            "q" => layout.mark("“"),
            "button" => layout.mark("["),
            "meter" | "progress" => layout.mark(&gauge(element)),
            "textarea" => {
                layout.need(Break::Line);
                if let Some(text) = attribute("placeholder").filter(|text| !text.is_empty()) {
                    layout.mark(&format!("[placeholder: {text}]"));
                }
            }
            "option" | "optgroup" => {
                layout.need(Break::Line);
                if attribute("selected").is_some() {
                    layout.mark("[x] ");
                }
                if let Some(label) = attribute("label").filter(|label| !label.is_empty()) {
                    layout.mark(&format!("[label: {label}]"));
                    layout.need(Break::Word);
                }
            }
            "ol" => {
                let start = attribute("start").and_then(|start| start.parse().ok());
                layout.list(Some(start.unwrap_or(1)));
            }
            "ul" | "menu" | "dir" => layout.list(None),
            "li" => layout.item(attribute("value").and_then(|value| value.parse().ok())),
            "blockquote" => layout.indent(Break::Paragraph),
            "dd" => layout.indent(Break::Line),
            "tr" => layout.row(),
            "td" | "th" => layout.cell(),
            name if rule::is_preformatted(name) => layout.preformatted(),
            name => unreachable!("no way to show {name}"),
        }
    }

    fn close(&mut self, element: &Element) {
        let name = element.name();
        let treatment = rule::element(name);
        if is_hidden(element, treatment) {
            self.layout.mark("]");
        }
        match treatment {
            Treatment::Block { is_apart } => {
                self.layout.need(if is_apart { Break::Paragraph } else { Break::Line });
            }
            Treatment::Special => close_special(&mut self.layout, element),
            _ => {}
        }
    }

    fn finish(self) -> String {
        let text = self.layout.finish();
        if self.marked.is_empty() {
            return text;
        }
        let more = self.marked.len().saturating_sub(MARKED_MAX);
        let names: Vec<String> = self.marked.into_iter().take(MARKED_MAX).collect();
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let mark = crate::display::line(&format!("[not shown here: {}{more}]", names.join(", ")));
        format!("{text}\n\n{mark}").trim_start().to_owned()
    }
}

fn close_special(layout: &mut TextLayout, element: &Element) {
    match element.name() {
        "a" => layout.link_end(),
        "button" | "del" | "s" | "strike" | "rt" => layout.mark("]"),
        "bdo" if direction(element).is_some() => layout.mark("]"),
        "sup" | "sub" => layout.mark(")"),
        "q" => layout.mark("”"),
        "option" | "optgroup" | "textarea" => layout.need(Break::Line),
        "ol" | "ul" | "menu" | "dir" => layout.list_end(),
        "li" => layout.item_end(),
        "blockquote" => layout.indent_end(Break::Paragraph),
        "dd" => layout.indent_end(Break::Line),
        "tr" => layout.row_end(),
        "td" | "th" => layout.cell_end(),
        name if rule::is_preformatted(name) => layout.preformatted_end(),
        _ => {}
    }
}

/// Returns whether a browser would hide this element, which is shown here nevertheless.
fn is_hidden(element: &Element, treatment: Treatment) -> bool {
    element.attribute("hidden").is_some()
        && !matches!(treatment, Treatment::Unseen | Treatment::MarkedOnce)
}

fn image(alt: Option<&str>) -> String {
    match alt {
        None | Some("") => "[image]".to_owned(),
        Some(alt) => format!("[image: {alt}]"),
    }
}

fn input(element: &Element) -> String {
    let kind = element.attribute("type").unwrap_or_default().to_ascii_lowercase();
    let value = element.attribute("value").filter(|value| !value.is_empty());
    let placeholder = element.attribute("placeholder").filter(|text| !text.is_empty());
    match (kind.as_str(), value) {
        ("checkbox" | "radio", _) => {
            let is_checked = element.attribute("checked").is_some();
            if is_checked { "[x]".to_owned() } else { "[ ]".to_owned() }
        }
        ("image", _) => image(element.attribute("alt")),
        ("hidden", value) => format!("[hidden: {}]", value.unwrap_or_default()),
        ("button" | "submit" | "reset" | "file", None) => format!("[{kind}]"),
        (_, Some(value)) => format!("[{value}]"),
        (_, None) => placeholder.map_or("[]".to_owned(), |text| format!("[placeholder: {text}]")),
    }
}

/// The text for the length of a bar.
fn gauge(element: &Element) -> String {
    let part = |name: &str| element.attribute(name).map(|value| format!("{name} {value}"));
    let parts: Vec<String> = ["value", "min", "max"].into_iter().filter_map(part).collect();
    let colon = if parts.is_empty() { "" } else { ": " };
    format!("[{}{colon}{}]", element.name(), parts.join(", "))
}

/// The mark for text that runs in another direction.
fn direction(element: &Element) -> Option<&'static str> {
    match element.attribute("dir")?.to_ascii_lowercase().as_str() {
        "rtl" => Some("[right to left: "),
        "ltr" => Some("[left to right: "),
        _ => None,
    }
}
