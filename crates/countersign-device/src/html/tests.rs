use expect_test::expect;
use proptest::prelude::*;

use super::*;

#[test]
fn a_page_reads_as_a_page() {
    let page = r#"<!DOCTYPE html><html><head><title>Order</title><style>p{display:none}</style></head>
        <body onload="go()"><h1>Confirm the   transfer</h1>
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
        <script>alert(1)</script></body></html>"#;
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
fn scripts_and_styles_are_gone_and_everything_else_is_there() {
    for (page, read) in [
        ("a<script>alert(1)</script>b", "ab"),
        ("a<SCRIPT>alert(1)//", "a"),
        ("<img src=x onerror=alert(1)>", "[image]"),
        ("<p style='display:none'>hidden</p><p hidden>too</p>", "hidden\n\ntoo"),
        ("<!-- a -->b<!-- c", "b"),
        ("<noscript>a</noscript><xmp><b></xmp><textarea><i></textarea>", "a<b>\n<i>"),
        ("<iframe src='https://x'>a</iframe><object>b</object>c", "abc"),
        ("<plaintext>a<b>", "a<b>"),
        ("<table><b>before</b><tr><td>1<td>2</table>", "before\n\n1 | 2"),
        ("<title>t</title>a<option>1<option>2", "t\na\n1\n2"),
        ("<input type=hidden value=5><button>Pay</button>", "[5][Pay]"),
        ("<x-amount>5</x-amount><o:p> €</o:p><span>!</span>", "5 €!"),
    ] {
        assert_eq!(text(page), read, "{page}");
    }
}

#[test]
fn what_is_left_out_is_told_of() {
    for page in [
        "<text>Pay 1000</text>Pay 5",
        "<mtext >Pay 1000</mtext>Pay 5",
        "<template shadowrootmode=open>Pay 1000</template>Pay 5",
        "<svg><foreignObject><p>Pay 1000</p></foreignObject></svg>Pay 5",
        "Pay 5<math><mtext>Pay 1000",
        "<SVG/onload=alert(1)></svg>Pay 5",
    ] {
        let read = text(page);
        assert_eq!(read, format!("Pay 5\n\n{LEFT_OUT}"), "{page}");
    }
}

#[test]
fn a_link_has_its_real_address() {
    for (page, read) in [
        ("<a href='https://evil.example/'>https://bank.example/</a>", {
            "https://bank.example/ <https://evil.example/>"
        }),
        ("<a href='/terms'>Terms</a>.", "Terms </terms>."),
        ("<a href='mailto:ann@example.com'></a>", "<mailto:ann@example.com>"),
        ("<a href='javascript:alert(1)'>x</a>", "x"),
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
fn nothing_moves_the_cursor_however_it_is_written() {
    for (page, read) in [
        ("<b>a\u{1b}[2Jb", "a⟨U+001B⟩[2Jb"),
        ("a&#27;[2J&#x9b;1A&#x202E;b&rlm;&shy;", "a⟨U+001B⟩[2J›1A⟨U+202E⟩b⟨U+200F⟩⟨U+00AD⟩"),
        ("<pre>a\rb\u{8}\tc</pre>", "a\nb⟨U+0008⟩    c"),
        ("<img alt='a&#10;b&#13;'>", "[image: a⟨U+000A⟩b]"),
        ("<input value='&#x9;x&#x7;'>", "[⟨U+0009⟩x⟨U+0007⟩]"),
        ("<p>a\u{0}b\u{2028}c", "ab⟨U+2028⟩c"),
    ] {
        assert_eq!(text(page), read, "{page:?}");
    }
}

#[test]
fn nothing_is_pushed_out_of_sight() {
    let page =
        format!("<p>Pay 5</p>{}<p></p><pre>{}</pre>Pay 9", "<br>".repeat(500), "\n".repeat(500));
    assert_eq!(text(&page), "Pay 5\n\nPay 9");
    let nested = "<ul><li>".repeat(300) + "x";
    let widest = text(&nested).lines().map(str::len).max();
    assert!(widest < Some(40), "{widest:?}");
}

#[test]
fn no_cell_looks_like_its_neighbour() {
    let page = "<table><tr><td></td><td>a</td><td></td></tr><tr><td><p>b</p><p>c</p></td><td>d</td></tr>\
                <tr></tr><tr><td><table><tr><td>e</td><td>f</td></tr></table></td></tr></table>";
    assert_eq!(text(page), " | a |\nb\n\nc\nd\ne | f");
}

#[test]
fn what_is_no_html_is_shown_as_it_is() {
    for source in [
        "",
        "=",
        "Pay 5 €\n  to Ann & Bob; now",
        r#"{"html": "<b>Pay</b>", "amount": 5}"#,
        "[1, 2]\n",
    ] {
        assert_eq!(text(source), source);
    }
    assert_eq!(text("Pay 5&nbsp;&euro;"), "Pay 5\u{a0}€");
    assert_eq!(text(r#"{"broken": <b>x</b>"#), r#"{"broken": x"#);
}

#[test]
fn a_page_that_would_be_too_much_of_a_tree_is_shown_as_its_source() {
    let page = (0..1000).map(|at| format!("<p><b c={at}>x")).collect::<Vec<_>>().concat();
    assert_eq!(text(&page), page);
    let large = format!("<table>{}</table>", "<tr><td><b>1</b></td><td>2</td></tr>".repeat(200));
    assert_eq!(text(&large), "1 | 2\n".repeat(200).trim_end());
}

/// Pages of all that has a meaning to a parser or a terminal.
fn pages() -> impl Strategy<Value = String> {
    let letters = any::<char>().prop_map(|letter| letter.to_string());
    let references = any::<u32>().prop_map(|number| format!("&#{};", number % 0x11_0000));
    let elements = ELEMENTS.iter().chain(FORMATTING).chain(PROGRAMS).copied();
    let others = ["svg", "math", "template", "noscript", "iframe", "xmp", "foreignObject", "mtext"];
    let names = proptest::sample::select(elements.chain(others).collect::<Vec<_>>());
    let starts = (names.clone(), "( (href|alt|value|start)=[\"']?[^>]{0,9})?");
    let pieces = prop_oneof![
        letters,
        references,
        "[ \t\r\n\u{1b}\u{9b}\u{202e}\u{200f}&;<>'\"=/!-]{1,4}",
        starts.prop_map(|(name, rest)| format!("<{name}{rest}>")),
        names.prop_map(|name| format!("</{name}>")),
    ];
    proptest::collection::vec(pieces, 0..60).prop_map(|pieces| pieces.concat())
}

/// UAX #9, table 4.
const BIDI: &[char] = &[
    '\u{61c}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202b}', '\u{202c}', '\u{202d}', '\u{202e}',
    '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
];

proptest! {
    #[test]
    fn no_page_acts_on_a_terminal(page in pages()) {
        let read = text(&page);
        prop_assert_eq!(&display::text(&read), &read);
        let acts = |letter: char| letter != '\n' && (letter.is_control() || BIDI.contains(&letter));
        prop_assert_eq!(read.chars().find(|letter| acts(*letter)), None);
    }

    #[test]
    fn what_is_plainly_written_is_read_or_told_of(before in pages(), word in "[a-z]{12}") {
        // After what ends everything that swallows text.
        let swallowing = ["title", "textarea", "style", "script", "xmp", "iframe", "noscript", "plaintext"];
        let ends = swallowing.map(|name| format!("</{name}>")).concat();
        let read = text(&format!("{before}\"'>'\">-->{ends}<p>{word}</p>"));
        prop_assert!(read.contains(&word) || read.ends_with(LEFT_OUT), "{}", read);
    }
}
