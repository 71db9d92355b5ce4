//! The tables of `docs/kobil.md`, held against the program.

use std::collections::BTreeSet;

use countersign_core::limits::{
    CALLBACK_HEADERS_MAX, CALLBACK_URL_BYTES_MAX, CLOCK_MAX, CONTENT_BYTES_MAX, NAME_BYTES_MAX,
    NOTICE_BYTES_MAX, PROFILE_BYTES_MAX, ROWS_MAX,
};
use countersign_wire::limits::CODE_BYTES_MAX;
use serde::de::value::Error as ValueError;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde_json::Value;

use crate::activations::body::{ActivationFields, NewCode};
use crate::body::{Cancel, CancelFields, Start, StartFields};
use crate::users::body::{NewUser, UserFields};

const PAGE: &str = include_str!("../../../../docs/kobil.md");
const RENDER: &str = include_str!("render.rs");
const RECORDINGS: [&str; 6] = [
    include_str!("../../../countersign-server/tests/it/transcripts/kobil-activation.http"),
    include_str!("../../../countersign-server/tests/it/transcripts/kobil-devices.http"),
    include_str!("../../../countersign-server/tests/it/transcripts/kobil-refusals.http"),
    include_str!("../../../countersign-server/tests/it/transcripts/kobil-signature.http"),
    include_str!("../../../countersign-server/tests/it/transcripts/kobil-traps.http"),
    include_str!("../../../countersign-server/tests/it/transcripts/kobil-users.http"),
];

type Names = BTreeSet<String>;

fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> Names {
    names.into_iter().map(str::to_owned).collect()
}

/// The section of the page below this heading.
fn section(heading: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("# {heading}\n")).expect("the page has the heading");
    rest.split("\n#").next().unwrap()
}

/// The names in the first column of the section's tables.
fn listed(heading: &str) -> Names {
    let rows = section(heading).lines().filter_map(|line| line.strip_prefix("| `"));
    let first = rows.map(|row| row.split('|').next().unwrap());
    first.flat_map(|names| names.split('`').step_by(2)).map(str::to_owned).collect()
}

/// A deserializer that answers the names of the struct that it is asked for, aliases included.
struct Members;

impl<'de> Deserializer<'de> for Members {
    type Error = ValueError;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ValueError> {
        Err(ValueError::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, ValueError> {
        Err(ValueError::custom(fields.join(" ")))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn parsed<T: DeserializeOwned>() -> Names {
    let told = T::deserialize(Members).err().expect("it is not read").to_string();
    names(told.split(' '))
}

/// The recorded answers of KOBIL's calls.
fn answers() -> Vec<Value> {
    let bodies = RECORDINGS.iter().flat_map(|recording| recording.lines());
    let answers = bodies
        .filter(|line| line.ends_with("\"subSystem\":5}") || line.ends_with("\"subSystem\":6}"));
    answers.map(|line| serde_json::from_str(line).expect("an answer is JSON")).collect()
}

/// The members of `data` in the recorded answers in which it has this member.
fn answered(with: &str) -> Names {
    let all = answers();
    let data = all.iter().map(|answer| &answer["data"]);
    let rows =
        data.flat_map(|data| data.as_array().map_or(std::slice::from_ref(data), Vec::as_slice));
    let rows = rows.filter_map(Value::as_object).filter(|row| row.contains_key(with));
    rows.flat_map(|row| row.keys().cloned()).collect()
}

#[test]
fn the_page_lists_each_member_that_a_body_may_have_and_no_other() {
    assert_eq!(listed("Members of a start"), parsed::<StartFields>());
    assert_eq!(listed("Members of a cancel"), parsed::<CancelFields>());
    assert_eq!(listed("Members of a new user"), parsed::<UserFields>());
    let mut code = parsed::<ActivationFields>();
    code.extend(names(["responseQrType", "qrCode"]));
    assert_eq!(listed("Members of a new activation code"), code);
}

#[test]
fn the_page_lists_each_member_that_an_answer_has_and_no_other() {
    let envelope = answers().iter().flat_map(|a| a.as_object().unwrap().keys().cloned()).collect();
    assert_eq!(listed("The envelope"), envelope);
    for (heading, member) in [
        ("The result", "resultCode"),
        ("The answer to a cancel", "cancelResult"),
        ("Members of user info", "emailVerified"),
        ("Members of a device", "issuerDN"),
        ("Members of an activation code", "codeCount"),
    ] {
        assert_eq!(listed(heading), answered(member), "{heading}");
    }
}

#[test]
fn the_page_lists_each_status_and_each_result_code_and_no_other() {
    let program = RENDER.split("#[cfg(test)]").next().unwrap();
    let is_status = |text: &&str| {
        let is_word = |c: char| c.is_ascii_uppercase() || c == '_';
        matches!(*text, "Success" | "Unauthorized") || (text.len() > 1 && text.chars().all(is_word))
    };
    let literals = program.split('"').skip(1).step_by(2).filter(is_status);
    let of_cancels =
        |text: &&str| !text.starts_with("TRANSACTION_D") && !text.starts_with("TRANSACTION_R");
    assert_eq!(listed("Statuses"), names(literals.filter(of_cancels)));
    let (_, codes) = program.split_once("fn result_code").unwrap();
    let codes = codes.split("\n}").next().unwrap().split('"').skip(1).step_by(2).filter(is_status);
    assert_eq!(listed("Result codes"), names(codes));
}

#[test]
fn the_page_has_the_bounds_of_the_program() {
    for (heading, member, bound) in [
        ("Members of a start", "transactionId", NAME_BYTES_MAX),
        ("Members of a start", "deviceGoOnlineTimeout", CLOCK_MAX.as_secs() as usize),
        ("Members of a start", "signatureTimeout", CLOCK_MAX.as_secs() as usize),
        ("Members of a start", "pushNotificationMessage", NOTICE_BYTES_MAX),
        ("Members of a start", "signatureMessage", CONTENT_BYTES_MAX / 1024),
        ("Members of a start", "signatureMessageItems", ROWS_MAX),
        ("Members of a start", "callbackUrl", CALLBACK_URL_BYTES_MAX),
        ("Members of a start", "callBackHeaders", CALLBACK_HEADERS_MAX),
        ("Members of a new user", "username", NAME_BYTES_MAX),
        ("Members of a new user", "firstName", PROFILE_BYTES_MAX / 1024),
        ("Members of a new activation code", "activationCode", CODE_BYTES_MAX),
    ] {
        let begin = format!("| `{member}`");
        let row = section(heading).lines().find(|line| line.starts_with(&begin)).expect(member);
        let mut numbers = row.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok());
        assert!(numbers.any(|number: usize| number == bound), "{member}: {bound} is not in: {row}");
    }
}

/// The bodies of the section's examples: a request's, then its answer's.
fn examples(heading: &str) -> Vec<&'static str> {
    let blocks = section(heading).split("```http\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    blocks.map(|block| block.split_once("\n\n").map_or("", |(_, body)| body.trim())).collect()
}

#[test]
fn the_examples_are_read_and_their_answers_have_the_members_of_the_tables() {
    let start = examples("Example of a start");
    let parsed = Start::parse(start[0].as_bytes(), &"jane".parse().unwrap()).unwrap();
    assert_eq!(parsed.reference.name, "order-7");
    Cancel::parse(examples("Example of a cancel")[0].as_bytes()).unwrap();
    NewUser::parse(examples("Example of a user")[0].as_bytes()).unwrap();
    NewCode::parse(examples("Example of an activation code")[0].as_bytes()).unwrap();
    for (example, members) in [
        ("Example of a start", "The result"),
        ("Example of a cancel", "The answer to a cancel"),
        ("Example of a user", "Members of user info"),
        ("Example of an activation code", "Members of an activation code"),
    ] {
        let answer: Value = serde_json::from_str(examples(example)[1]).unwrap();
        let data = &answer["data"];
        let row = if data.is_array() { &data[0] } else { data };
        let own: Names = row.as_object().unwrap().keys().cloned().collect();
        let listed = listed(members);
        assert!(own.is_subset(&listed), "{example}: {own:?}");
        assert!(!answer["status"].as_str().unwrap().is_empty());
    }
}
