//! The proxies of docs/operating.md, with its configurations: nginx and `HAProxy` terminate TLS.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::StatusCode;
use tokio::join;

use crate::test_device::TestDevice;
use crate::test_server::{TestServer, payment, until};

const PAGE: &str = include_str!("../../../../docs/operating.md");

/// The proxy's process.
pub(crate) struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx's worker ends with its master only if that is asked to end.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// The page's block in this language.
fn block(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).expect("the page has it");
    rest.split_once("```").unwrap().0
}

/// Replaces each of `values`, which must be there.
pub(crate) fn with(text: &str, values: &[(&str, &str)]) -> String {
    values.iter().fold(text.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "{old} is not in: {text}");
        text.replace(old, new)
    })
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a proxy, whose log is in the directory.
pub(crate) fn start(program: &str, arguments: &[&str], directory: &Path) -> Proxy {
    let log = std::fs::File::create(directory.join("proxy.log")).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).stdout(log.try_clone().unwrap()).stderr(log).stdin(Stdio::null());
    Proxy(command.spawn().unwrap_or_else(|error| panic!("{program} does not run: {error}")))
}

/// A server behind a proxy, which has the server's own certificate. `start` starts the proxy for
/// its port and the server's two addresses.
async fn behind(start: impl FnOnce(&Path, u16, &str, &str) -> Proxy) -> (TestServer, Proxy) {
    let mut server = TestServer::new();
    let listens = server.numeric_address().split_once("://").unwrap().1.to_owned();
    server.stop();
    let (port, observe) = (free_port(), format!("127.0.0.1:{}", free_port()));
    let public = format!("https://localhost:{port}");
    let configuration =
        with(block("toml"), &[("127.0.0.1:8443", &listens), ("https://sign.example.com", &public)]);
    let configuration = format!("[observe]\nlisten = \"{observe}\"\n{configuration}");
    std::fs::write(server.path().join("countersign.toml"), configuration).unwrap();
    server.restart();
    server.address = public;
    let proxy = start(server.path(), port, &listens, &observe);
    until("the proxy answers", async || {
        let answer = server.http.get(&server.address).send().await.ok()?;
        (answer.status() == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    (server, proxy)
}

fn nginx(directory: &Path, port: u16, listens: &str, _observe: &str) -> Proxy {
    let here = directory.display();
    let block = with(
        block("nginx"),
        &[
            ("127.0.0.1:8443", listens),
            ("443 ssl", &format!("127.0.0.1:{port} ssl")),
            ("/etc/ssl/sign.example.com.pem", &format!("{here}/data/tls/server.pem")),
            ("/etc/ssl/sign.example.com.key", &format!("{here}/data/tls/server.key")),
        ],
    );
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = paths.map(|path| format!("{path}_temp_path {here}/nginx-{path};\n")).concat();
    let file = directory.join("nginx.conf");
    let whole = format!(
        "pid {here}/nginx.pid;\ndaemon off;\nerror_log stderr;\nevents {{}}\n\
         http {{\naccess_log off;\n{paths}{block}}}\n"
    );
    std::fs::write(&file, whole).unwrap();
    start("nginx", &["-p", &here.to_string(), "-c", file.to_str().unwrap()], directory)
}

fn haproxy(directory: &Path, port: u16, listens: &str, observe: &str) -> Proxy {
    let tls = ["server.pem", "server.key"].map(|name| directory.join("data/tls").join(name));
    let tls = tls.map(|path| std::fs::read_to_string(path).unwrap()).concat();
    let pem = directory.join("haproxy.pem");
    std::fs::write(&pem, tls).unwrap();
    let block = with(
        block("haproxy"),
        &[
            ("127.0.0.1:8443", listens),
            ("bind :443", &format!("bind 127.0.0.1:{port}")),
            ("/etc/ssl/sign.example.com.pem", pem.to_str().unwrap()),
            ("port 9464", &format!("port {}", observe.rsplit(':').next().unwrap())),
        ],
    );
    let file = directory.join("haproxy.cfg");
    std::fs::write(&file, format!("global\n    maxconn 100\n\n{block}")).unwrap();
    start("haproxy", &["-db", "-f", file.to_str().unwrap()], directory)
}

/// Through the proxy, a phone is enrolled and connected, a held call ends with its signature, and
/// a client's address is known.
async fn a_phone_signs(server: &TestServer) {
    server.user("jane");
    let mut jane = TestDevice::enrolled(server, "jane", None).await;
    let request = payment("through a proxy");
    let start = server.start_signature("jane", &request);
    let ((status, answer), shown) = join!(start, jane.signs());
    assert_eq!((status, &*answer["status"].to_string()), (StatusCode::OK, "\"OK\""), "{answer}");
    assert_eq!(shown.bytes(), "Pay 5 € to Ann?".as_bytes());
    let found = server.transaction("through a proxy");
    let id = found["id"].as_str().unwrap();
    let seen = server.cli(&["transaction", "show", id, "--tenant", "acme"]).unwrap();
    assert_eq!(seen["state"], "finished");

    // Wrong secrets from one address lock that address out, and no other one.
    let wrong = async |from| {
        let http = server.http_from(from);
        server.token_answer(&http, &server.client.0, "wrong").await.0
    };
    until("the address is locked out", async || {
        (wrong([127, 0, 0, 2]).await == StatusCode::TOO_MANY_REQUESTS).then_some(())
    })
    .await;
    assert_eq!(wrong([127, 0, 0, 3]).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_phone_signs_through_nginx() {
    let (server, _proxy) = behind(nginx).await;
    a_phone_signs(&server).await;
}

#[tokio::test]
async fn a_phone_signs_through_haproxy() {
    let (server, _proxy) = behind(haproxy).await;
    a_phone_signs(&server).await;
}
