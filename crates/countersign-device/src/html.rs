//! HTML on a screen that renders none: its text, with what gives the text its meaning.
//!
//! The promise: whatever a person would read in it stands there, or it is said that something does not;
//! scripts and styles do not stand there; and nothing in it can act on a terminal. It is for the eye
//! only: what is signed is what was received.
//!
//! ```text
//! as received ──▶ ammonia: a whole tree, of few elements ──▶ html5ever's tokens ──▶ Paper ──▶ lines
//! ```
//!
//! What a style sheet would hide is shown all the same, and a link with the address that it really has.

mod paper;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

use crate::display;
use paper::{Gap, Paper};

/// The elements that shape a text. Of all others the text is kept, and they are not. Never allow `svg` or
/// `math` here, nor an element whose text is written without escapes: the second reading would differ.
const ELEMENTS: &[&str] = &[
    "a",
    "address",
    "article",
    "aside",
    "blockquote",
    "br",
    "button",
    "caption",
    "center",
    "dd",
    "del",
    "details",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hgroup",
    "hr",
    "img",
    "input",
    "legend",
    "li",
    "main",
    "menu",
    "nav",
    "ol",
    "optgroup",
    "option",
    "p",
    "pre",
    "q",
    "s",
    "search",
    "section",
    "select",
    "strike",
    "sub",
    "summary",
    "sup",
    "table",
    "tbody",
    "td",
    "textarea",
    "tfoot",
    "th",
    "thead",
    "title",
    "tr",
    "ul",
];
const ATTRIBUTES: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("img", &["alt"]),
    ("input", &["type", "value", "checked"]),
    ("li", &["value"]),
    ("ol", &["start"]),
];
/// What they hold is for programs.
const PROGRAMS: &[&str] = &["script", "style"];
/// What may hold HTML that ammonia takes out.
const DRAWINGS: &[&str] = &["svg", "math"];
/// What is said of what ammonia takes out: drawings, formulas, templates.
const LEFT_OUT: &str = "[something in it, such as a drawing, is not shown]";
/// Names of elements that are tried out on one page.
const NAMES_MAX: usize = 64;
/// What is opened again in each paragraph, until it is closed (HTML, 13.2.4.3).
const FORMATTING: &[&str] = &[
    "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u",
];
/// Elements that a parser may have to make of one page: a node is about 250 bytes.
const NODES_MAX: usize = 200_000;

/// The text of what is called HTML, in lines with `\n` between them. What is no HTML, or would be too
/// much of a tree, is shown as it is.
#[must_use]
pub fn text(source: &str) -> String {
    let starts = Starts::of(source);
    if !is_html(source) || starts.nodes() > NODES_MAX {
        return display::text(source);
    }
    let text = tokenize(&clean(source), Reader::default()).paper.into_inner().finish();
    if starts.is_all_kept() {
        return text;
    }
    format!("{text}\n\n{LEFT_OUT}").trim_start().to_owned()
}

/// One deployment sends JSON in the place of HTML, which is JSON even with tags in it.
fn is_html(source: &str) -> bool {
    let is_json = source.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<serde::de::IgnoredAny>(source).is_ok();
    !is_json && (ammonia::is_html(source) || has_reference(source))
}

/// Whether there is something like `&euro;` or `&#8364;` in it.
fn has_reference(source: &str) -> bool {
    source.split('&').skip(1).any(|rest| {
        let name = rest.split_once(';').map_or("", |(name, _)| name);
        let name = name.strip_prefix('#').unwrap_or(name);
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// What may be start tags: all that are, and perhaps some in comments and scripts.
#[derive(Default)]
struct Starts {
    names: BTreeSet<String>,
    all: usize,
    formatting: usize,
}

impl Starts {
    fn of(source: &str) -> Self {
        let mut starts = Self::default();
        let starting = |rest: &&str| rest.starts_with(|letter: char| letter.is_ascii_alphabetic());
        for rest in source.split('<').filter(starting) {
            let end = rest.find(['\t', '\n', '\u{c}', '\r', ' ', '/', '>']);
            let name = rest[..end.unwrap_or(rest.len())].to_ascii_lowercase();
            starts.all += 1;
            starts.formatting += usize::from(FORMATTING.contains(&name.as_str()));
            if !ELEMENTS.contains(&name.as_str()) && !PROGRAMS.contains(&name.as_str()) {
                starts.names.insert(name);
            }
        }
        starts
    }

    /// How many elements can come of them at the most.
    fn nodes(&self) -> usize {
        self.all.saturating_mul(self.formatting + 1)
    }

    /// Ammonia removes not only drawings and formulas, but what bears the name of a part of one, too, with
    /// the text in it, which a browser shows. Which names those are is its own; so they are tried out.
    fn is_all_kept(&self) -> bool {
        self.names.len() <= NAMES_MAX
            && DRAWINGS.iter().all(|name| !self.names.contains(*name))
            && self.names.iter().all(|name| clean(&format!("<{name}>x</{name}>")).contains('x'))
    }
}

/// Well-formed HTML of [`ELEMENTS`] and [`ATTRIBUTES`] only.
fn clean(source: &str) -> String {
    let attributes = ATTRIBUTES
        .iter()
        .map(|(element, attributes)| (*element, attributes.iter().copied().collect()));
    ammonia::Builder::empty()
        .tags(ELEMENTS.iter().copied().collect())
        .clean_content_tags(PROGRAMS.iter().copied().collect())
        .tag_attributes(attributes.collect::<HashMap<_, HashSet<_>>>())
        .clean(source)
        .to_string()
}

fn tokenize(clean: &str, reader: Reader) -> Reader {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(clean));
    let tokenizer = Tokenizer::new(reader, TokenizerOpts::default());
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    tokenizer.sink
}

/// Hears clean HTML, and writes it down.
#[derive(Default)]
struct Reader {
    paper: RefCell<Paper>,
}

impl TokenSink for Reader {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut paper = self.paper.borrow_mut();
        match token {
            Token::CharacterTokens(text) => paper.text(&text),
            Token::TagToken(tag) if tag.kind == TagKind::StartTag => open(&mut paper, &tag),
            Token::TagToken(tag) => close(&mut paper, &tag.name),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

fn open(paper: &mut Paper, tag: &Tag) {
    let attribute = |name: &str| {
        let found = tag.attrs.iter().find(|attribute| &*attribute.name.local == name);
        found.map(|attribute| &*attribute.value)
    };
    match &*tag.name {
        "br" => paper.line_break(),
        "hr" => paper.rule(),
        "a" => paper.link(attribute("href")),
        "img" => match attribute("alt").map(str::trim) {
            None | Some("") => paper.mark("[image]"),
            Some(alt) => paper.mark(&format!("[image: {alt}]")),
        },
        "input" => match attribute("type").map(str::to_ascii_lowercase).as_deref() {
            Some("checkbox" | "radio") if attribute("checked").is_some() => paper.mark("[x]"),
            Some("checkbox" | "radio") => paper.mark("[ ]"),
            _ => paper.mark(&format!("[{}]", attribute("value").unwrap_or_default())),
        },
        "del" | "s" | "strike" => paper.mark("[struck out: "),
        "sup" => paper.mark("^("),
        "sub" => paper.mark("_("),
        "q" => paper.mark("“"),
        "button" => paper.mark("["),
        "pre" => paper.preformatted(),
        "ol" => {
            let start = attribute("start").and_then(|start| start.trim().parse().ok());
            paper.list(Some(start.unwrap_or(1)));
        }
        "ul" | "menu" | "dir" => paper.list(None),
        "li" => paper.item(attribute("value").and_then(|value| value.trim().parse().ok())),
        "blockquote" => paper.indent(Gap::Paragraph),
        "dd" => paper.indent(Gap::Line),
        "tr" => paper.row(),
        "td" | "th" => paper.cell(),
        name => paper.need(gap(name)),
    }
}

fn close(paper: &mut Paper, name: &str) {
    match name {
        "a" => paper.link_end(),
        "button" | "del" | "s" | "strike" => paper.mark("]"),
        "sup" | "sub" => paper.mark(")"),
        "q" => paper.mark("”"),
        "pre" => paper.preformatted_end(),
        "ol" | "ul" | "menu" | "dir" => paper.list_end(),
        "li" => paper.item_end(),
        "blockquote" => paper.indent_end(Gap::Paragraph),
        "dd" => paper.indent_end(Gap::Line),
        "tr" => paper.row_end(),
        "td" | "th" => paper.cell_end(),
        name => paper.need(gap(name)),
    }
}

/// What stands around an element of [`ELEMENTS`] that does no more than that.
fn gap(name: &str) -> Gap {
    match name {
        "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "table" | "dl" | "figure" => Gap::Paragraph,
        _ => Gap::Line,
    }
}

#[cfg(test)]
mod tests;
