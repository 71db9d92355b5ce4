//! HTTP/2 as stock clients speak it: an answer that does not need the body still reaches them.

use std::path::Path;
use std::process::Command;

use crate::test_server::{TestServer, payment};

/// The README's call with `curl` over HTTP/2 and TLS, and this body: the status and the protocol
/// that curl saw, or what it says about its failure.
fn curl(server: &TestServer, token: &str, body: &Path) -> String {
    let url = format!("{}/auth/realms/acme/v3_user/digitaniumsignature/jane", server.address);
    let mut curl = Command::new("curl");
    curl.args(["--http2", "--silent", "--show-error", "--cacert"]);
    curl.arg(server.data().join("tls/ca.pem")).args(["--output", "/dev/null"]);
    curl.args(["--write-out", "%{http_code} HTTP/%{http_version}", &url]);
    curl.args(["--header", &format!("Authorization: Bearer {token}")]);
    curl.args(["--header", "Content-Type: application/json"]);
    curl.arg("--data-binary").arg(format!("@{}", body.display()));
    let output = curl.output().expect("curl runs");
    String::from_utf8(if output.status.success() { output.stdout } else { output.stderr }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_sees_each_of_twenty_401s_that_were_decided_before_its_body_was_read() {
    let server = TestServer::new();
    server.user("jane");
    let body = server.path().join("body.json");
    let mut request = payment("stale");
    for (bytes, kind) in [(10, "the README's"), (60_000, "the largest")] {
        request["signatureMessage"] = "x".repeat(bytes).into();
        std::fs::write(&body, request.to_string()).unwrap();
        for number in 0..20 {
            let seen = curl(&server, "stale", &body);
            assert_eq!(seen, "401 HTTP/2", "{kind} body, call {number}");
        }
    }
}
