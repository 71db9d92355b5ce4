//! What an operator and a service manager do to a running server: reload, stop, watch, and start
//! with few open files.

use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use countersign_http::time_format;
use reqwest::{Certificate, Client, StatusCode};
use serde_json::{Value, json};
use tokio::join;

use crate::receiver::{Authority, OK, Receiver};
use crate::test_device::TestDevice;
use crate::test_server::{BINARY, TestServer, payment, until, write_private};

/// Sends a signal to the server.
fn signal(server: &TestServer, name: &str) {
    let kill = format!("kill -{name} {}", server.process_id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// Sends SIGHUP, and waits until the log says that it was dealt with: one more line with `told`.
async fn reload(server: &TestServer, told: &str) {
    let count = || server.log().matches(told).count();
    let before = count();
    signal(server, "HUP");
    until(told, async || (count() > before).then_some(())).await;
}

/// Writes a certificate for localhost and its key, and answers the certificate.
fn certificate(directory: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(directory.join("server.pem"), made.cert.pem()).unwrap();
    write_private(&directory.join("server.key"), &made.signing_key.serialize_pem());
    made.cert.pem()
}

/// Whether a new connection is made by a client that trusts this certificate only.
async fn is_trusted(server: &TestServer, certificate: &str) -> bool {
    let trusted = Certificate::from_pem(certificate.as_bytes()).unwrap();
    let client = Client::builder().tls_certs_only([trusted]).build().unwrap();
    client.get(&server.address).send().await.is_ok()
}

#[tokio::test]
async fn a_reload_uses_new_certificates_and_keeps_those_in_use_if_the_new_ones_are_broken() {
    let files = tempfile::tempdir().unwrap();
    let first = certificate(files.path());
    let directory = files.path().display();
    let server = TestServer::configured(&format!(
        "[server]\ntls = \"files\"\ncertificate_file = \"{directory}/server.pem\"\n\
         key_file = \"{directory}/server.key\"\n"
    ));
    assert!(is_trusted(&server, &first).await);
    let second = certificate(files.path());
    assert!(is_trusted(&server, &first).await, "without a signal nothing changes");
    reload(&server, "Reloaded: log levels, certificates, trusted authorities").await;
    assert!(is_trusted(&server, &second).await);
    assert!(!is_trusted(&server, &first).await);

    std::fs::write(files.path().join("server.pem"), "-----BEGIN NONSENSE-----").unwrap();
    reload(&server, "The certificates in use stay").await;
    assert!(server.log().contains("server.pem"), "the file is not named");
    assert!(is_trusted(&server, &second).await);
    // A key that is another certificate's.
    certificate(files.path());
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    write_private(&files.path().join("server.key"), &other);
    reload(&server, "the key must be the certificate's").await;
    assert!(is_trusted(&server, &second).await);
    let third = certificate(files.path());
    reload(&server, "Reloaded: log levels, certificates").await;
    assert!(is_trusted(&server, &third).await);
}

#[tokio::test]
async fn a_reload_uses_the_new_configuration_where_it_can_and_stops_no_device() {
    let server = TestServer::new();
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    let file = server.path().join("countersign.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let request = payment("held");
    let signs = async {
        let (_, shown) = jane.opens(None).await.unwrap();
        // The device's channel and the held call are open meanwhile.
        std::fs::write(&file, "[server\n").unwrap();
        reload(&server, "Nothing was reloaded").await;
        let changed = before.replace("log = \"info\"", "log = \"debug\"");
        std::fs::write(&file, format!("{changed}[locks]\nwrong_max = 3\n")).unwrap();
        reload(&server, "[locks] has changed; it takes effect when").await;
        jane.device.approve(&shown, None).await.unwrap();
    };
    let (answer, ()) = join!(server.start_signature("jane", &request), signs);
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    until("a line of level debug", async || server.log().contains("DEBUG").then_some(())).await;
    assert!(!server.log().contains("[server] has changed"), "{}", server.log());

    let sender = format!(
        "[[push.sender]]\nprovider = \"webhook\"\nurl = \"https://localhost:1/\"\n\
         secret_file = \"{}/none\"\n",
        server.path().display()
    );
    std::fs::write(&file, format!("{before}{sender}")).unwrap();
    reload(&server, "Pushes through webhook/*/* cannot be sent").await;
    let bad = format!("{before}[delivery]\nextra_ca_file = \"none.pem\"\n");
    std::fs::write(&file, bad).unwrap();
    reload(&server, "The trusted authorities in use stay").await;
    assert_eq!(server.readiness().await, StatusCode::OK);
}

#[tokio::test]
async fn a_reload_trusts_new_authorities_of_receivers() {
    let (files, before, after) = (tempfile::tempdir().unwrap(), Authority::new(), Authority::new());
    let trusted = files.path().join("ca.pem");
    std::fs::write(&trusted, &before.pem).unwrap();
    let server = TestServer::configured(&format!(
        "[delivery]\nallowed_networks = [\"127.0.0.0/8\"]\nextra_ca_file = \"{}\"\n",
        trusted.display()
    ));
    server.user("jane");
    TestDevice::enrolled(&server, "jane", None).await;
    // A transaction ends at once, because no device is online for it.
    let ends = async |reference: &str, url: &str| {
        let mut request = payment(reference);
        request["deviceGoOnlineTimeout"] = json!(0);
        request["callbackUrl"] = json!(url);
        assert_eq!(server.start_signature("jane", &request).await.0, StatusCode::OK);
    };
    let mut refused = Receiver::new(&after, |_, _| OK).await;
    ends("before", &refused.url()).await;
    let failed = async || {
        let listed = server.cli(&["delivery", "list", "--tenant", "acme"]).unwrap();
        listed[0]["outcome"].as_str().filter(|outcome| outcome.contains("certificate")).map(drop)
    };
    until("a delivery to a receiver that is not trusted", failed).await;
    assert!(!refused.has_more());

    std::fs::write(&trusted, &after.pem).unwrap();
    reload(&server, "Reloaded: log levels, certificates, trusted authorities").await;
    let mut receiver = Receiver::new(&after, |_, _| OK).await;
    ends("after", &receiver.url()).await;
    let body: Value = serde_json::from_slice(&receiver.next().await.body).unwrap();
    assert_eq!(body["data"]["transactionId"], "after");
}

#[tokio::test]
async fn a_server_that_stops_first_says_so_then_serves_on_and_then_drains() {
    let mut server = TestServer::configured("[server]\nlame_duck_seconds = 3\n");
    server.user("jane");
    let mut jane = TestDevice::enrolled(&server, "jane", None).await;
    assert_eq!(server.readiness().await, StatusCode::OK);
    let asked = Instant::now();
    signal(&server, "TERM");
    let unready = async || (server.readiness().await != StatusCode::OK).then_some(());
    until("not ready", unready).await;
    assert!(asked.elapsed() < Duration::from_secs(2), "it said so at once");
    assert!(!server.log().contains("Draining"), "it drains too early");
    // A transaction that starts now is served to its end.
    let request = payment("last");
    let (answer, _) = join!(server.start_signature("jane", &request), jane.signs());
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    assert_eq!(server.ended(), Some(0));
    let log = server.log();
    let second = |words: &str| {
        let line = log.lines().find(|line| line.contains(words));
        let line = line.unwrap_or_else(|| panic!("{words}: {log}"));
        let time = line.split_whitespace().next().and_then(time_format::parse_seconds);
        time.unwrap_or_else(|| panic!("no time: {line}"))
    };
    let drained = second("Draining: no new transactions");
    assert!(drained >= second("not ready from now on; draining in 3 s") + 3, "{log}");
    assert!(second("The ledger is closed") >= drained, "{log}");
}

/// The next message that is not a sign of life.
fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    loop {
        let length = socket.recv(&mut buffer).expect("the server tells something");
        let message = std::str::from_utf8(&buffer[..length]).unwrap();
        if message != "WATCHDOG=1\n" {
            return message.to_owned();
        }
    }
}

#[tokio::test]
async fn the_service_manager_is_told_each_state_and_gets_signs_of_life() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "2000000")];
    let mut server = TestServer::with_environment(&environment);
    assert_eq!(told(&socket), "READY=1\nSTATUS=Serving\n");
    let mut buffer = [0; 64];
    let mut lives = || {
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"WATCHDOG=1\n");
        Instant::now()
    };
    let (mut last, first) = (lives(), Instant::now());
    for _ in 0..3 {
        let next = lives();
        assert!(next - last < Duration::from_secs(2), "systemd would end it: {:?}", next - last);
        last = next;
    }
    assert!(first.elapsed() > Duration::from_secs(2), "twice in its time, and not oftener");

    signal(&server, "HUP");
    let reloading = told(&socket);
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split_whitespace().next().unwrap().parse().unwrap();
    let time: f64 = time.trim().parse().unwrap();
    // The time of the uptime includes sleep of the machine, which the monotonic clock does not.
    assert!(time / 1e6 <= uptime + 1.0 && time > 0.0, "{time} µs at {uptime} s");
    assert_eq!(told(&socket), "READY=1\nSTATUS=Serving\n");
    signal(&server, "TERM");
    assert_eq!(told(&socket), "STOPPING=1\nSTATUS=Stopping\n");
    assert_eq!(server.ended(), Some(0));
}

#[tokio::test]
async fn at_the_limit_of_open_files_health_and_metrics_still_answer() {
    let server =
        TestServer::with_open_files(256, "connections_exempt_networks = [\"127.0.0.0/8\"]");
    assert!(server.log().contains("at most 128 connections are open at once"), "{}", server.log());
    let address = server.numeric_address();
    let address = address.strip_prefix("https://").unwrap();
    let connections: Vec<TcpStream> = (0..300)
        .filter_map(|_| {
            let mut connection = TcpStream::connect(address).ok()?;
            // The beginning of a handshake, which never goes on.
            connection.write_all(&[22, 3, 1]).ok()?;
            Some(connection)
        })
        .collect();
    assert!(connections.len() > 200, "{}", connections.len());
    let full = async || (server.readiness().await == StatusCode::SERVICE_UNAVAILABLE).then_some(());
    until("connections are full", full).await;
    for _ in 0..20 {
        assert_eq!(server.admin("/healthz").await.0, StatusCode::OK);
        let (status, metrics) = server.admin("/metrics").await;
        assert_eq!(status, StatusCode::OK);
        assert!(metrics.contains("countersign_connections_full 1"), "{metrics}");
    }
    assert!(!server.log().contains("Cannot accept a connection"), "{}", server.log());
    server.cli(&["tenant", "list"]).unwrap();
    drop(connections);
    let ready = async || (server.readiness().await == StatusCode::OK).then_some(());
    until("it is ready again", ready).await;
}

#[tokio::test]
async fn a_full_disk_makes_the_server_unready() {
    let server = TestServer::new();
    assert_eq!(server.admin("/readyz").await, (StatusCode::OK, "ready\n".into()));
    // No disk has so much room.
    let setting = "[observe]\nlisten = \"127.0.0.1:0\"\ndisk_free_mebibytes_min = 4294967295\n";
    let server = TestServer::launched(setting, |serve| serve);
    let full = (StatusCode::SERVICE_UNAVAILABLE, "the disk of the ledger is full\n".into());
    assert_eq!(server.admin("/readyz").await, full);
}

#[tokio::test]
async fn the_start_names_program_ledger_schema_and_configuration() {
    let server = TestServer::new();
    let version = Command::new(BINARY).arg("--version").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let version = version.trim().strip_prefix("countersign ").unwrap().to_owned();
    let (number, commit) = version.split_once(' ').unwrap();
    assert_eq!(number, env!("CARGO_PKG_VERSION"));
    let commit = commit.strip_prefix('(').and_then(|commit| commit.strip_suffix(')')).unwrap();
    let is_hex = commit.len() == 12 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_hex || commit == "unknown", "{commit}");
    let log = server.log();
    let begun = format!(
        "Countersign {version}; ledger {} with schema 1; configuration {}",
        server.data().join("ledger.db").display(),
        server.path().join("countersign.toml").display()
    );
    assert!(log.contains(&begun), "{begun}: {log}");
}

fn config(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(BINARY).arg("config").args(arguments).output().unwrap();
    let text = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn a_configuration_is_checked_shown_and_explained_without_a_server() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("c.toml");
    let path = file.to_str().unwrap();
    let (done, manual) = config(&["default"]);
    assert!(done && manual.contains("# Address and port for applications and devices."));
    std::fs::write(&file, &manual).unwrap();
    assert!(config(&["check", "--config", path]).0, "the manual is a configuration");

    std::fs::write(&file, "[locks]\nwrong_max = 3\n").unwrap();
    let (done, shown) = config(&["show", "--config", path, "--listen", "127.0.0.1:7"]);
    assert!(done, "{shown}");
    assert!(shown.contains(&format!("\nwrong_max = 3 # {path}\n")), "{shown}");
    assert!(shown.contains("\nlisten = \"127.0.0.1:7\" # --listen\n"), "{shown}");
    assert!(shown.contains("\nfirst_seconds = 300\n"), "{shown}");
    let again = directory.path().join("again.toml");
    std::fs::write(&again, shown).unwrap();
    assert!(config(&["check", "--config", again.to_str().unwrap()]).0, "it can be used again");

    for (text, told) in [
        ("[locks]\nwrong_maxx = 3\n", "`locks.wrong_maxx` is not a key"),
        ("[delivery]\nextra_ca_file = \"none.pem\"\n", "none.pem"),
        (
            "[server]\ntls = \"files\"\ncertificate_file = \"a.pem\"\nkey_file = \"a.key\"\n",
            "a.pem",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let (done, error) = config(&["check", "--config", path]);
        assert!(!done && error.contains(told), "{error}");
    }
    assert!(!directory.path().join("data").exists(), "nothing is made");
}
