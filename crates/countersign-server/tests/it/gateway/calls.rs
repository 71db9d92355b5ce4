//! One fetch, completions and cancels; calls across dialects; and which callers are allowed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::gateway;
use countersign_wire::body::{Content, Push, Use};
use reqwest::{Response, StatusCode};
use serde_json::json;

use super::{Fixture, JANE, api_key, now, other, text};
use crate::test_device::TestDevice;
use crate::test_server::{openssl_verifies, payment, read};
use crate::trustedx::{self, RAW, Shop, TRANSACTION};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_fetched_once_and_completed_with_a_code_once() {
    let fixture = Fixture::new().await;
    let key = fixture.request().await;
    assert_eq!(fixture.complete(&key, "00000000").await.0, "STAT_NOT_FOUND", "before the fetch");
    let content = fixture.fetch(&key).await;
    assert_eq!(content.bytes, br#"{"message":"","rows":[["To","Ann"]]}"#);
    let again = json!({"requestKey": key, "serialNumber": fixture.serial()});
    let again = fixture.call("signature/scan/getPreparedSignatureRequest", &again).await;
    assert_eq!(again.0, "STAT_NOT_FOUND", "only once");

    let code = gateway::code(fixture.jane.phone(), &content).unwrap();
    assert_eq!(code.len(), 8);
    let wrong = fixture.complete(&key, &other(&code)).await;
    assert_eq!(wrong.0, "STAT_INVCREDENTIALS");
    assert_eq!(fixture.complete(&key, "@").await.0, "STAT_INVPARAM");
    let strangers = json!({"userID": "joe", "requestKey": key, "signature": code});
    let strangers = fixture.call("signature/push/authSignature", &strangers).await;
    assert_eq!(strangers.0, "STAT_NOT_FOUND", "another user");
    let (status, result) = fixture.complete(&key, &code).await;
    assert_eq!(status, "STAT_SUCCESS");
    let whose = json!({"userID": "jane", "domain": "acme", "orgUnit": "",
        "serialNo": fixture.serial()});
    assert_eq!(result, whose);
    assert_eq!(fixture.complete(&key, &code).await.0, "STAT_NOT_FOUND", "twice");
    assert_eq!(fixture.state(&key), "finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_for_its_own_transaction_only() {
    let fixture = Fixture::new().await;
    let (first, second) = (fixture.request().await, fixture.request().await);
    let content = fixture.fetch(&first).await;
    fixture.fetch(&second).await;
    let code = gateway::code(fixture.jane.phone(), &content).unwrap();
    assert_eq!(fixture.complete(&second, &code).await.0, "STAT_INVCREDENTIALS");
    assert_eq!(fixture.complete(&first, &code).await.0, "STAT_SUCCESS");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kobil_starts_is_fetched_and_completed_through_the_gateway() {
    let fixture = Fixture::new().await;
    let body = payment("across");
    let phone = async {
        let key = fixture.started().await;
        let content = fixture.fetch(&key).await;
        let code = fixture.complete(&key, "01234567").await.0;
        assert_eq!(code, "STAT_INVPARAM", "a CMS is the only form that it accepts");
        let signature = gateway::cms(fixture.jane.phone(), &content, now()).unwrap();
        let changed = [&signature[..signature.len() - 1], &[signature[signature.len() - 1] ^ 1]];
        let changed = BASE64.encode(changed.concat());
        assert_eq!(fixture.complete(&key, &changed).await.0, "STAT_INVCREDENTIALS");
        assert_eq!(fixture.complete(&key, &BASE64.encode(&signature)).await.0, "STAT_SUCCESS");
        signature
    };
    let ((status, answer), signature) =
        tokio::join!(fixture.server.start_signature("jane", &body), phone);
    assert_eq!(status, StatusCode::OK, "{answer}");
    let returned = BASE64.decode(answer["data"]["signature"].as_str().unwrap()).unwrap();
    assert_eq!(returned, signature);
    let signed = openssl_verifies(&returned, &fixture.server.tenant_ca());
    assert_eq!(signed, "Pay 5 € to Ann?".as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_ends_onespans_transaction_on_our_own_channel() {
    let mut fixture = Fixture::new().await;
    let key = fixture.request().await;
    fixture.jane.device.prefer_codes(true);
    let offer = fixture.jane.device.scan(&key).await.unwrap();
    let shown = fixture.jane.device.take(&offer, None).await.unwrap();
    assert_eq!(shown.bytes(), br#"{"message":"","rows":[["To","Ann"]]}"#);
    fixture.jane.device.approve(&shown, None).await.unwrap();
    assert_eq!(fixture.state(&key), "finished");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_device_that_fetched_cancels_and_it_proves_itself() {
    let fixture = Fixture::new().await;
    let tablet = TestDevice::enrolled(&fixture.server, "jane", None).await;
    let key = fixture.request().await;
    let content = fixture.fetch(&key).await;
    let message = |test_device: &TestDevice, content: &Content, key: &str| {
        gateway::information(test_device.phone(), content, key).unwrap()
    };
    assert_eq!(fixture.cancel(&key).await, "STAT_INVPARAM", "a plain key");
    assert_eq!(fixture.cancel(&message(&tablet, &content, &key)).await, "STAT_INVPARAM");
    let tablets = json!({"requestKey": message(&tablet, &content, &key),
        "serialNumber": tablet.phone().serial_number});
    let tablets = fixture.call("signature/push/cancelAuthSignatureRequest", &tablets).await.0;
    assert_eq!(tablets, "STAT_NOSUPPORT", "another device, with its own message");
    let other = fixture.fetch(&fixture.request().await).await;
    assert_eq!(fixture.cancel(&message(&fixture.jane, &other, &key)).await, "STAT_NOT_FOUND");
    assert_eq!(fixture.state(&key), "taken");
    assert_eq!(fixture.cancel(&message(&fixture.jane, &content, &key)).await, "STAT_SUCCESS");
    assert_eq!(fixture.state(&key), "declined");
    assert_eq!(fixture.cancel(&message(&fixture.jane, &content, &key)).await, "STAT_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_codes_lock_the_user_and_the_policy_may_hide_it() {
    for (generic, said) in [("false", "STAT_LOCKED"), ("true", "STAT_INVCREDENTIALS")] {
        let configuration =
            format!("[locks]\nwrong_max = 3\n[onespan]\ngeneric_status_codes = {generic}\n");
        let fixture = Fixture::configured(&configuration).await;
        let (key, waiting) = (fixture.request().await, fixture.request().await);
        let content = fixture.fetch(&key).await;
        let code = gateway::code(fixture.jane.phone(), &content).unwrap();
        for _ in 0..2 {
            assert_eq!(fixture.complete(&key, &other(&code)).await.0, "STAT_INVCREDENTIALS");
        }
        assert_eq!(fixture.complete(&key, &other(&code)).await.0, said, "the third");
        assert_eq!(fixture.complete(&key, &code).await.0, said, "the right one, too late");
        assert_eq!(fixture.state(&key), "locked");
        let fetch = json!({"requestKey": waiting, "serialNumber": fixture.serial()});
        let fetch = fixture.call("signature/push/getPreparedSignatureRequest", &fetch).await;
        assert_eq!(fetch.0, said, "a fetch");
        let key = format!("{JANE}<requestKey>{key}</requestKey>");
        let waits = fixture.soap("authSignatureRequest", &key).await;
        assert_eq!(text(&waits, "statusCodeEnum"), said, "the waiting caller");
        assert!(fixture.server.log().contains("the user is locked"), "the log keeps the truth");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_hit_of_a_guess_is_told_from_a_miss_and_guesses_are_bounded() {
    let fixture = Fixture::configured("[onespan]\nfetches_per_minute = 5\n").await;
    fixture.server.user("joe");
    let joe = TestDevice::enrolled(&fixture.server, "joe", None).await;
    let key = fixture.request().await;
    let mut answers = Vec::new();
    for key in [key.as_str(), "0000000000", "1", "x", "9999999999", "0123456789"] {
        let body = json!({"requestKey": key, "serialNumber": joe.phone().serial_number});
        let sent = fixture.post("signature/push/getPreparedSignatureRequest").json(&body);
        let answer = sent.basic_auth("app", Some(&fixture.key)).send().await.unwrap();
        answers.push((answer.status(), answer.text().await.unwrap()));
    }
    let (last, before) = answers.split_last().unwrap();
    assert!(before.iter().all(|answer| answer == &before[0]), "{answers:?}");
    assert!(before[0].1.contains("STAT_NOT_FOUND"));
    assert_eq!(last.0, StatusCode::TOO_MANY_REQUESTS);
    assert!(last.1.contains("\"statusCodeEnum\":\"STAT_ERROR\""), "{}", last.1);
    fixture.fetch(&key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_taken_in_three_spellings_and_no_other_key_is() {
    let fixture = Fixture::new().await;
    fixture.server.cli(&["tenant", "create", "other"]).unwrap();
    let back_end = api_key(&fixture.server, &["--tenant", "acme", "--kind", "back-end"]);
    let others = api_key(&fixture.server, &["--tenant", "other", "--kind", "front-end"]);
    let every = api_key(&fixture.server, &["--kind", "front-end"]);
    let time = |authorization: String| {
        let call =
            fixture.post("provisioning/getServerTime").header("authorization", authorization);
        async { call.send().await.unwrap() }
    };
    let basic = |text: &str| format!("Basic {}", BASE64.encode(text));
    let key = &fixture.key;
    for good in [
        basic(&format!("anybody:{key}")),
        basic(&format!("{key}:")),
        basic(key),
        format!("Basic {key}"),
        basic(&every),
    ] {
        let (status, answer) = read(time(good).await).await;
        assert_eq!(status, StatusCode::OK);
        let said = answer["result"]["serverTime"].as_u64().unwrap();
        assert!(said.abs_diff(now()) < 60, "{said}");
    }
    for bad in [
        basic("anybody:wrong"),
        basic(&back_end),
        basic(&format!("{key}x")),
        basic(&format!("{key}:other")),
        format!("Bearer {key}"),
        "Basic".to_owned(),
        "Basic !".to_owned(),
    ] {
        let answer = time(bad.clone()).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{bad}");
        assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with("Basic"));
    }
    let listed = fixture.server.cli(&["key", "list", "--tenant", "acme"]).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 3, "{listed}");
    assert!(!listed.to_string().contains("csk_"));

    let request = fixture.request().await;
    let body = json!({"requestKey": request, "serialNumber": fixture.serial()});
    let fetch = fixture.post("signature/push/getPreparedSignatureRequest");
    let (_, answer) =
        read(fetch.basic_auth("", Some(&others)).json(&body).send().await.unwrap()).await;
    assert_eq!(answer["resultCodes"]["statusCodeEnum"], "STAT_NOT_FOUND", "another domain's key");
    let content = fixture.fetch(&request).await;
    let code = gateway::code(fixture.jane.phone(), &content).unwrap();
    let complete = |domain: &str| json!({"userID": "jane", "domain": domain, "requestKey": request, "signature": code});
    for domain in ["other", "nowhere", "No Domain"] {
        let (status, _) = fixture.call("signature/push/authSignature", &complete(domain)).await;
        assert_eq!(status, "STAT_NOT_FOUND", "{domain}");
    }
    let (status, _) = fixture.call("signature/push/authSignature", &complete("acme")).await;
    assert_eq!(status, "STAT_SUCCESS");
}

/// The HTTP status of a call that was not handled, and the status in its body, which a phone's
/// library can parse.
async fn unhandled(answer: Response) -> (u16, String) {
    assert_eq!(answer.headers()["content-type"], "application/json");
    let (status, body) = read(answer).await;
    let codes = &body["resultCodes"];
    assert_eq!(codes["returnCodeEnum"], "RET_FAILURE", "{body}");
    (status.as_u16(), codes["statusCodeEnum"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_told_by_http_and_what_lacks_something_by_its_status() {
    let fixture = Fixture::configured("[onespan]\ncontext = \"dpgateway\"\n").await;
    let call = "signature/push/authSignature";
    for wrong in [
        json!({}),
        json!({"userid": "jane", "requestKey": "1", "signature": "2"}),
        json!({"userID": "jane", "requestkey": "1", "signature": "2"}),
        json!({"userID": "jane", "requestKey": 8_408_980_524_u64, "signature": "2"}),
        json!({"userID": "jane", "requestKey": "1", "signature": ""}),
        json!({"userID": "jane", "domain": 1, "requestKey": "1", "signature": "2"}),
    ] {
        assert_eq!(fixture.call(call, &wrong).await.0, "STAT_INVPARAM", "{wrong}");
    }
    let send = async |body: Vec<u8>, key: &str| {
        let sent = fixture.post(call).basic_auth("", Some(key)).body(body).send();
        unhandled(sent.await.unwrap()).await
    };
    for body in ["", "{", "[]", "null", "\"x\"", "requestKey=1"] {
        let answer = send(body.into(), &fixture.key).await;
        assert_eq!(answer, (400, "STAT_INVPARAM".to_owned()), "{body}");
    }
    let large = send(vec![b' '; 300_000], &fixture.key).await;
    assert_eq!(large, (413, "STAT_INVPARAM".to_owned()));
    assert_eq!(send(Vec::new(), "wrong").await, (401, "STAT_ERROR".to_owned()));
    let get =
        |path: &str| fixture.server.http.get(format!("{}/{path}", fixture.server.address)).send();
    let other_method = get("rest/v2/signature/push/authSignature").await.unwrap();
    assert_eq!(other_method.headers()["allow"], "POST");
    assert_eq!(unhandled(other_method).await, (405, "STAT_NOSUPPORT".to_owned()));
    let no_such_call = get("rest/v2/nothing").await.unwrap();
    assert_eq!(unhandled(no_such_call).await, (404, "STAT_NOSUPPORT".to_owned()));
    let under = format!("{}/dpgateway/rest/v2/provisioning/getServerTime", fixture.server.address);
    let under =
        fixture.server.http.post(under).basic_auth("", Some(&fixture.key)).send().await.unwrap();
    assert_eq!(under.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_address_is_moved_by_what_the_device_has_sealed() {
    let fixture = Fixture::new().await;
    fixture.server.user("joe");
    let joe = TestDevice::enrolled(&fixture.server, "joe", None).await;
    let token = "bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1".to_owned();
    let push = Push { provider: "fcm".into(), token: Some(token), language: None };
    let sealed =
        |test_device: &TestDevice| gateway::notification(test_device.phone(), &push).unwrap();
    let update = |user: &str, message: String| {
        json!({"userID": user, "domain": "acme", "digipassInstanceID": fixture.serial(),
            "encryptedNotificationID": message})
    };
    let call = "notification/push/updateNotificationID";
    let janes = sealed(&fixture.jane);
    for (body, said) in [
        (update("jane", sealed(&joe)), "STAT_INVPARAM"),
        (update("jane", "00".into()), "STAT_INVPARAM"),
        (update("joe", janes.clone()), "STAT_NOT_FOUND"),
        (update("jane", janes.clone()), "STAT_SUCCESS"),
        (update("jane", janes), "STAT_SUCCESS"),
    ] {
        assert_eq!(fixture.call(call, &body).await.0, said, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_time_has_ended_is_not_found() {
    let fixture = Fixture::new().await;
    let mut body = payment("short");
    body["signatureTimeout"] = json!(1);
    let phone = async {
        let key = fixture.started().await;
        (fixture.fetch(&key).await, key)
    };
    let (_, (content, key)) = tokio::join!(fixture.server.start_signature("jane", &body), phone);
    let signature = BASE64.encode(gateway::cms(fixture.jane.phone(), &content, now()).unwrap());
    assert_eq!(fixture.complete(&key, &signature).await.0, "STAT_NOT_FOUND");
    assert_eq!(fixture.state(&key), "expired");
}

/// A bare signature names no transaction, so an attacker with an old one could end another process
/// with it.
#[tokio::test]
async fn a_process_that_takes_a_bare_signature_is_neither_fetched_nor_completed_by_the_gateway() {
    let fixture = Fixture::new().await;
    let shop = Shop::new(&fixture.server).await;
    let digest = trustedx::openssl_digest("sha256", b"x");
    let of_digest = trustedx::raw(&digest, "sha256");
    for (path, body, usage) in
        [(TRANSACTION, trustedx::transaction(), Use::Content), (RAW, of_digest, Use::Digest)]
    {
        let identity = fixture.jane.phone().identity(usage).unwrap();
        let finish = match usage {
            Use::Content => trustedx::over_html(identity, "<p>Pay 5 €?</p>"),
            Use::Digest => trustedx::finish(identity, "ecdsa-sha256", &digest),
        };
        let [first, second] = [shop.creates(path, &body).await, shop.creates(path, &body).await]
            .map(|made| trustedx::id(&made));
        let link = format!("/signatures/{first}/finish");
        let (status, answer) =
            trustedx::put(&fixture.server, fixture.jane.phone(), &link, &finish).await;
        assert_eq!(status, StatusCode::OK, "{answer}");

        let shown = ["transaction", "show", &second, "--tenant", "acme"];
        let key = fixture.server.cli(&shown).unwrap()["request_key"].as_str().unwrap().to_owned();
        assert_eq!(fixture.fetch_status(&key, &fixture.serial()).await, "STAT_NOT_FOUND");
        let old = finish["value"].as_str().unwrap();
        assert_eq!(fixture.complete(&key, old).await.0, "STAT_NOT_FOUND");
        // Not even after the phone itself has read it, and not a second time by a link.
        fixture.jane_takes(&second).await;
        assert_eq!(fixture.complete(&key, old).await.0, "STAT_INVPARAM");
        let link = format!("/signatures/{second}/finish");
        let (status, answer) =
            trustedx::put(&fixture.server, fixture.jane.phone(), &link, &finish).await;
        assert_eq!((status.as_u16(), &answer["error"]), (400, &json!("invalid_signature")));
        assert_eq!(shop.result(&second).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_gateway_fetched_is_not_said_to_have_been_shown_on_the_device() {
    let fixture = Fixture::new().await;
    let key = fixture.request().await;
    fixture.fetch(&key).await;
    let shown = fixture.server.cli(&["transaction", "show", &key, "--tenant", "acme"]).unwrap();
    assert_eq!(shown["takes"][0]["origin"], "gateway");
    let device = &shown["devices"][0];
    assert!(device["fetched_at"].is_string() && device.get("taken_at").is_none(), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_fetches_completes_and_cancels_over_soap_only_what_it_asked_for_itself() {
    let fixture = Fixture::new().await;
    let key = fixture.request().await;
    let made = ["client", "create", "Other", "--tenant", "acme"];
    let other = fixture.server.cli(&made).unwrap();
    let other = ["client_id", "client_secret"].map(|name| other[name].as_str().unwrap().to_owned());
    let serial = fixture.serial();
    let fetch = |component: &str| {
        format!(
            "<componentType>{component}</componentType><serialNumber>{serial}</serialNumber>\
             <requestKey>{key}</requestKey>"
        )
    };
    let others = async |command: &str, parameters: String| {
        let (id, secret) = (&other[0], &other[1]);
        let answer = fixture.send_soap_as(id, secret, command, &parameters).await;
        let answer = answer.text().await.unwrap();
        text(&answer, "statusCodeEnum").to_owned()
    };
    let missed = others("getPreparedSignatureRequest", fetch("Other")).await;
    assert_eq!(missed, "STAT_NOT_FOUND");
    // The failure used up nothing: the client that started it can fetch it.
    let answer = fixture.soap("getPreparedSignatureRequest", &fetch("Shop")).await;
    let content = gateway::open(fixture.jane.phone(), text(&answer, "requestMessage")).unwrap();
    let code = gateway::code(fixture.jane.phone(), &content).unwrap();
    let complete = JANE.replace("Shop", "Other")
        + &format!("<requestKey>{key}</requestKey><signature>{code}</signature>");
    assert_eq!(others("authSignature", complete).await, "STAT_NOT_FOUND");
    let message = gateway::information(fixture.jane.phone(), &content, &key).unwrap();
    let cancel = format!(
        "<componentType>Other</componentType><serialNumber>{serial}</serialNumber>\
         <requestKeyMessage>{message}</requestKeyMessage>"
    );
    assert_eq!(others("cancelAuthSignatureRequest", cancel).await, "STAT_NOT_FOUND");
    assert_eq!(fixture.state(&key), "taken");
}
