//! The receivers of `docs/examples` verify the callbacks that they get.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::StatusCode;
use serde_json::Value;

use super::Shop;
use crate::receiver;

/// An example of `docs/examples`, running.
struct Example(Child);

impl Example {
    fn run(program: &str, file: &str, shop: &Shop, directory: &Path) -> (Self, u16) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples").join(file);
        let [certificate, key] = receiver::written(&shop.authority, directory);
        let mut child = Command::new(program)
            .arg(path)
            .args(["--port", "0", "--certificate"])
            .arg(certificate)
            .arg("--key")
            .arg(key)
            .env("WEBHOOK_SECRET", &shop.webhook_secret)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{program} is needed for the examples: {error}"));
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening on ").expect(&line).parse().unwrap();
        (Self(child), port)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_documents_check_what_they_get() {
    let shop = Shop::open("").await;
    for (program, file) in [("python3", "receiver.py"), ("node", "receiver.mjs")] {
        let directory = tempfile::tempdir().unwrap();
        let (mut example, port) = Example::run(program, file, &shop, directory.path());
        let url = format!("https://localhost:{port}/");
        let forged = reqwest::Client::builder()
            .tls_certs_only(
                [reqwest::Certificate::from_pem(shop.authority.pem.as_bytes()).unwrap()],
            )
            .build()
            .unwrap();
        let forged = forged.post(&url).header("webhook-id", "x").header("webhook-timestamp", "1");
        let forged = forged.header("webhook-signature", "v1,AAAA").body("{}").send().await.unwrap();
        assert_eq!(forged.status(), StatusCode::UNAUTHORIZED, "{file}");

        shop.ends(file, &url).await;
        let mut printed = BufReader::new(example.0.stdout.take().unwrap());
        let mut line = String::new();
        printed.read_line(&mut line).unwrap();
        assert!(line.ends_with(" DEVICE_GO_ONLINE_TIMEOUT\n"), "{file}: {line}");
        shop.outbox_until(<[Value]>::is_empty);
    }
}
