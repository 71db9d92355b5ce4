use std::collections::BTreeSet;

use expect_test::expect;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use rule::{AttributeTreatment, Treatment};

/// The text of a page that is not refused.
#[track_caller]
fn text(page: &str) -> String {
    super::text(page).unwrap()
}

#[test]
fn every_vector_has_its_text_or_its_refusal() {
    #[derive(Deserialize)]
    struct Vectors {
        pages: Vec<Page>,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Page {
        name: String,
        html: String,
        shown: Option<String>,
        refused: Option<String>,
    }
    let vectors = include_str!("../../../../docs/vectors/html.json");
    let vectors: Vectors = serde_json::from_str(vectors).unwrap();
    assert!(vectors.pages.len() > 60, "{}", vectors.pages.len());
    for Page { name, html, shown, refused } in vectors.pages {
        let outcome = super::text(&html).map_err(|why| match why {
            CannotShowHtml::Has(what) => what,
            CannotShowHtml::TooLarge => "too large".to_owned(),
        });
        let expected = match (shown, refused) {
            (Some(shown), None) => Ok(shown),
            (None, Some(refused)) => Err(refused),
            both => panic!("{name}: {both:?}"),
        };
        assert_eq!(outcome, expected, "{name}: {html}");
    }
}

/// Every element of the HTML Living Standard, and every obsolete one that it names (§16.2).
const ELEMENTS: &str = "a abbr address area article aside audio b base bdi bdo blockquote body br button \
    canvas caption cite code col colgroup data datalist dd del details dfn dialog div dl dt em embed \
    fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe img input \
    ins kbd label legend li link main map mark math menu meta meter nav noscript object ol optgroup option \
    output p picture pre progress q rp rt ruby s samp script search section select selectedcontent slot \
    small source span strong style sub summary sup svg table tbody td template textarea tfoot th thead \
    time title tr track u ul var video wbr applet acronym bgsound dir frame frameset noframes isindex \
    keygen listing menuitem nextid noembed param plaintext rb rtc strike xmp basefont big blink center font \
    marquee multicol nobr spacer tt image fencedframe portal geolocation x-custom o:p svg:text";

/// Every attribute of the HTML Living Standard except event handlers, and obsolete ones.
const ATTRIBUTES: &str = "abbr accept accept-charset accesskey action allow allowfullscreen alpha alt as \
    async autocapitalize autocomplete autocorrect autofocus autoplay blocking charset checked cite class \
    closedby color colorspace cols colspan command commandfor content contenteditable controls coords \
    crossorigin data datetime decoding default defer dir dirname disabled download draggable enctype \
    enterkeyhint fetchpriority for form formaction formenctype formmethod formnovalidate formtarget \
    headers headingoffset headingreset height hidden high href hreflang http-equiv id imagesizes \
    imagesrcset inert inputmode integrity is ismap itemid itemprop itemref itemscope itemtype kind label \
    lang list loading loop low max maxlength media method min minlength multiple muted name nomodule nonce \
    novalidate open optimum pattern ping placeholder playsinline popover popovertarget \
    popovertargetaction poster preload readonly referrerpolicy rel required reversed rows rowspan sandbox \
    scope selected shadowrootclonable shadowrootcustomelementregistry shadowrootdelegatesfocus \
    shadowrootmode shadowrootserializable shape size sizes slot span spellcheck src srclang srcset start \
    step style tabindex target title translate type usemap value width wrap writingsuggestions align \
    alink background bgcolor border cellpadding cellspacing char charoff clear clip compact face frame \
    hspace link marginheight marginwidth noshade nowrap rules scrolling text valign vlink vspace summary \
    version longdesc profile rev archive classid code codebase codetype declare standby x-new-attribute";

#[test]
fn every_element_of_the_standard_has_its_text_shown_or_is_marked_or_refused() {
    let (mut shown, mut marked, mut refused) = (0, 0, 0);
    for name in ELEMENTS.split_whitespace() {
        // The parser accepts some elements only inside certain others.
        let page = match name {
            "caption" | "thead" | "tbody" | "tfoot" => format!("<table><{name}>word</table>"),
            "tr" | "td" | "th" => format!("<table><tr><{name}>word</table>"),
            "col" | "colgroup" => format!("<table><{name}></table>word"),
            "frame" => "<frameset><frame src=x></frameset>".to_owned(),
            "frameset" => "<frameset></frameset>".to_owned(),
            name => format!("<{name}>word</{name}>"),
        };
        match super::text(&page) {
            Err(CannotShowHtml::Has(what)) if what == name || name.starts_with("frame") => {
                refused += 1;
            }
            Err(why) => panic!("{name}: {why}"),
            Ok(text) if text.contains(&format!("not shown here: {name}]")) => marked += 1,
            // Elements without text, by the rule.
            Ok(text) if text.contains("word") => shown += 1,
            Ok(text) => panic!("{name}: {text:?}"),
        }
    }
    assert!(shown > 80 && marked > 15 && refused > 9, "{shown} {marked} {refused}");
}

#[test]
fn every_attribute_of_the_standard_is_shown_or_marked_or_named_as_never_seen() {
    let page = include_str!("../../../../docs/showing-html.md");
    let unseen = words_of(page, "Never seen, of any element:");
    let mut judged = 0;
    for element in ELEMENTS.split_whitespace() {
        for name in ATTRIBUTES.split_whitespace() {
            judged += 1;
            let by_rule = rule::attribute(element, name, "word");
            let is_refused = (element, name) == ("meta", "http-equiv");
            let is_named = unseen.contains(name)
                || (matches!(element, "link" | "meta") && !is_refused)
                || is_named_for(page, element, name);
            assert_eq!(by_rule == AttributeTreatment::Unseen, is_named, "{element} {name}");
        }
    }
    assert!(judged > 10_000);
    for name in ["onclick", "onload", "onanything", "srcdoc"] {
        assert_eq!(rule::attribute("p", name, ""), AttributeTreatment::Refused, "{name}");
    }
}

/// `cols`, `col` and similar names share one row.
fn is_named_for(page: &str, element: &str, name: &str) -> bool {
    let rows = page.lines().filter_map(|line| line.strip_prefix("Never seen, of some: "));
    rows.flat_map(|row| row.split(", "))
        .any(|pair| pair.trim_end_matches('.').trim_matches('`') == format!("{element} {name}"))
}

/// The names in backquotes of the row that begins with `start`.
fn words_of<'a>(page: &'a str, start: &str) -> BTreeSet<&'a str> {
    let line = page.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_default();
    line.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_documentation_lists_every_element_with_its_treatment() {
    let page = include_str!("../../../../docs/showing-html.md");
    for (start, is) in [
        ("Refused:", (|one| one == Treatment::Refused) as fn(Treatment) -> bool),
        ("Text within the line:", |one| one == Treatment::Inline),
        ("Lines of their own:", |one| matches!(one, Treatment::Block { is_apart: false })),
        ("Lines of their own, with an empty line around:", |one| {
            matches!(one, Treatment::Block { is_apart: true })
        }),
    ] {
        let named = words_of(page, start);
        assert!(!named.is_empty(), "{start}");
        for name in &named {
            assert!(is(rule::element(name)), "{start} {name}");
        }
        for name in ELEMENTS.split_whitespace().filter(|name| is(rule::element(name))) {
            assert!(named.contains(name), "{start} {name}");
        }
    }
}

#[test]
fn a_page_keeps_its_structure_as_text() {
    let page = r#"<!DOCTYPE html><html><head><title>Order</title></head>
        <body><h1>Confirm the   transfer</h1>
        <p>Dear <b>Ann</b>,<br>please <i>confirm</i>:</p>
        <table><caption>The transfer</caption><thead><tr><th>What</th><th>Value</th><th>Note</th></tr></thead>
          <tr><td>To</td><td><p>Bob</p></td><td></td></tr>
          <tr><td>Amount</td><td>10<sup>3</sup> €</td><td>was <del>5</del></td></tr></table>
        <ol start=3><li>Read<ul><li>all</li><li>of it</li></ul></li><li>Sign</li></ol>
        <p>See <a href="https://bank.example/t?id=7">the terms</a> or
        <a href="https://bank.example/">https://bank.example/</a>.</p>
        <blockquote>Never <q>share</q> codes</blockquote>
        <pre>a  b
	c</pre><hr><img src="x.png" alt="A map"><input type=checkbox checked> I agree
        </body></html>"#;
    expect![[r"
        Order

        Confirm the transfer

        Dear Ann,
        please confirm:

        The transfer
        What | Value | Note
        To | Bob |
        Amount | 10^(3) € | was [struck out: 5]

        3. Read
          - all
          - of it
        4. Sign

        See the terms <https://bank.example/t?id=7> or https://bank.example/.

          Never “share” codes

        a  b
            c

        ----------
        [image: A map][x] I agree"]]
    .assert_eq(&text(page));
}

#[test]
fn hidden_text_is_shown() {
    for (page, read) in [
        ("<!-- a -->b<!-- c", "b"),
        ("<noscript>a</noscript><xmp><b></xmp><textarea><i></textarea>", "a\n\n<b>\n\n<i>"),
        ("<plaintext>a<b>", "a<b>"),
        ("<table><b>before</b><tr><td>1<td>2</table>", "before\n\n1 | 2"),
        ("<title>t</title>a<option>1<option>2", "t\na\n1\n2"),
        ("<input type=hidden value=5><button>Pay</button>", "[hidden: 5][Pay]"),
        ("<p hidden>Pay 5</p><details><summary>More</summary>Pay 9</details>", {
            "[hidden: Pay 5]\n\nMore\nPay 9"
        }),
        ("<img alt=a hidden>b", "[hidden: [image: a]]b"),
    ] {
        assert_eq!(text(page), read, "{page}");
    }
}

#[test]
fn a_link_is_shown_with_its_real_address() {
    for (page, read) in [
        ("<a href='https://evil.example/'>https://bank.example/</a>", {
            "https://bank.example/ <https://evil.example/>"
        }),
        ("<a href='/terms'>Terms</a>.", "Terms </terms>."),
        ("<a href='mailto:ann@example.com'></a>", "<mailto:ann@example.com>"),
        ("<a href='https://a.example/\u{202e}\u{1b}[2J'>x</a>", {
            "x <https://a.example/⟨U+202E⟩⟨U+001B⟩[2J>"
        }),
        ("<a href='https://a.example/'><img alt='b'></a>", "[image: b] <https://a.example/>"),
        ("<a href='https://a/'><table><tr><td>b</table></a>", "b\n\n<https://a/>"),
    ] {
        assert_eq!(text(page), read, "{page}");
    }
}

#[test]
fn no_spelling_of_a_control_character_moves_the_cursor() {
    for (page, read) in [
        ("<b>a\u{1b}[2Jb", "a⟨U+001B⟩[2Jb"),
        ("a&#27;[2J&#x9b;1A&#x202E;b&rlm;&shy;", "a⟨U+001B⟩[2J›1A⟨U+202E⟩b⟨U+200F⟩⟨U+00AD⟩"),
        ("<pre>a\rb\u{8}\tc</pre>", "a\nb⟨U+0008⟩    c"),
        ("<img alt='a&#10;b&#13;'>", "[image: a⟨U+000A⟩b]"),
        ("<input value='a&#x9;x&#x7;'>", "[a⟨U+0009⟩x⟨U+0007⟩]"),
        ("<p>a\u{0}b\u{2028}c", "ab⟨U+2028⟩c"),
        ("<x\u{202e}y>a", "[not shown here: x⟨U+202E⟩y]a"),
        ("<p x\u{202e}y>a", "a\n\n[not shown here: x⟨U+202E⟩y]"),
    ] {
        assert_eq!(text(page), read, "{page:?}");
    }
}

#[test]
fn empty_lines_do_not_push_text_out_of_sight() {
    let page =
        format!("<p>Pay 5</p>{}<p></p><pre>{}</pre>Pay 9", "<br>".repeat(500), "\n".repeat(500));
    assert_eq!(text(&page), "Pay 5\n\nPay 9");
    let nested = "<ul><li>".repeat(300) + "x";
    let widest = text(&nested).lines().map(str::len).max();
    assert!(widest < Some(40), "{widest:?}");
}

#[test]
fn every_cell_is_distinct_from_its_neighbour() {
    let page = "<table><tr><td></td><td>a</td><td></td></tr><tr><td><p>b</p><p>c</p></td><td>d</td></tr>\
                <tr></tr><tr><td><table><tr><td>e</td><td>f</td></tr></table></td></tr></table>";
    assert_eq!(text(page), " | a |\nb\n\nc\nd\ne | f");
}

#[test]
fn text_without_markup_is_shown_unchanged() {
    for source in [
        "",
        "=",
        "Pay 5 €\n  to Ann & Bob; now, if 1 < 2",
        r#"{"html": "<b>Pay</b>", "amount": 5}"#,
        "[1, 2]\n",
    ] {
        assert_eq!(text(source), source);
    }
    assert_eq!(text("Pay 5&nbsp;&euro;"), "Pay 5\u{a0}€");
    assert_eq!(text(r#"{"broken": <b>x</b>"#), r#"{"broken": x"#);
}

#[test]
fn a_page_with_too_large_a_tree_is_refused_early() {
    let page = (0..3000).map(|at| format!("<p><b c={at}>x")).collect::<Vec<_>>().concat();
    assert_eq!(super::text(&page), Err(CannotShowHtml::TooLarge));
    let large = format!("<table>{}</table>", "<tr><td><b>1</b></td><td>2</td></tr>".repeat(1500));
    assert_eq!(text(&large), "1 | 2\n".repeat(1500).trim_end());
    let deep = "<div>".repeat(13_000) + "x";
    assert_eq!(text(&deep), "x");
}

/// Pages of fragments that have a meaning to a parser or a terminal.
fn pages() -> impl Strategy<Value = String> {
    let letters = any::<char>().prop_map(|letter| letter.to_string());
    let references = any::<u32>().prop_map(|number| format!("&#{};", number % 0x11_0000));
    let names = proptest::sample::select(ELEMENTS.split_whitespace().collect::<Vec<_>>());
    let starts = (names.clone(), "( (href|alt|value|start|title|hidden|dir|x)=[\"']?[^>]{0,9})?");
    let pieces = prop_oneof![
        letters,
        references,
        "[ \t\r\n\u{1b}\u{9b}\u{202e}\u{200f}&;<>'\"=/!-]{1,4}",
        starts.prop_map(|(name, rest)| format!("<{name}{rest}>")),
        names.prop_map(|name| format!("</{name}>")),
    ];
    proptest::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.concat())
}

/// UAX #9, table 4.
const BIDI: &[char] = &[
    '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}',
    '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
];

proptest! {
    #[test]
    fn no_page_sends_a_control_to_a_terminal(page in pages()) {
        if let Ok(read) = super::text(&page) {
            prop_assert_eq!(&display::text(&read), &read);
            let acts = |letter: char| letter != '\n' && (letter.is_control() || BIDI.contains(&letter));
            prop_assert_eq!(read.chars().find(|letter| acts(*letter)), None);
        }
    }

    #[test]
    fn plain_text_is_shown_or_marked(before in pages(), word in "[a-z]{12}") {
        // After the ends of all elements that swallow text.
        let swallowing = ["title", "textarea", "style", "xmp", "noframes", "noembed", "plaintext"];
        let ends = swallowing.map(|name| format!("</{name}>")).concat();
        if let Ok(read) = super::text(&format!("{before}\"'>'\">-->{ends}<p>{word}</p>")) {
            prop_assert!(read.contains(&word) || read.contains("[not shown here: "), "{}", read);
        }
    }
}
