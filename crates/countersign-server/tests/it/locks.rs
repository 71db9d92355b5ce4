//! PINs, counts and locks: what a wrong one costs, and that a lock holds at every step.

use countersign_device::{Code, Error, Pin};
use reqwest::StatusCode;
use serde_json::json;
use tokio::join;

use crate::house::{House, openssl_verifies, payment};
use crate::person::Person;

fn with_pin(reference: &str) -> serde_json::Value {
    let mut request = payment(reference);
    request["pinRequired"] = json!(true);
    request
}

fn tries_left(error: &Error) -> Option<u32> {
    match error {
        Error::Refused { body, .. } => body.tries_left,
        _ => None,
    }
}

#[tokio::test]
async fn the_right_pin_opens_and_a_wrong_one_releases_nothing() {
    let house = House::new();
    house.user("jane");
    let mut jane = Person::enrolled(&house, "jane", Some("2580")).await;
    let request = with_pin("pin");
    let (answer, ()) = join!(house.start_signature("jane", &request), async {
        let offer = jane.device.next_offer().await.unwrap();
        assert!(offer.pin_required);
        let wrong = Pin::parse("1111").unwrap();
        let refused = jane.device.take(&offer, Some(&wrong)).await.unwrap_err();
        assert_eq!((refused.code(), tries_left(&refused)), (Some(Code::WrongPin), Some(4)));
        let none = jane.device.take(&offer, None).await.unwrap_err();
        assert!(matches!(none, Error::PinNeeded), "{none}");
        let right = Pin::parse("2580").unwrap();
        let shown = jane.device.take(&offer, Some(&right)).await.unwrap();
        jane.device.approve(&shown, None).await.unwrap();
    });
    assert_eq!(answer.1["status"], "OK");
}

#[tokio::test]
async fn the_fifth_wrong_pin_locks_the_user_and_ends_the_transaction() {
    let house = House::configured("[locks]\nfirst_seconds = 3600\n");
    house.user("jane");
    let mut jane = Person::enrolled(&house, "jane", Some("2580")).await;
    let request = with_pin("guessed");
    let (answer, ()) = join!(house.start_signature("jane", &request), async {
        let offer = jane.device.next_offer().await.unwrap();
        let wrong = Pin::parse("1111").unwrap();
        for left in [4, 3, 2, 1] {
            let refused = jane.device.take(&offer, Some(&wrong)).await.unwrap_err();
            assert_eq!(tries_left(&refused), Some(left), "{refused}");
        }
        let locked = jane.device.take(&offer, Some(&wrong)).await.unwrap_err();
        assert_eq!(locked.code(), Some(Code::Locked), "{locked}");
        let right = Pin::parse("2580").unwrap();
        let refused = jane.device.take(&offer, Some(&right)).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::Locked), "{refused}");
    });
    assert_eq!(answer.1["status"], "INVALID_PIN");
    assert_eq!(answer.1["data"]["deviceId"], jane.phone().device_id.to_string());
    assert_eq!(house.transaction("guessed")["state"], "locked");
    let (status, body) = house.start_signature("jane", &with_pin("more")).await;
    assert_eq!((status, &body["status"]), (StatusCode::CONFLICT, &json!("CONFLICT")));
}

#[tokio::test]
async fn a_pin_is_changed_by_proving_the_old_one() {
    let house = House::new();
    house.user("jane");
    let mut jane = Person::enrolled(&house, "jane", Some("2580")).await;
    let [old, new] = ["2580", "7913"].map(|pin| Pin::parse(pin).unwrap());
    let refused = jane.device.change_pin(&new, &old).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::WrongPin), "{refused}");
    jane.device.change_pin(&old, &new).await.unwrap();
    let request = with_pin("changed");
    let (answer, ()) = join!(house.start_signature("jane", &request), async {
        let offer = jane.device.next_offer().await.unwrap();
        assert_eq!(
            jane.device.take(&offer, Some(&old)).await.unwrap_err().code(),
            Some(Code::WrongPin)
        );
        let shown = jane.device.take(&offer, Some(&new)).await.unwrap();
        jane.device.approve(&shown, None).await.unwrap();
    });
    assert_eq!(answer.1["status"], "OK");
}

#[tokio::test]
async fn a_lock_between_take_and_finish_holds_whoever_is_locked() {
    let house = House::new();
    for (user, lock) in [("jane", "user"), ("bob", "device")] {
        house.user(user);
        let mut person = Person::enrolled(&house, user, None).await;
        let mut request = payment(user);
        request["callbackUrl"] = json!("https://shop.example/");
        house.start_signature(user, &request).await;
        let (_, shown) = person.opens(None).await.unwrap();
        let whom =
            if lock == "user" { user.to_owned() } else { person.phone().device_id.to_string() };
        house.cli(&[lock, "lock", &whom, "--tenant", "acme"]).unwrap();
        let refused = person.device.approve(&shown, None).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::Locked), "{lock}: {refused}");
        assert_eq!(house.transaction(user)["state"], "taken");
        let (status, _) = house.start_signature(user, &payment(&format!("{user}-2"))).await;
        assert_eq!(status, StatusCode::CONFLICT);

        house.cli(&[lock, "unlock", &whom, "--tenant", "acme"]).unwrap();
        let mut person = Person::opened(person.file.clone());
        let offer = person.device.next_offer().await.unwrap();
        let shown = person.device.take(&offer, None).await.unwrap();
        person.device.approve(&shown, None).await.unwrap();
        assert_eq!(house.transaction(user)["state"], "finished");
    }
    openssl_verifies_all(&house);
}

fn openssl_verifies_all(house: &House) {
    use base64::Engine as _;
    let listed = house.cli(&["transaction", "list", "--tenant", "acme"]).unwrap();
    for row in listed.as_array().unwrap() {
        let id = row["id"].as_str().unwrap();
        let shown = house.cli(&["transaction", "show", id, "--tenant", "acme"]).unwrap();
        let signature = shown["end"]["signature"].as_str().unwrap();
        let message = base64::engine::general_purpose::STANDARD.decode(signature).unwrap();
        openssl_verifies(&message, &house.tenant_ca());
    }
}
