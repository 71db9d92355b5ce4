//! The treatment of each element and attribute of HTML: the tables of `docs/showing-html.md`.
//!
//! The guarantee: every name that is not in these tables is marked. So no element or attribute is
//! dropped without notice, even one that HTML gets later.

/// The treatment of an element.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Treatment {
    /// Its text, within the line.
    Inline,
    /// Its text, in separate lines, with or without an empty line around it.
    Block { is_apart: bool },
    /// Special code for this element in [`super::reader`].
    Special,
    /// No output: the element is never visible and has no text.
    Unseen,
    /// A mark with its name, and its text.
    Marked,
    /// A mark with its name, and its text. Its text is for programs, or its meaning depends on its
    /// place on the page.
    MarkedWhole,
    /// One mark at the end of the page for all such elements, without their text.
    MarkedOnce,
    /// The page is refused: the element's content is loaded from elsewhere, or can change.
    Refused,
}

/// The treatment of an attribute of a shown element.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AttributeTreatment {
    /// Shown by the code of the element, or by words for this attribute.
    Shown,
    /// No output: the attribute does not change the text.
    Unseen,
    /// A mark with its name at the end of the page.
    Marked,
    /// The page is refused.
    Refused,
}

/// Embedded pages, programs, and the base of relative addresses.
const REFUSED: &str = "applet base bgsound embed fencedframe frame frameset handler iframe listener object \
    portal script";
const INLINE: &str = "abbr acronym b bdi big body cite code data dfn em font head html i ins kbd label mark \
    nobr noscript output picture rb rp rtc ruby samp slot small span strong time tt u var";
const BLOCKS: &str = "address article aside caption center details dialog div dt fieldset figcaption footer \
    form header hgroup legend main nav search section select summary tbody tfoot thead title";
const BLOCKS_APART: &str = "dl figure h1 h2 h3 h4 h5 h6 p table";
const SPECIAL: &str = "a bdo blockquote br button dd del dir hr img input li menu meter ol optgroup option \
    progress q rt s strike sub sup td textarea th tr ul";
const PREFORMATTED: &str = "listing plaintext pre xmp";
const UNSEEN: &str = "col colgroup meta wbr";
/// Elements without text and without an end tag.
const VOID: &str = "area br col hr img input link meta param source track wbr";

/// The allowed values of `http-equiv`. Others load, replace or restrict the page.
const HTTP_EQUIV: &str = "content-language content-type x-ua-compatible";

/// Attributes that do not change the text of any element.
const UNSEEN_ATTRIBUTES: &str = "abbr accept accept-charset accesskey align allow as async autocapitalize autocomplete \
    autocorrect autofocus axis border cellpadding cellspacing char charoff charset cite \
    class clear colorspace cols compact content contenteditable coords crossorigin datetime \
    decoding defer dirname disabled download draggable elementtiming enctype enterkeyhint \
    exportparts fetchpriority for form formenctype formmethod formnovalidate formtarget \
    frame headers headingoffset headingreset height high hreflang hspace id inert inputmode \
    integrity is ismap itemid itemprop itemref itemscope itemtype lang list loading longdesc \
    low maxlength media method minlength multiple name nohref nonce noshade novalidate \
    nowrap open optimum part pattern ping profile readonly referrerpolicy rel required rev \
    role rows rules scope shape sizes slot spellcheck step summary tabindex target translate \
    valign version virtualkeyboardpolicy vspace width wrap writingsuggestions xml:lang xmlns";
/// Elements with attributes that are shown.
const SHOWN_ATTRIBUTES: [(&str, &str); 11] = [
    ("a", "href"),
    ("bdo", "dir"),
    ("img", "alt src srcset"),
    ("input", "alt checked placeholder src type value min max size"),
    ("li", "value"),
    ("meter", "max min value"),
    ("ol", "start"),
    ("optgroup", "label"),
    ("option", "label selected value"),
    ("progress", "max value"),
    ("textarea", "placeholder"),
];
/// Attributes that do not change the text of one particular element.
const UNSEEN_OF: [(&str, &str); 7] = [
    ("a", "type"),
    ("button", "type value"),
    ("data", "value"),
    ("img", "type"),
    ("select", "size"),
    ("col", "span"),
    ("colgroup", "span"),
];
/// Properties of inline styles that change the appearance of text, but not its words, place or
/// visibility.
const PLAIN_PROPERTIES: &str = "border-collapse font-style font-weight text-align vertical-align";

/// The treatment of an element of HTML.
pub(super) fn element(name: &str) -> Treatment {
    match name {
        _ if has(name, REFUSED) => Treatment::Refused,
        _ if has(name, INLINE) => Treatment::Inline,
        _ if has(name, BLOCKS_APART) => Treatment::Block { is_apart: true },
        _ if has(name, PREFORMATTED) => Treatment::Special,
        _ if has(name, BLOCKS) => Treatment::Block { is_apart: false },
        _ if has(name, SPECIAL) => Treatment::Special,
        _ if has(name, UNSEEN) => Treatment::Unseen,
        // A `link` to a style sheet is refused because of its `rel`.
        "link" => Treatment::Unseen,
        "style" => Treatment::MarkedOnce,
        "template" => Treatment::MarkedWhole,
        _ => Treatment::Marked,
    }
}

/// Returns whether an element has neither text nor an end tag.
pub(super) fn is_void(name: &str) -> bool {
    has(name, VOID)
}

/// Returns whether blanks and line breaks in an element's text are kept.
pub(super) fn is_preformatted(name: &str) -> bool {
    has(name, PREFORMATTED)
}

/// The treatment of an attribute of `element`.
pub(super) fn attribute(element: &str, name: &str, value: &str) -> AttributeTreatment {
    use AttributeTreatment as Treatment;
    let of = |table: &[(&str, &str)]| {
        table.iter().any(|(known, names)| *known == element && has(name, names))
    };
    let is_refused = name.starts_with("on")
        || name == "srcdoc"
        || is_program(value)
        || (element == "link" && name == "rel" && has_word(value, "stylesheet"))
        || (element == "meta" && name == "http-equiv" && !is_plain_http_equiv(value));
    let is_plain = match name {
        "dir" => matches!(value.trim().to_ascii_lowercase().as_str(), "" | "ltr" | "auto"),
        "style" => is_plain_style(value),
        "colspan" | "rowspan" => value.trim() == "1",
        _ => false,
    };
    match name {
        _ if is_refused => Treatment::Refused,
        _ if matches!(element, "link" | "meta") => Treatment::Unseen,
        "title" | "hidden" => Treatment::Shown,
        _ if of(&SHOWN_ATTRIBUTES) => Treatment::Shown,
        _ if is_plain || of(&UNSEEN_OF) => Treatment::Unseen,
        _ if name.starts_with("data-") || name.starts_with("aria-") => Treatment::Unseen,
        _ if has(name, UNSEEN_ATTRIBUTES) => Treatment::Unseen,
        _ => Treatment::Marked,
    }
}

/// Returns whether `name` is in `names`, which are separated by blanks.
fn has(name: &str, names: &str) -> bool {
    names.split(' ').any(|known| known == name)
}

/// Returns whether an address is a program. Browsers ignore controls and blanks in it (URL §4.4).
fn is_program(value: &str) -> bool {
    let plain = value.chars().filter(|letter| !letter.is_control() && *letter != ' ');
    let start: String = plain.take("javascript:".len()).collect();
    let start = start.to_ascii_lowercase();
    start.starts_with("javascript:") || start.starts_with("vbscript:")
}

fn has_word(value: &str, word: &str) -> bool {
    value.split_ascii_whitespace().any(|known| known.eq_ignore_ascii_case(word))
}

fn is_plain_http_equiv(value: &str) -> bool {
    has(&value.trim().to_ascii_lowercase(), HTTP_EQUIV)
}

/// Returns whether an inline style has only [`PLAIN_PROPERTIES`] and underlines, without escapes,
/// comments and functions.
fn is_plain_style(style: &str) -> bool {
    style.split(';').map(str::trim).filter(|declaration| !declaration.is_empty()).all(
        |declaration| {
            let Some((property, value)) = declaration.split_once(':') else { return false };
            let property = property.trim().to_ascii_lowercase();
            let value = value.trim().to_ascii_lowercase();
            let is_plain =
                value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" -%.".contains(&byte));
            match property.as_str() {
                "text-decoration" => matches!(value.as_str(), "underline" | "none"),
                property => is_plain && has(property, PLAIN_PROPERTIES),
            }
        },
    )
}
