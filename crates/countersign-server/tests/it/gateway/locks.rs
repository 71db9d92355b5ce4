//! Wrong codes and wrong PINs: what each costs, what neither touches, and that a lock holds at every call.

use countersign_device::{Code, Pin, gateway};
use reqwest::StatusCode;
use serde_json::json;
use tokio::time::{Duration, Instant};

use super::{FIELDS, JANE, Stage, other, text};
use crate::house::payment;
use crate::person::Person;

const THREE: &str = "[locks]\nwrong_max = 3\nfirst_seconds = 3600\n";

impl Stage {
    /// Jane, whose phone has a PIN, as well.
    async fn with_pin(configuration: &str) -> Self {
        let mut stage = Self::configured(configuration).await;
        stage.jane = Person::enrolled(&stage.house, "jane", Some("2580")).await;
        stage
    }

    /// So many wrong codes for a new transaction; the last one's status.
    async fn wrong_codes(&self, count: usize) -> String {
        let key = self.request().await;
        let content = self.fetch(&key).await;
        let wrong = other(&gateway::code(self.jane.phone(), &content).unwrap());
        let mut told = String::new();
        for _ in 0..count {
            told = self.complete(&key, &wrong).await.0;
        }
        told
    }

    /// A right code for a new transaction; its status.
    async fn right_code(&self) -> String {
        let key = self.request().await;
        let content = self.fetch(&key).await;
        let code = gateway::code(self.jane.phone(), &content).unwrap();
        self.complete(&key, &code).await.0
    }

    /// Wrong PINs for a new transaction, and the right one then, if so said; the last refusal.
    async fn pins(&mut self, reference: &str, wrong: usize, right: bool) -> Option<Code> {
        let mut request = payment(reference);
        request["pinRequired"] = json!(true);
        request["callbackUrl"] = json!("https://shop.example/");
        let (status, answer) = self.house.start_signature("jane", &request).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        let mut offer = self.jane.device.next_offer().await.unwrap();
        while !offer.pin_required {
            offer = self.jane.device.next_offer().await.unwrap();
        }
        let mut refused = None;
        for _ in 0..wrong {
            let guess = Pin::parse("1111").unwrap();
            refused = self.jane.device.take(&offer, Some(&guess)).await.unwrap_err().code();
        }
        if right {
            let pin = Pin::parse("2580").unwrap();
            let shown = self.jane.device.take(&offer, Some(&pin)).await.unwrap();
            self.jane.device.approve(&shown, None).await.unwrap();
        }
        refused
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_pin_takes_back_no_wrong_code() {
    let mut stage = Stage::with_pin(THREE).await;
    assert_eq!(stage.wrong_codes(2).await, "STAT_INVCREDENTIALS");
    assert_eq!(stage.pins("right", 2, true).await, Some(Code::WrongPin), "counted apart");
    assert_eq!(stage.wrong_codes(1).await, "STAT_LOCKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_code_takes_back_no_wrong_pin_and_all_wrong_codes() {
    let mut stage = Stage::with_pin(THREE).await;
    assert_eq!(stage.pins("wrong", 2, false).await, Some(Code::WrongPin));
    assert_eq!(stage.wrong_codes(2).await, "STAT_INVCREDENTIALS");
    assert_eq!(stage.right_code().await, "STAT_SUCCESS");
    assert_eq!(stage.wrong_codes(2).await, "STAT_INVCREDENTIALS", "they begin again");
    assert_eq!(stage.right_code().await, "STAT_SUCCESS");
    assert_eq!(stage.pins("locks", 1, false).await, Some(Code::Locked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_user_is_refused_at_start_fetch_and_completion_until_somebody_unlocks_them() {
    let stage = Stage::new().await;
    let (taken, waiting) = (stage.request().await, stage.request().await);
    let content = stage.fetch(&taken).await;
    let code = gateway::code(stage.jane.phone(), &content).unwrap();
    stage.house.cli(&["user", "lock", "jane", "--tenant", "acme"]).unwrap();
    for (command, parameters) in [
        ("genRequest", format!("{JANE}{FIELDS}")),
        ("authSignatureRequest", format!("{JANE}<push>{FIELDS}</push>")),
        ("authUserRequest", format!("{JANE}<push/>")),
    ] {
        let refused = stage.soap(command, &parameters).await;
        assert_eq!(text(&refused, "statusCodeEnum"), "STAT_LOCKED", "{command}");
    }
    assert_eq!(stage.fetch_status(&waiting, &stage.serial()).await, "STAT_LOCKED");
    assert_eq!(stage.complete(&taken, &code).await.0, "STAT_LOCKED");
    assert_eq!(stage.complete(&taken, &other(&code)).await.0, "STAT_LOCKED", "no guess is heard");
    assert_eq!(stage.state(&taken), "taken");

    stage.house.cli(&["user", "unlock", "jane", "--tenant", "acme"]).unwrap();
    assert_eq!(stage.complete(&taken, &code).await.0, "STAT_SUCCESS");
    stage.fetch(&waiting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_device_is_refused_and_the_users_other_one_is_not() {
    let stage = Stage::new().await;
    let tablet = Person::enrolled(&stage.house, "jane", None).await;
    let (taken, waiting) = (stage.request().await, stage.request().await);
    let content = stage.fetch(&taken).await;
    let code = gateway::code(stage.jane.phone(), &content).unwrap();
    let id = stage.jane.phone().device_id.to_string();
    stage.house.cli(&["device", "lock", &id, "--tenant", "acme"]).unwrap();
    assert_eq!(stage.complete(&taken, &code).await.0, "STAT_LOCKED");
    assert_eq!(stage.fetch_status(&waiting, &stage.serial()).await, "STAT_LOCKED");
    let tablets = stage.fetch_status(&waiting, &tablet.phone().serial_number).await;
    assert_eq!(tablets, "STAT_SUCCESS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_by_policy_opens_by_itself_and_the_next_one_is_twice_as_long() {
    let locks = "[locks]\nwrong_max = 1\nfirst_seconds = 1\nmax_seconds = 3600\n";
    let stage = Stage::configured(locks).await;
    let mut lasted = Vec::new();
    for _ in 0..2 {
        assert_eq!(stage.wrong_codes(1).await, "STAT_LOCKED");
        let begun = Instant::now();
        let opened = async {
            let ask = format!("{JANE}{FIELDS}");
            while text(&stage.soap("genRequest", &ask).await, "statusCodeEnum") == "STAT_LOCKED" {}
        };
        tokio::time::timeout(Duration::from_mins(1), opened).await.expect("it opens by itself");
        lasted.push(begun.elapsed());
    }
    assert!(lasted[0] >= Duration::from_millis(800), "{lasted:?}");
    assert!(lasted[1] >= Duration::from_millis(1_800), "{lasted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_malformed_or_of_another_form_counts_for_nothing() {
    let stage = Stage::configured(THREE).await;
    assert_eq!(stage.wrong_codes(2).await, "STAT_INVCREDENTIALS");
    for _ in 0..4 {
        let key = stage.request().await;
        let content = stage.fetch(&key).await;
        for neither in ["@", "12345", "=", "3833-791"] {
            assert_eq!(stage.complete(&key, neither).await.0, "STAT_INVPARAM", "{neither}");
        }
        assert_eq!(stage.complete(&key, "AAAAAAAAAAAAAAAAAAAAAAAA").await.0, "STAT_INVCREDENTIALS");
        assert_eq!(stage.cancel(&key).await, "STAT_INVPARAM");
        let message = gateway::information(stage.jane.phone(), &content, &key).unwrap();
        assert_eq!(stage.cancel(&message).await, "STAT_SUCCESS");
    }
    assert_eq!(stage.wrong_codes(1).await, "STAT_LOCKED", "and takes nothing back either");
}
