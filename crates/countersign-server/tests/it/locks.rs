//! PINs, counts and locks: the effect of a wrong one, and that a lock is checked at every step.

use std::time::{SystemTime, UNIX_EPOCH};

use countersign_device::{Code, Error, Phone, Pin};
use countersign_wire::body::{PinBody, PinChange, State};
use countersign_wire::jwe::{self, Purpose};
use countersign_wire::jws::{self, Call};
use reqwest::StatusCode;
use serde_json::json;
use tokio::join;

use crate::test_device::TestDevice;
use crate::test_server::{TestServer, openssl_verifies, payment, read};

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
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", Some("2580")).await;
    let request = with_pin("pin");
    let (answer, ()) = join!(server.start_signature("jane", &request), async {
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
    let server = TestServer::configured("[locks]\nfirst_seconds = 3600\n");
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", Some("2580")).await;
    let request = with_pin("guessed");
    let (answer, ()) = join!(server.start_signature("jane", &request), async {
        let offer = jane.device.next_offer().await.unwrap();
        let wrong = Pin::parse("1111").unwrap();
        for left in [4, 3, 2, 1] {
            let refused = jane.device.take(&offer, Some(&wrong)).await.unwrap_err();
            assert_eq!(tries_left(&refused), Some(left), "{refused}");
        }
        let locked = jane.device.take(&offer, Some(&wrong)).await.unwrap_err();
        assert_eq!((locked.code(), tries_left(&locked)), (Some(Code::WrongPin), Some(0)));
        assert_eq!(locked.to_string(), "the PIN is wrong, and that locked the user");
        let Error::Refused { body, .. } = &locked else { panic!("{locked}") };
        assert_eq!(body.state, Some(State::Locked));
        let right = Pin::parse("2580").unwrap();
        let refused = jane.device.take(&offer, Some(&right)).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::Locked), "{refused}");
    });
    assert_eq!(answer.1["status"], "INVALID_PIN");
    assert_eq!(answer.1["data"]["deviceId"], jane.phone().device_id.to_string());
    assert_eq!(server.transaction("guessed")["state"], "locked");
    let (status, body) = server.start_signature("jane", &with_pin("more")).await;
    assert_eq!((status, &body["status"]), (StatusCode::CONFLICT, &json!("CONFLICT")));
}

#[tokio::test]
async fn a_pin_is_changed_by_proving_the_old_one() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", Some("2580")).await;
    let [old, new] = ["2580", "7913"].map(|pin| Pin::parse(pin).unwrap());
    let refused = jane.device.change_pin(&new, &old).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::WrongPin), "{refused}");
    jane.device.change_pin(&old, &new).await.unwrap();
    let request = with_pin("changed");
    let (answer, ()) = join!(server.start_signature("jane", &request), async {
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

/// Gives a PIN as the present one, by hand; returns the result.
async fn guess_pin(
    server: &TestServer,
    phone: &Phone,
    digest: [u8; 32],
) -> (u16, serde_json::Value) {
    let change = PinChange { version: 1, digest: (&digest).into(), proof: None };
    let name = phone.device_name().unwrap();
    let change = serde_json::to_vec(&change).unwrap();
    let pin = jwe::seal(&phone.payload_key, &name, Purpose::Pin, &change);
    let body = serde_json::to_vec(&PinBody { pin }).unwrap();
    let (method, path) = ("PUT", "/device/v1/pin");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let call = Call { method, path, body: &body };
    let token = jws::sign_call(&phone.auth_key, &name, &server.address, call, now);
    let call = server.http.put(format!("{}{path}", server.address)).bearer_auth(token);
    let call = call.header("content-type", "application/json").body(body);
    let (status, body) = read(call.send().await.unwrap()).await;
    (status.as_u16(), body)
}

#[tokio::test]
async fn the_right_pin_named_beside_the_last_wrong_one_is_right_or_locked_out_and_never_both() {
    let server = TestServer::configured("[locks]\nfirst_seconds = 3600\n");
    for round in 0..8 {
        let user = format!("jane-{round}");
        server.user(&user);
        let jane = TestDevice::enrolled(&server, &user, None).await;
        let (right, wrong) = ([round; 32], [0xff; 32]);
        assert_eq!(guess_pin(&server, jane.phone(), right).await.0, 200);
        for left in [4, 3, 2, 1] {
            let (status, body) = guess_pin(&server, jane.phone(), wrong).await;
            assert_eq!((status, &body["tries_left"]), (403, &json!(left)), "{body}");
        }
        // A right PIN is accepted before the lock and resets the count, or is refused.
        let guesses = [wrong].into_iter().chain([right; 12]);
        let guesses = guesses.map(|digest| guess_pin(&server, jane.phone(), digest));
        let mut answers = futures_util::future::join_all(guesses).await;
        let (_, last_wrong) = answers.remove(0);
        let told = answers.iter().filter(|(status, _)| *status == 200).count();
        match last_wrong["tries_left"].as_u64() {
            Some(0) => {
                assert_eq!((&last_wrong["error"], told), (&json!("wrong_pin"), 0), "{answers:?}");
                assert!(last_wrong.get("state").is_none(), "no transaction ended: {last_wrong}");
            }
            _ => assert_eq!((&last_wrong["tries_left"], told), (&json!(4), 12), "{answers:?}"),
        }
    }
}

#[tokio::test]
async fn a_lock_between_take_and_finish_holds_whoever_is_locked() {
    let server = TestServer::new();
    for (user, lock) in [("jane", "user"), ("bob", "device")] {
        server.user(user);
        let mut test_device = TestDevice::enrolled(&server, user, None).await;
        let mut request = payment(user);
        request["callbackUrl"] = json!("https://shop.example/");
        server.start_signature(user, &request).await;
        let (_, shown) = test_device.opens(None).await.unwrap();
        let whom = if lock == "user" {
            user.to_owned()
        } else {
            test_device.phone().device_id.to_string()
        };
        server.cli(&[lock, "lock", &whom, "--tenant", "acme"]).unwrap();
        let refused = test_device.device.approve(&shown, None).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::Locked), "{lock}: {refused}");
        assert_eq!(server.transaction(user)["state"], "taken");
        let (status, _) = server.start_signature(user, &payment(&format!("{user}-2"))).await;
        assert_eq!(status, StatusCode::CONFLICT);

        server.cli(&[lock, "unlock", &whom, "--tenant", "acme"]).unwrap();
        let mut test_device = TestDevice::opened(test_device.file.clone());
        let offer = test_device.device.next_offer().await.unwrap();
        let shown = test_device.device.take(&offer, None).await.unwrap();
        test_device.device.approve(&shown, None).await.unwrap();
        assert_eq!(server.transaction(user)["state"], "finished");
    }
    openssl_verifies_all(&server);
}

fn openssl_verifies_all(server: &TestServer) {
    use base64::Engine as _;
    let listed = server.cli(&["transaction", "list", "--tenant", "acme"]).unwrap();
    for row in listed.as_array().unwrap() {
        let id = row["id"].as_str().unwrap();
        let shown = server.cli(&["transaction", "show", id, "--tenant", "acme"]).unwrap();
        let signature = shown["end"]["signature"].as_str().unwrap();
        let message = base64::engine::general_purpose::STANDARD.decode(signature).unwrap();
        openssl_verifies(&message, &server.tenant_ca());
    }
}
