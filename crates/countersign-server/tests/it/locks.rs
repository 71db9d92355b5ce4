//! PINs, counts and locks: what a wrong one costs, and that a lock holds at every step.

use std::time::{SystemTime, UNIX_EPOCH};

use countersign_device::{Code, Error, Phone, Pin};
use countersign_wire::body::{PinBody, PinChange};
use countersign_wire::jwe::{self, Purpose};
use countersign_wire::jws::{self, Call};
use reqwest::StatusCode;
use serde_json::json;
use tokio::join;

use crate::house::{House, openssl_verifies, payment, read};
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

/// Names a PIN as the present one, by hand: what it came to.
async fn guess_pin(house: &House, phone: &Phone, digest: [u8; 32]) -> (u16, serde_json::Value) {
    let change = PinChange { version: 1, digest: (&digest).into(), proof: None };
    let name = phone.device_name().unwrap();
    let change = serde_json::to_vec(&change).unwrap();
    let pin = jwe::seal(&phone.payload_key, &name, Purpose::Pin, &change);
    let body = serde_json::to_vec(&PinBody { pin }).unwrap();
    let (method, path) = ("PUT", "/device/v1/pin");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let call = Call { method, path, body: &body };
    let token = jws::sign_call(&phone.auth_key, &name, &house.address, call, now);
    let call = house.http.put(format!("{}{path}", house.address)).bearer_auth(token);
    let call = call.header("content-type", "application/json").body(body);
    let (status, body) = read(call.send().await.unwrap()).await;
    (status.as_u16(), body)
}

#[tokio::test]
async fn the_right_pin_named_beside_the_last_wrong_one_is_right_or_locked_out_and_never_both() {
    let house = House::configured("[locks]\nfirst_seconds = 3600\n");
    for round in 0..8 {
        let user = format!("jane-{round}");
        house.user(&user);
        let jane = Person::enrolled(&house, &user, None).await;
        let (right, wrong) = ([round; 32], [0xff; 32]);
        assert_eq!(guess_pin(&house, jane.phone(), right).await.0, 200);
        for left in [4, 3, 2, 1] {
            let (status, body) = guess_pin(&house, jane.phone(), wrong).await;
            assert_eq!((status, &body["tries_left"]), (403, &json!(left)), "{body}");
        }
        // What is right is told before the lock and forgives the wrong ones, or not at all.
        let guesses = [wrong].into_iter().chain([right; 12]);
        let guesses = guesses.map(|digest| guess_pin(&house, jane.phone(), digest));
        let mut answers = futures_util::future::join_all(guesses).await;
        let (_, last_wrong) = answers.remove(0);
        let told = answers.iter().filter(|(status, _)| *status == 200).count();
        match last_wrong["error"].as_str() {
            Some("locked") => assert_eq!(told, 0, "{answers:?}"),
            _ => assert_eq!((&last_wrong["tries_left"], told), (&json!(4), 12), "{answers:?}"),
        }
    }
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
