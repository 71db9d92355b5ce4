//! HTML on a screen that renders none: its text, with what gives the text its meaning.
//!
//! The promise: what is understood is shown; of everything else it is said that something is not
//! shown, or the page is refused. And nothing in it can act on a terminal. It is for the eye only:
//! what is signed is what was received. The rule is `docs/showing-html.md`, and its vectors
//! `docs/vectors/html.json`.
//!
//! ```text
//! as received ──▶ Tree, as a browser's ──▶ check: refused? ──▶ Reader, by the rule ──▶ Paper ──▶ lines
//! ```
//!
//! What a style sheet would hide is shown all the same, and a link with the address that it really
//! has.

mod reader;
mod rule;
mod text_layout;
mod tree;

use crate::display;
use tree::Tree;

/// Characters of a stranger's name that are said.
const NAME_MAX: usize = 32;

/// Why a page is not shown.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CannotShowHtml {
    /// An element, or an element's attribute, that changes the page or brings content from
    /// elsewhere.
    #[error("it has {0}")]
    Has(String),
    /// Its tree would be too large.
    #[error("it is too large")]
    TooLarge,
}

/// The text of what is called HTML, in lines with `\n` between them. A text without markup is shown
/// as it is.
///
/// # Errors
/// [`CannotShowHtml`] if the page must not be shown in part.
pub fn text(source: &str) -> Result<String, CannotShowHtml> {
    if !is_html(source) {
        return Ok(display::text(source));
    }
    let tree = Tree::parse(source).ok_or(CannotShowHtml::TooLarge)?;
    reader::check(&tree)?;
    Ok(reader::read(&tree))
}

/// One deployment sends JSON in the place of HTML, which is JSON even with tags in it.
fn is_html(source: &str) -> bool {
    let is_json = source.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<serde::de::IgnoredAny>(source).is_ok();
    !is_json && (has_markup(source) || has_reference(source))
}

/// Whether there is a tag, a comment or what a browser takes for one (HTML, section 13.2.5.6).
fn has_markup(source: &str) -> bool {
    let begins = |rest: &str| {
        rest.starts_with(|letter: char| letter.is_ascii_alphabetic() || "/!?".contains(letter))
    };
    source.split('<').skip(1).any(begins)
}

/// Whether there is something like `&euro;` or `&#8364;` in it.
fn has_reference(source: &str) -> bool {
    source.split('&').skip(1).any(|rest| {
        let name = rest.split_once(';').map_or("", |(name, _)| name);
        let name = name.strip_prefix('#').unwrap_or(name);
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// A stranger's name of an element or attribute, short and safe for a terminal.
fn short(name: &str) -> String {
    display::line(&name.chars().take(NAME_MAX).collect::<String>())
}

#[cfg(test)]
mod tests;
