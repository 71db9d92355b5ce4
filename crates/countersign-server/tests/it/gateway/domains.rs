//! Tenants named by their domains, as in OneSpan's own examples.

use reqwest::StatusCode;
use serde_json::json;

use countersign_device::gateway;

use super::{FIELDS, Fixture, api_key, text};
use crate::test_server::read;

const JANE: &str = "<componentType>Shop</componentType><user><userID>jane</userID>\
    <domain>mydomain.com</domain></user>";

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_found_by_the_domain_of_the_vendors_example() {
    let fixture = Fixture::new().await;
    let server = &fixture.server;
    let refused = fixture.soap("genRequest", &format!("{JANE}{FIELDS}")).await;
    assert_eq!(text(&refused, "statusCodeEnum"), "STAT_NOT_FOUND", "no such domain yet");
    let added = server.cli(&["tenant", "add-domain", "acme", "mydomain.com"]).unwrap();
    assert_eq!(added["domains"], json!(["mydomain.com"]));
    server.cli(&["tenant", "create", "other", "--domain", "other.com"]).unwrap();

    let made = fixture.soap("genRequest", &format!("{JANE}{FIELDS}")).await;
    assert_eq!(text(&made, "statusCodeEnum"), "STAT_SUCCESS", "{made}");
    assert_eq!(text(&made, "domain"), "mydomain.com", "as the caller named it");
    let others = JANE.replace("mydomain.com", "other.com");
    let others = fixture.soap("genRequest", &format!("{others}{FIELDS}")).await;
    assert_eq!(text(&others, "statusCodeEnum"), "STAT_NOT_FOUND", "another tenant's");

    let key = text(&made, "requestKey");
    let content = fixture.fetch(key).await;
    let code = gateway::code(fixture.jane.phone(), &content).unwrap();
    let complete = |domain: &str| json!({"userID": "jane", "domain": domain, "requestKey": key, "signature": code});
    for domain in ["other.com", "nowhere.com", "MyDomain.com"] {
        let (status, _) = fixture.call("signature/push/authSignature", &complete(domain)).await;
        assert_eq!(status, "STAT_NOT_FOUND", "{domain}");
    }
    // A key for all tenants finds the tenant by its domain.
    let every = api_key(server, &["--kind", "front-end"]);
    let call = fixture.post("signature/push/authSignature").basic_auth("", Some(&every));
    let answer = call.json(&complete("mydomain.com")).send().await.unwrap();
    let (status, answer) = read(answer).await;
    assert_eq!(status, StatusCode::OK);
    let expected = json!({"userID": "jane", "domain": "mydomain.com", "orgUnit": "",
        "serialNo": fixture.serial()});
    assert_eq!(answer["result"], expected, "{answer}");
}

#[tokio::test]
async fn a_domain_is_of_one_tenant_is_listed_and_is_in_the_history() {
    let fixture = Fixture::new().await;
    let server = &fixture.server;
    let add = |tenant: &str, domain: &str| server.cli(&["tenant", "add-domain", tenant, domain]);
    add("acme", "mydomain.com").unwrap();
    add("acme", "mydomain.com").unwrap();
    server.cli(&["tenant", "create", "other"]).unwrap();
    let taken = add("other", "mydomain.com").unwrap_err();
    assert!(taken.stderr.contains("is a domain of tenant acme already"), "{}", taken.stderr);
    let named = add("acme", "other").unwrap_err();
    assert!(named.stderr.contains("is the name of a tenant"), "{}", named.stderr);
    let third = ["tenant", "create", "third", "--domain", "mydomain.com"];
    let third = server.cli(&third).unwrap_err();
    assert!(third.stderr.contains("is a domain of tenant acme already"), "{}", third.stderr);
    let listed = server.cli(&["tenant", "list"]).unwrap();
    let domains = |name: &str| {
        let rows = listed.as_array().unwrap();
        rows.iter().find(|row| row["name"] == name).map(|row| row["domains"].clone())
    };
    assert_eq!(domains("acme"), Some(json!(["mydomain.com"])));
    assert_eq!((domains("other"), domains("third")), (Some(json!([])), None), "none was made");
    let remove = ["tenant", "remove-domain", "acme", "mydomain.com"];
    let removed = server.cli(&remove).unwrap();
    assert_eq!(removed["domains"], json!([]));
    server.cli(&remove).unwrap();
    add("other", "mydomain.com").unwrap();
    let happened = |tenant: &str| {
        let history = server.cli(&["history", "--tenant", tenant, "--all"]).unwrap();
        let kinds: Vec<String> = history
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["kind"].as_str().unwrap().to_owned())
            .filter(|kind| kind.starts_with("domain."))
            .collect();
        kinds
    };
    assert_eq!(happened("acme"), ["domain.added", "domain.removed"]);
    assert_eq!(happened("other"), ["domain.added"]);
}
