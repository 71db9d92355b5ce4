//! Lists that are read in parts: the note on standard error says how to go on.

use std::process::{Command, Output};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment};

fn list(server: &TestServer, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(words).args(["--tenant", "acme", "--json", "--data"]).arg(server.data());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

/// The rows of a list in parts of `limit`, each begun as the note of the part before says.
fn parts(server: &TestServer, words: &[&str], flag: &str, limit: &str) -> Vec<Vec<Value>> {
    let (mut parts, mut next) = (Vec::new(), None::<String>);
    loop {
        let mut all = [words, &["--limit", limit]].concat();
        if let Some(next) = &next {
            all.extend([flag, next]);
        }
        let output = list(server, &all);
        let text = String::from_utf8(output.stdout).unwrap();
        parts.push(match serde_json::from_str(&text) {
            Ok(Value::Array(rows)) => rows,
            _ => text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        });
        let note = String::from_utf8(output.stderr).unwrap();
        let told = note.strip_prefix(&format!("There are more: {flag} "));
        next = told.and_then(|told| told.split(' ').next()).map(str::to_owned);
        if next.is_none() {
            assert_eq!(note, "", "no note after the last row");
            return parts;
        }
    }
}

#[tokio::test]
async fn a_list_goes_on_where_the_note_says() {
    let server = TestServer::new();
    server.user("jane");
    let _phone = TestDevice::enrolled(&server, "jane", None).await;
    for number in 0..5 {
        let mut request = payment(&format!("order-{number}"));
        request["callbackUrl"] = json!("https://nowhere.example/");
        let (status, answer) = server.start_signature("jane", &request).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        if number > 0 {
            let (status, answer) = server.cancel("jane", &format!("order-{number}")).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
        }
    }
    for (words, flag, rows) in [
        (&["transaction", "list"][..], "--cursor", 5),
        (&["transaction", "list", "--state", "cancelled"], "--cursor", 4),
        (&["delivery", "list"], "--cursor", 4),
        (&["history", "--kind", "transaction"], "--after", 9),
    ] {
        let whole = parts(&server, words, flag, "100");
        assert_eq!((whole.len(), whole[0].len()), (1, rows), "{words:?}");
        for limit in ["1", "2", "4", "5"] {
            let parts = parts(&server, words, flag, limit);
            let most = limit.parse().unwrap();
            assert_eq!(parts.len(), rows.div_ceil(most), "{words:?} {limit}");
            assert!(parts.iter().all(|part| part.len() <= most), "{words:?} {limit}");
            let ids = |rows: &[Value]| -> Vec<String> {
                rows.iter().map(|row| format!("{}{}", row["id"], row["number"])).collect()
            };
            assert_eq!(ids(&parts.concat()), ids(&whole[0]), "{words:?} {limit}");
        }
    }
    let wrong = server.cli(&["transaction", "list", "--tenant", "acme", "--cursor", "x"]);
    assert!(wrong.unwrap_err().stderr.contains("not a cursor"));
}
