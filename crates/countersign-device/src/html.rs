//! The text of HTML, for a screen that does not render HTML, with marks that keep its meaning.
//!
//! The guarantee: every known element is shown; for every other one a mark says that it is not
//! shown, or the page is refused. No character of a page can control a terminal. This is for
//! display only: the signed bytes are the received ones. The rule is `docs/showing-html.md`, and
//! its vectors are `docs/vectors/html.json`.
//!
//! ```text
//! source ──▶ Tree, as in a browser ──▶ check: refused? ──▶ Reader, by the rule ──▶ TextLayout ──▶ lines
//! ```
//!
//! Text that a style sheet would hide is shown too, and a link is shown with its real address.

mod reader;
mod rule;
mod text_layout;
mod tree;

use crate::display;
use tree::Tree;

/// The most characters of an untrusted element or attribute name that are shown.
const NAME_MAX: usize = 32;

/// The reason for which a page is not shown.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CannotShowHtml {
    /// The page has an element or an attribute that changes the page or loads content.
    #[error("it has {0}")]
    Has(String),
    /// The page's tree would be too large.
    #[error("it is too large")]
    TooLarge,
}

/// The text of HTML, in lines with `\n` between them. A text without markup is returned unchanged.
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

/// One deployment sends JSON instead of HTML. It is JSON even if it contains tags.
fn is_html(source: &str) -> bool {
    let is_json = source.trim_start().starts_with(['{', '['])
        && serde_json::from_str::<serde::de::IgnoredAny>(source).is_ok();
    !is_json && (has_markup(source) || has_reference(source))
}

/// Returns whether the text has a tag, a comment, or text that a browser treats as a comment (HTML
/// §13.2.5.6).
fn has_markup(source: &str) -> bool {
    let begins = |rest: &str| {
        rest.starts_with(|letter: char| letter.is_ascii_alphabetic() || "/!?".contains(letter))
    };
    source.split('<').skip(1).any(begins)
}

/// Returns whether the text has a character reference, such as `&euro;` or `&#8364;`.
fn has_reference(source: &str) -> bool {
    source.split('&').skip(1).any(|rest| {
        let name = rest.split_once(';').map_or("", |(name, _)| name);
        let name = name.strip_prefix('#').unwrap_or(name);
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// An untrusted name of an element or attribute, short and safe for a terminal.
fn short(name: &str) -> String {
    display::line(&name.chars().take(NAME_MAX).collect::<String>())
}

#[cfg(test)]
mod tests;
