//! The tables of `docs/onespan.md`, held against the parser.

use std::collections::BTreeSet;

use countersign_core::limits::SIGNATURE_BYTES_MAX;

use super::super::attributes::{
    AUTH_SIGNATURE, AUTH_SIGNATURE_UNUSED, GEN_REQUEST, GEN_REQUEST_UNUSED,
};
use super::super::logins::{AUTH_USER, AUTH_USER_UNUSED, CHALLENGE, CHALLENGE_UNUSED};
use super::*;
use crate::codes::Status;

const PAGE: &str = include_str!("../../../../../../../docs/onespan.md");
const TRANSCRIPT: &str =
    include_str!("../../../../../../countersign-server/tests/it/transcripts/onespan-soap.http");

/// The words in backquotes of one column of the table whose header begins with this cell.
fn column(head: &str, nth: usize) -> BTreeSet<String> {
    let (_, rest) = PAGE.split_once(&format!("\n| {head} |")).unwrap_or_else(|| panic!("{head}"));
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|line| line.split('|').nth(nth + 1));
    let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    words.map(|word| word.split('/').next().unwrap().to_owned()).collect()
}

fn set(names: &[&[&str]]) -> BTreeSet<String> {
    names.iter().flat_map(|names| names.iter().map(|&name| name.to_owned())).collect()
}

#[test]
fn each_attribute_that_is_accepted_has_a_row_and_each_row_is_accepted() {
    for (command, accepted) in [
        ("genRequest", set(&[&GEN_REQUEST, &GEN_REQUEST_UNUSED])),
        ("authSignature", set(&[&AUTH_SIGNATURE, &AUTH_SIGNATURE_UNUSED])),
        ("getSecureChallenge", set(&[&CHALLENGE, &CHALLENGE_UNUSED])),
        ("authUser", set(&[&AUTH_USER, &AUTH_USER_UNUSED])),
    ] {
        assert_eq!(column(&format!("attribute of `{command}`"), 0), accepted, "{command}");
    }
}

#[test]
fn each_element_that_is_accepted_has_a_row_and_each_row_is_accepted() {
    for command in SoapCommand::ALL {
        let (name, accepted) = (command.as_str(), set(&[command.elements()]));
        let listed = match command {
            SoapCommand::AuthUser | SoapCommand::GetSecureChallenge => continue,
            SoapCommand::GenRequest | SoapCommand::AuthSignature => {
                column(&format!("attribute of `{name}`"), 1)
            }
            _ => column(&format!("element of `{name}`"), 0),
        };
        assert_eq!(listed, accepted, "{name}");
    }
}

#[test]
fn the_pages_bounds_are_the_parsers() {
    assert_eq!((ROWS_MAX, CONTENT_BYTES_MAX, NAME_BYTES_MAX), (64, 65_536, 255));
    assert_eq!(SIGNATURE_BYTES_MAX, 98_304);
    assert!(PAGE.contains("base64 of at most 98,304 bytes"));
}

#[test]
fn each_status_has_a_row_with_its_number_and_its_words() {
    let row = |status: Status| {
        format!("| `{}` | {} | {} |", status.name(), status.number(), status.sentence())
    };
    let rows = Status::ALL.map(row).join("\n");
    let head = "as `SIGNFLD_STATUS_MESSAGE` has it |\n|---|---|---|";
    assert!(PAGE.contains(&format!("{head}\n{rows}\n\n")), "the page should have:\n{rows}");
    let named = PAGE.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
    for name in named.filter(|word| word.starts_with("STAT_")) {
        assert!(Status::ALL.iter().any(|status| status.name() == name), "{name}");
    }
}

/// The names of a text's tags, with `/` before those that end an element.
fn tags(xml: &str) -> String {
    let tags = xml.split('<').skip(1).filter_map(|rest| rest.split(['>', ' ']).next());
    tags.flat_map(|tag| ["<", tag, ">"]).collect()
}

#[test]
fn each_example_is_read_and_its_answer_is_built_as_a_real_one() {
    let real = tags(TRANSCRIPT);
    let examples: Vec<_> = PAGE.split("```xml\n").skip(1).collect();
    assert_eq!(examples.len(), 7, "one of each command of the vendor's");
    for example in examples {
        let (example, _) = example.split_once("```").unwrap();
        let (request, answer) = example.split_once("\n\n").unwrap();
        let call = find(request).unwrap();
        call.asked().unwrap_or_else(|BadParameter(sentence)| panic!("{sentence}: {request}"));
        assert!(real.contains(&tags(answer)), "no transcript has this answer: {answer}");
    }
}
