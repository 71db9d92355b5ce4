//! Walks the tree of a page and writes down what is shown of it, by the [`rule`].

use std::collections::BTreeSet;

use super::paper::{Gap, Paper};
use super::rule::{self, AttributeTreatment, Treatment};
use super::tree::{Element, Node, Tree};
use super::{CannotShowHtml, short};

/// Names in the mark at the end of a page; more are counted.
const MARKED_MAX: usize = 16;

/// Why a page is refused, if it is: what no page may have, wherever it has it.
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

/// The text of a page that may be shown.
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
                        reader.paper.text(text);
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
    paper: Paper,
    /// What is marked at the end of the page.
    marked: BTreeSet<String>,
}

impl Reader {
    /// Whether what is in the element is shown, too.
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
                self.paper.mark(&format!("[not shown here: {}]", short(name)));
            }
            Treatment::Inline | Treatment::Unseen => self.note(element),
            Treatment::Block { is_apart } => {
                self.paper.need(if is_apart { Gap::Paragraph } else { Gap::Line });
                self.note(element);
            }
            Treatment::Special if rule::is_void(name) => {
                self.note(element);
                if is_hidden(element, treatment) {
                    self.paper.mark("[hidden: ");
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
            self.paper.mark("[hidden: ");
        }
        is_read
    }

    /// Says what the attributes say, or that something does not stand there.
    fn note(&mut self, element: &Element) {
        for (name, value) in element.attributes() {
            let value = value.trim();
            match rule::attribute(element.name(), name, value) {
                AttributeTreatment::Marked => {
                    self.marked.insert(short(name));
                }
                AttributeTreatment::Shown if name == "title" && !value.is_empty() => {
                    self.paper.mark(&format!("[title: {value}]"));
                }
                _ => {}
            }
        }
    }

    fn open_special(&mut self, element: &Element) {
        let paper = &mut self.paper;
        let attribute = |name: &str| element.attribute(name);
        match element.name() {
            "br" => paper.line_break(),
            "hr" => paper.rule(),
            "a" => paper.link(attribute("href")),
            "img" => paper.mark(&image(attribute("alt"))),
            "input" => paper.mark(&input(element)),
            "del" | "s" | "strike" => paper.mark("[struck out: "),
            "bdo" => paper.mark(direction(element).unwrap_or_default()),
            "sup" => paper.mark("^("),
            "sub" => paper.mark("_("),
            "rt" => paper.mark("[above: "),
            "q" => paper.mark("“"),
            "button" => paper.mark("["),
            "meter" | "progress" => paper.mark(&gauge(element)),
            "textarea" => {
                paper.need(Gap::Line);
                if let Some(text) = attribute("placeholder").filter(|text| !text.is_empty()) {
                    paper.mark(&format!("[placeholder: {text}]"));
                }
            }
            "option" | "optgroup" => {
                paper.need(Gap::Line);
                if attribute("selected").is_some() {
                    paper.mark("[x] ");
                }
                if let Some(label) = attribute("label").filter(|label| !label.is_empty()) {
                    paper.mark(&format!("[label: {label}]"));
                    paper.need(Gap::Word);
                }
            }
            "ol" => {
                let start = attribute("start").and_then(|start| start.parse().ok());
                paper.list(Some(start.unwrap_or(1)));
            }
            "ul" | "menu" | "dir" => paper.list(None),
            "li" => paper.item(attribute("value").and_then(|value| value.parse().ok())),
            "blockquote" => paper.indent(Gap::Paragraph),
            "dd" => paper.indent(Gap::Line),
            "tr" => paper.row(),
            "td" | "th" => paper.cell(),
            name if rule::is_preformatted(name) => paper.preformatted(),
            name => unreachable!("no way to show {name}"),
        }
    }

    fn close(&mut self, element: &Element) {
        let name = element.name();
        let treatment = rule::element(name);
        if is_hidden(element, treatment) {
            self.paper.mark("]");
        }
        match treatment {
            Treatment::Block { is_apart } => {
                self.paper.need(if is_apart { Gap::Paragraph } else { Gap::Line });
            }
            Treatment::Special => close_special(&mut self.paper, element),
            _ => {}
        }
    }

    fn finish(self) -> String {
        let text = self.paper.finish();
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

fn close_special(paper: &mut Paper, element: &Element) {
    match element.name() {
        "a" => paper.link_end(),
        "button" | "del" | "s" | "strike" | "rt" => paper.mark("]"),
        "bdo" if direction(element).is_some() => paper.mark("]"),
        "sup" | "sub" => paper.mark(")"),
        "q" => paper.mark("”"),
        "option" | "optgroup" | "textarea" => paper.need(Gap::Line),
        "ol" | "ul" | "menu" | "dir" => paper.list_end(),
        "li" => paper.item_end(),
        "blockquote" => paper.indent_end(Gap::Paragraph),
        "dd" => paper.indent_end(Gap::Line),
        "tr" => paper.row_end(),
        "td" | "th" => paper.cell_end(),
        name if rule::is_preformatted(name) => paper.preformatted_end(),
        _ => {}
    }
}

/// Whether a browser would not show this element, which is shown here all the same.
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

/// What a bar shows by its length.
fn gauge(element: &Element) -> String {
    let part = |name: &str| element.attribute(name).map(|value| format!("{name} {value}"));
    let parts: Vec<String> = ["value", "min", "max"].into_iter().filter_map(part).collect();
    let colon = if parts.is_empty() { "" } else { ": " };
    format!("[{}{colon}{}]", element.name(), parts.join(", "))
}

/// How a text is said to run in another order than it is written in.
fn direction(element: &Element) -> Option<&'static str> {
    match element.attribute("dir")?.to_ascii_lowercase().as_str() {
        "rtl" => Some("[right to left: "),
        "ltr" => Some("[left to right: "),
        _ => None,
    }
}
