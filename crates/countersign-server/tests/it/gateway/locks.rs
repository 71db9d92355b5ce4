//! Wrong codes and wrong PINs: the effect of each, what they leave unaffected, and that a lock is
//! checked in every call.

use countersign_device::{Code, Pin, gateway};
use reqwest::StatusCode;
use serde_json::json;
use tokio::time::{Duration, Instant};

use super::{FIELDS, Fixture, JANE, other, text};
use crate::test_device::TestDevice;
use crate::test_server::payment;

const THREE: &str = "[locks]\nwrong_max = 3\nfirst_seconds = 3600\n";

impl Fixture {
    /// Jane with a phone that has a PIN.
    async fn with_pin(configuration: &str) -> Self {
        let mut fixture = Self::configured(configuration).await;
        fixture.jane = TestDevice::enrolled(&fixture.server, "jane", Some("2580")).await;
        fixture
    }

    /// Sends so many wrong codes for a new transaction; returns the last status.
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

    /// Sends a right code for a new transaction; returns its status.
    async fn right_code(&self) -> String {
        let key = self.request().await;
        let content = self.fetch(&key).await;
        let code = gateway::code(self.jane.phone(), &content).unwrap();
        self.complete(&key, &code).await.0
    }

    /// Sends wrong PINs for a new transaction, and then the right one, if requested; returns the
    /// last refusal.
    async fn pins(&mut self, reference: &str, wrong: usize, right: bool) -> Option<Code> {
        let mut request = payment(reference);
        request["pinRequired"] = json!(true);
        request["callbackUrl"] = json!("https://shop.example/");
        let (status, answer) = self.server.start_signature("jane", &request).await;
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
    let mut fixture = Fixture::with_pin(THREE).await;
    assert_eq!(fixture.wrong_codes(2).await, "STAT_INVCREDENTIALS");
    assert_eq!(fixture.pins("right", 2, true).await, Some(Code::WrongPin), "counted apart");
    assert_eq!(fixture.wrong_codes(1).await, "STAT_LOCKED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_code_takes_back_no_wrong_pin_and_all_wrong_codes() {
    let mut fixture = Fixture::with_pin(THREE).await;
    assert_eq!(fixture.pins("wrong", 2, false).await, Some(Code::WrongPin));
    assert_eq!(fixture.wrong_codes(2).await, "STAT_INVCREDENTIALS");
    assert_eq!(fixture.right_code().await, "STAT_SUCCESS");
    assert_eq!(fixture.wrong_codes(2).await, "STAT_INVCREDENTIALS", "they begin again");
    assert_eq!(fixture.right_code().await, "STAT_SUCCESS");
    // The first one locks, and the second one meets the lock.
    assert_eq!(fixture.pins("locks", 2, false).await, Some(Code::Locked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_user_is_refused_at_start_fetch_and_completion_until_somebody_unlocks_them() {
    let fixture = Fixture::new().await;
    let (taken, waiting) = (fixture.request().await, fixture.request().await);
    let content = fixture.fetch(&taken).await;
    let code = gateway::code(fixture.jane.phone(), &content).unwrap();
    fixture.server.cli(&["user", "lock", "jane", "--tenant", "acme"]).unwrap();
    for (command, parameters) in [
        ("genRequest", format!("{JANE}{FIELDS}")),
        ("authSignatureRequest", format!("{JANE}<push>{FIELDS}</push>")),
        ("authUserRequest", format!("{JANE}<push/>")),
    ] {
        let refused = fixture.soap(command, &parameters).await;
        assert_eq!(text(&refused, "statusCodeEnum"), "STAT_LOCKED", "{command}");
    }
    assert_eq!(fixture.fetch_status(&waiting, &fixture.serial()).await, "STAT_LOCKED");
    assert_eq!(fixture.complete(&taken, &code).await.0, "STAT_LOCKED");
    assert_eq!(fixture.complete(&taken, &other(&code)).await.0, "STAT_LOCKED", "no guess is heard");
    assert_eq!(fixture.state(&taken), "taken");

    fixture.server.cli(&["user", "unlock", "jane", "--tenant", "acme"]).unwrap();
    assert_eq!(fixture.complete(&taken, &code).await.0, "STAT_SUCCESS");
    fixture.fetch(&waiting).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_device_is_refused_and_the_users_other_one_is_not() {
    let fixture = Fixture::new().await;
    let tablet = TestDevice::enrolled(&fixture.server, "jane", None).await;
    let (taken, waiting) = (fixture.request().await, fixture.request().await);
    let content = fixture.fetch(&taken).await;
    let code = gateway::code(fixture.jane.phone(), &content).unwrap();
    let id = fixture.jane.phone().device_id.to_string();
    fixture.server.cli(&["device", "lock", &id, "--tenant", "acme"]).unwrap();
    assert_eq!(fixture.complete(&taken, &code).await.0, "STAT_LOCKED");
    assert_eq!(fixture.fetch_status(&waiting, &fixture.serial()).await, "STAT_LOCKED");
    let tablets = fixture.fetch_status(&waiting, &tablet.phone().serial_number).await;
    assert_eq!(tablets, "STAT_SUCCESS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_by_policy_opens_by_itself_and_the_next_one_is_twice_as_long() {
    let locks = "[locks]\nwrong_max = 1\nfirst_seconds = 1\nmax_seconds = 3600\n";
    let fixture = Fixture::configured(locks).await;
    let mut lasted = Vec::new();
    for _ in 0..2 {
        assert_eq!(fixture.wrong_codes(1).await, "STAT_LOCKED");
        let begun = Instant::now();
        let opened = async {
            let ask = format!("{JANE}{FIELDS}");
            while text(&fixture.soap("genRequest", &ask).await, "statusCodeEnum") == "STAT_LOCKED" {
            }
        };
        tokio::time::timeout(Duration::from_mins(1), opened).await.expect("it opens by itself");
        lasted.push(begun.elapsed());
    }
    assert!(lasted[0] >= Duration::from_millis(800), "{lasted:?}");
    assert!(lasted[1] >= Duration::from_millis(1_800), "{lasted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_malformed_or_of_another_form_counts_for_nothing() {
    let fixture = Fixture::configured(THREE).await;
    assert_eq!(fixture.wrong_codes(2).await, "STAT_INVCREDENTIALS");
    for _ in 0..4 {
        let key = fixture.request().await;
        let content = fixture.fetch(&key).await;
        for neither in ["@", "12345", "=", "3833-791"] {
            assert_eq!(fixture.complete(&key, neither).await.0, "STAT_INVPARAM", "{neither}");
        }
        assert_eq!(
            fixture.complete(&key, "AAAAAAAAAAAAAAAAAAAAAAAA").await.0,
            "STAT_INVCREDENTIALS"
        );
        assert_eq!(fixture.cancel(&key).await, "STAT_INVPARAM");
        let message = gateway::information(fixture.jane.phone(), &content, &key).unwrap();
        assert_eq!(fixture.cancel(&message).await, "STAT_SUCCESS");
    }
    assert_eq!(fixture.wrong_codes(1).await, "STAT_LOCKED", "and takes nothing back either");
}
