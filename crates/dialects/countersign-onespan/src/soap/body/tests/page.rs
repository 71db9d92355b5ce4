//! The tables of `docs/onespan.md`, held against the parser.

use std::collections::BTreeSet;

use super::super::attributes::{
    AUTH_SIGNATURE, AUTH_SIGNATURE_UNUSED, GEN_REQUEST, GEN_REQUEST_UNUSED,
};
use super::super::logins::{AUTH_USER, AUTH_USER_UNUSED, CHALLENGE, CHALLENGE_UNUSED};
use super::*;

const PAGE: &str = include_str!("../../../../../../../docs/onespan.md");

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
            SoapCommand::AuthUser | SoapCommand::AuthenticationChallenge => continue,
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
}
