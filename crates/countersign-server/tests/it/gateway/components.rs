//! Components that call without credentials: known by their type and their network.

use reqwest::{Response, StatusCode};

use super::{FIELDS, Fixture};
use crate::soap::envelope;
use crate::test_server::TestServer;

fn asked(component: &str) -> String {
    envelope(&format!(
        "<sig:genRequest><componentType>{component}</componentType><user><userID>jane</userID>\
         </user>{FIELDS}</sig:genRequest>"
    ))
}

async fn without_credentials(server: &TestServer, component: &str) -> Response {
    let call = server.http.post(format!("{}/onespan/soap", server.address));
    let call = call.header("content-type", "text/xml").body(asked(component));
    call.send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_a_trusted_network_calls_without_credentials_if_the_operator_allows_it() {
    let mut fixture = Fixture::new().await;
    let refused = without_credentials(&fixture.server, "Web").await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "off by default");

    let client = fixture.server.client.0.clone();
    let entry = |kind: &str, client: &str, network: &str| {
        format!(
            "[[onespan.component]]\ntype = \"{kind}\"\nclient = \"{client}\"\n\
             networks = [\"{network}\"]\n"
        )
    };
    let components = [
        entry("Web", &client, "127.0.0.0/8"),
        entry("Elsewhere", &client, "192.0.2.0/24"),
        entry("Nobody", "nobody", "127.0.0.0/8"),
    ];
    let file = fixture.server.path().join("countersign.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    assert_eq!(fixture.server.stop(), Some(0));
    std::fs::write(&file, format!("{before}\n{}", components.concat())).unwrap();
    fixture.server.restart();
    let answer = without_credentials(&fixture.server, "Web").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer = answer.text().await.unwrap();
    assert!(answer.contains("STAT_SUCCESS"), "{answer}");
    for other in ["Elsewhere", "Nobody", "Shop", ""] {
        let refused = without_credentials(&fixture.server, other).await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{other}");
    }
    // Credentials are checked wherever they come from.
    let stranger = (client.clone(), "wrong".to_owned());
    let refused = fixture.server.post_soap(&stranger, "text/xml", asked("Web")).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    fixture.server.cli(&["client", "lock", &client, "--tenant", "acme"]).unwrap();
    let locked = without_credentials(&fixture.server, "Web").await;
    assert_eq!(locked.status(), StatusCode::UNAUTHORIZED, "a locked client");
}
