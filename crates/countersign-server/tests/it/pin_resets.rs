//! A forgotten PIN: an operator has it reset, if the configuration allows it.

use std::process::Command;

use countersign_device::{Code, Error, Pin};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::test_device::TestDevice;
use crate::test_server::{Failed, TestServer, payment};

const ALLOWED: &str = "[locks]\npin_reset = \"allowed\"\n";

fn pin(text: &str) -> Pin {
    Pin::parse(text).unwrap()
}

fn reset(server: &TestServer, device: &str) -> Result<Value, Failed> {
    server.cli(&["pin", "reset", device, "--tenant", "acme"])
}

async fn start(server: &TestServer, reference: &str) {
    let mut request = payment(reference);
    request["pinRequired"] = json!(true);
    request["callbackUrl"] = json!("https://shop.example/");
    let (status, answer) = server.start_signature("jane", &request).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test]
async fn a_pin_that_was_reset_is_set_anew_and_the_old_one_opens_nothing() {
    let server = TestServer::configured(ALLOWED);
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", Some("2580")).await.polling();
    // The PIN's version is 2 from here on.
    jane.device.change_pin(&pin("2580"), &pin("2468")).await.unwrap();
    start(&server, "first").await;
    let offer = jane.device.next_offer().await.unwrap();

    let (id, serial) = (jane.phone().device_id.to_string(), jane.phone().serial_number.clone());
    let (yes, no) = (json!(true), json!(false));
    assert_eq!(reset(&server, &serial).unwrap()["existed"], yes);
    assert_eq!(reset(&server, &id).unwrap()["existed"], no, "done already");
    let show = ["device", "show", &id, "--tenant", "acme"];
    assert_eq!(server.cli(&show).unwrap()["pin_set"], no);

    let old = jane.device.take(&offer, Some(&pin("2468"))).await.unwrap_err();
    assert!(matches!(old, Error::NoPin), "{old}");
    let none = jane.device.take(&offer, Some(&pin("2468"))).await.unwrap_err();
    assert!(matches!(none, Error::NoPin), "it is forgotten on the device too: {none}");
    jane.device.set_pin(&pin("7913")).await.unwrap();
    let wrong = jane.device.take(&offer, Some(&pin("2468"))).await.unwrap_err();
    assert_eq!(wrong.code(), Some(Code::WrongPin));
    let shown = jane.device.take(&offer, Some(&pin("7913"))).await.unwrap();
    jane.device.approve(&shown, None).await.unwrap();
    assert_eq!(server.transaction("first")["state"], "finished");

    let history = ["history", "--tenant", "acme", "--kind", "device.pin_reset"];
    let history = server.cli(&history).unwrap();
    assert_eq!(history.as_array().unwrap().len(), 1, "{history}");
    assert_eq!(history[0]["subject"], json!(format!("device:{id}")));
    assert!(history[0]["actor"].as_str().unwrap().starts_with("command-line:"), "{history}");
    let unknown = reset(&server, "999").unwrap_err();
    assert!(unknown.stderr.contains("has no device 999 in use"), "{}", unknown.stderr);
}

#[tokio::test]
async fn a_device_learns_of_a_reset_by_whichever_call_it_makes_of_its_pin() {
    let server = TestServer::configured(ALLOWED);
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", Some("2580")).await;
    let id = jane.phone().device_id.to_string();
    jane.device.change_pin(&pin("2580"), &pin("2468")).await.unwrap();
    reset(&server, &id).unwrap();
    let changed = jane.device.change_pin(&pin("2468"), &pin("7913")).await.unwrap_err();
    assert!(matches!(changed, Error::NoPin), "{changed}");
    jane.device.set_pin(&pin("7913")).await.unwrap();
    jane.device.change_pin(&pin("7913"), &pin("2468")).await.unwrap();
    reset(&server, &id).unwrap();
    jane.device.set_pin(&pin("1357")).await.unwrap();
    jane.device.change_pin(&pin("1357"), &pin("2468")).await.unwrap();

    reset(&server, &id).unwrap();
    let set = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
        command.args(["device", "set-pin", jane.file.to_str().unwrap(), "--json"]).args(words);
        command.output().unwrap()
    };
    let done = set(&["--pin", "4711", "--old", "2468"]);
    assert!(done.status.success(), "{done:?}");
    let done = set(&["--pin", "1234", "--old", "4711"]);
    assert!(done.status.success(), "{done:?}");
    let wrong = set(&["--pin", "5678", "--old", "4711"]);
    assert!(!wrong.status.success(), "{wrong:?}");
}

#[tokio::test]
async fn a_pin_is_not_reset_unless_the_configuration_allows_it() {
    let server = TestServer::new();
    server.user("jane");
    let jane = TestDevice::enrolled(&server, "jane", Some("2580")).await;
    let id = jane.phone().device_id.to_string();
    let refused = server.cli(&["pin", "reset", &id, "--tenant", "acme"]).unwrap_err();
    assert!(refused.stderr.contains("`[locks] pin_reset`"), "{}", refused.stderr);
    let show = ["device", "show", &id, "--tenant", "acme"];
    assert_eq!(server.cli(&show).unwrap()["pin_set"], true);
}
