//! `deploy/`: the unit of systemd, the configurations of a node and of proxies; and two nodes
//! behind each proxy without stickiness, on a database that they reach over TLS with a password.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::StatusCode;
use serde_json::Value;
use tokio::join;

use crate::proxies::{Proxy, start, with};
use crate::test_device::TestDevice;
use crate::test_server::{
    ALL_ROLES, BINARY, TestServer, credentials, free_port, payment, read, until,
};

/// The repository's `deploy/`.
fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(deploy(name)).unwrap()
}

/// The output of a command, which must succeed.
fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// The unit with the drop-in of a node on PostgreSQL, for the program of this build.
fn unit(directory: &Path) -> PathBuf {
    let unit = with(&text("systemd/countersign.service"), &[("/usr/bin/countersign", BINARY)]);
    let file = directory.join("countersign.service");
    std::fs::write(&file, unit).unwrap();
    let more = directory.join("countersign.service.d");
    std::fs::create_dir(&more).unwrap();
    std::fs::copy(deploy("systemd/postgresql.conf"), more.join("postgresql.conf")).unwrap();
    file
}

#[test]
fn the_unit_is_valid_and_confined() {
    let directory = tempfile::tempdir().unwrap();
    let unit = unit(directory.path());
    let analyze = |words: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        // Its warnings are failures too.
        command.args(words).arg(&unit).env("SYSTEMD_LOG_LEVEL", "warning");
        succeeds(&mut command)
    };
    assert_eq!(analyze(&["verify", "--man=no"]), "");
    // In tenths: 0 is confined, 100 is not at all.
    analyze(&["security", "--offline=true", "--threshold=20", "--no-pager"]);
}

#[test]
fn the_account_and_its_directory_are_made() {
    let root = tempfile::tempdir().unwrap();
    let make = |program: &str, words: &[&str], file: &str| {
        let mut command = Command::new(program);
        command.arg(format!("--root={}", root.path().display())).args(words).arg(deploy(file));
        succeeds(&mut command)
    };
    make("systemd-sysusers", &["--dry-run"], "systemd/countersign.sysusers");
    let line = text("systemd/countersign.tmpfiles");
    assert_eq!(line, "d /var/lib/countersign 0700 countersign countersign -\n");
}

/// The unit, the package and the image start the program with the same configuration file, which is
/// valid; so is that of a node.
#[test]
fn the_configurations_are_valid_and_started_by_all() {
    let starts = "serve --config /etc/countersign/server.toml";
    assert!(text("systemd/countersign.service").contains(starts));
    let words: Vec<_> = starts.split(' ').map(|word| format!("\"{word}\"")).collect();
    assert!(text("Containerfile").contains(&format!("CMD [{}]", words.join(", "))));
    assert_eq!(text("deb/conffiles"), "/etc/countersign/server.toml\n");
    for name in ["server.toml", "node.toml"] {
        succeeds(Command::new(BINARY).args(["config", "check", "--config"]).arg(deploy(name)));
    }
    // The times to stop: systemd's and the container's are longer than the server's.
    assert!(text("systemd/countersign.service").contains("\nTimeoutStopSec=60\n"));
    assert!(text("compose.yaml").contains("\n  stop_grace_period: 60s\n"));
    let shown =
        Command::new(BINARY).args(["config", "show", "--config"]).arg(deploy("node.toml")).output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    let seconds = |key: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix(&format!("{key} = "))).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    assert!(seconds("lame_duck_seconds") + seconds("drain_seconds") + 5 <= 60);
}

/// Each file that the compose file mounts is there, or is made by `make-secrets`; and the secrets
/// are made once.
#[test]
fn the_files_that_the_compose_file_mounts_exist() {
    let directory = tempfile::tempdir().unwrap();
    let secrets = secrets(directory.path());
    let compose = text("compose.yaml");
    let mounts: Vec<_> = compose
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ./")?.split_once(':'))
        .map(|(file, _)| file)
        .collect();
    assert!(mounts.len() >= 9, "{mounts:?}");
    for file in mounts {
        let path = match file.strip_prefix("secrets/") {
            Some(name) => secrets.join(name),
            None => deploy(file),
        };
        assert!(path.is_file(), "{file}");
    }
    let again = Command::new(deploy("make-secrets")).arg(&secrets).output().unwrap();
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("it is not replaced"));
}

/// What `make-secrets` makes, in a directory of the test's.
fn secrets(directory: &Path) -> PathBuf {
    let secrets = directory.join("secrets");
    succeeds(Command::new(deploy("make-secrets")).arg(&secrets).arg("localhost"));
    secrets
}

/// Two nodes with the configuration of `deploy/node.toml`, their database and their proxy.
struct Fleet {
    nodes: [TestServer; 2],
    /// A node whose address is the proxy's.
    front: TestServer,
    _database: countersign_postgres::Server,
    _proxy: Proxy,
}

/// The ports of two nodes: for applications and devices, and for health.
struct Ports([(u16, u16); 2]);

/// A database with TLS, where only a password opens the account of the nodes.
fn database(secrets: &Path) -> countersign_postgres::Server {
    let mut database = countersign_postgres::Server::start("").unwrap();
    let data = database.data();
    let owner = data.metadata().unwrap();
    for name in ["server.pem", "server.key"] {
        let copy = data.join(name);
        std::fs::copy(secrets.join("database").join(name), &copy).unwrap();
        chown(&copy, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let rules = "hostssl countersign countersign 127.0.0.1/32 scram-sha-256\n\
                 host postgres postgres 127.0.0.1/32 trust\n";
    std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
    let settings = data.join("postgresql.conf");
    let before = std::fs::read_to_string(&settings).unwrap();
    let tls = "ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.key'\n";
    std::fs::write(&settings, format!("{before}{tls}")).unwrap();
    database.crash().unwrap();
    database.resume().unwrap();
    let password = std::fs::read_to_string(secrets.join("database/database.password")).unwrap();
    database.sql(&format!("CREATE ROLE countersign LOGIN PASSWORD '{}'", password.trim())).unwrap();
    database.sql("CREATE DATABASE countersign OWNER countersign ENCODING 'UTF8'").unwrap();
    database
}

/// Starts all of them. `proxy` starts the proxy for its port, its certificate and the ports of the
/// nodes.
async fn fleet(proxy: impl FnOnce(&Path, u16, &Path, &Ports) -> Proxy) -> Fleet {
    let [mut one, mut two, mut front] = [(); 3].map(|()| TestServer::new());
    for server in [&mut one, &mut two, &mut front] {
        server.stop();
    }
    let secrets = secrets(front.path());
    let database = database(&secrets);
    let port = free_port();
    let node = secrets.join("node");
    let mut ports = Vec::new();
    for server in [&one, &two, &front] {
        let listens = server.numeric_address().rsplit(':').next().unwrap().parse().unwrap();
        ports.push((listens, free_port()));
        let path = |name: &str| node.join(name).display().to_string();
        let url = format!("database:{}/countersign?hostaddr=127.0.0.1", database.port());
        let configuration = with(
            &text("node.toml"),
            &[
                ("database:5432/countersign", &url),
                ("/etc/countersign/database-ca.pem", &path("database-ca.pem")),
                ("/run/credentials/countersign.service/master.key", &path("master.key")),
                (
                    "/run/credentials/countersign.service/database.password",
                    &path("database.password"),
                ),
                ("0.0.0.0:9464", &format!("127.0.0.1:{}", ports.last().unwrap().1)),
                ("https://sign.example.com", &format!("https://localhost:{port}")),
                ("lame_duck_seconds = 5", "lame_duck_seconds = 3"),
            ],
        );
        std::fs::write(server.path().join("countersign.toml"), configuration).unwrap();
    }
    one.cli(&["tenant", "create", "acme"]).unwrap();
    one.client = {
        let words = [&["client", "create", "Shop", "--tenant", "acme"][..], &ALL_ROLES].concat();
        credentials(&one.cli(&words).unwrap())
    };
    front.client = one.client.clone();
    for node in [&mut one, &mut two] {
        // The log of its life without the fleet names another address for its health.
        std::fs::remove_file(node.path().join("server.log")).unwrap();
        node.restart();
    }
    // It stays stopped: it is the proxy's address, and the command line on the shared ledger.
    front.address = format!("https://localhost:{port}");
    front.trust(&secrets.join("authority.pem"));
    std::fs::copy(secrets.join("authority.pem"), front.data().join("tls/ca.pem")).unwrap();
    let ports = Ports([ports[0], ports[1]]);
    let proxy = proxy(front.path(), port, &secrets.join("proxy/sign.pem"), &ports);
    until("the proxy answers", async || {
        let answer = front.http.get(&front.address).send().await.ok()?;
        (answer.status() == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    Fleet { nodes: [one, two], front, _database: database, _proxy: proxy }
}

fn haproxy(directory: &Path, port: u16, certificate: &Path, ports: &Ports) -> Proxy {
    let [(one, one_health), (two, two_health)] = ports.0;
    let configuration = with(
        &text("haproxy.cfg"),
        &[
            ("bind :443", &format!("bind 127.0.0.1:{port}")),
            ("/etc/haproxy/sign.example.com.pem", certificate.to_str().unwrap()),
            // Nodes on one machine differ in the ports of their health.
            ("node1:8443", &format!("127.0.0.1:{one} port {one_health}")),
            ("node2:8443", &format!("127.0.0.1:{two} port {two_health}")),
            ("maxconn 20000", "maxconn 200"),
        ],
    );
    let file = directory.join("haproxy.cfg");
    std::fs::write(&file, configuration).unwrap();
    succeeds(Command::new("haproxy").arg("-c").arg("-f").arg(&file));
    start("haproxy", &["-db", "-f", file.to_str().unwrap()], directory)
}

fn nginx(directory: &Path, port: u16, certificate: &Path, ports: &Ports) -> Proxy {
    let here = directory.display();
    let [(one, _), (two, _)] = ports.0;
    let pem = certificate.to_str().unwrap();
    let block = with(
        &text("nginx.conf"),
        &[
            ("443 ssl", &format!("127.0.0.1:{port} ssl")),
            ("/etc/ssl/sign.example.com.pem", pem),
            ("/etc/ssl/sign.example.com.key", pem),
            ("node1:8443", &format!("127.0.0.1:{one}")),
            ("node2:8443", &format!("127.0.0.1:{two}")),
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

/// The requests that a node has answered.
async fn answered(node: &TestServer) -> u64 {
    let (_, metrics) = node.admin("/metrics").await;
    let counts = metrics.lines().filter(|line| line.starts_with("countersign_http_requests_total"));
    counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// A phone is enrolled and signs, over whichever node; then the node that holds a started
/// transaction is killed, and the transaction ends through the other.
async fn a_killed_node_stops_nothing(mut fleet: Fleet) {
    let front = &fleet.front;
    front.user("jane");
    let mut jane = TestDevice::enrolled(front, "jane", None).await;
    for number in 0..4 {
        let request = payment(&format!("both-{number}"));
        let (answer, _) = join!(front.start_signature("jane", &request), jane.signs());
        assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    }
    for node in &fleet.nodes {
        let answered = answered(node).await;
        assert!(answered >= 4, "one node answers everything: {answered}");
    }

    let token = front.token().await;
    let url = format!("{}/auth/realms/acme/v3_user/digitaniumsignature/jane", front.address);
    let request = payment("orphan");
    let held = front.http.post(&url).bearer_auth(&token).json(&request).send();
    let held = tokio::spawn(held);
    let (_, shown) = jane.opens(None).await.unwrap();
    // Whichever holds the call, the channel or neither.
    fleet.nodes[0].kill();
    let approved =
        until("the signature is accepted", async || jane.device.approve(&shown, None).await.ok());
    approved.await;
    let first: Option<Value> = match held.await.unwrap() {
        Ok(answer) if answer.status() == StatusCode::OK => Some(read(answer).await.1),
        _ => None,
    };
    // If its call was lost, the application repeats it.
    let answer = match first {
        Some(answer) => answer,
        None => front.start_signature("jane", &request).await.1,
    };
    assert_eq!(answer["status"], "OK", "{answer}");
    assert_eq!(fleet.nodes[1].transaction("orphan")["state"], "finished");
    let request = payment("after");
    let (answer, _) = join!(front.start_signature("jane", &request), jane.signs());
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_haproxy_a_killed_node_stops_nothing() {
    a_killed_node_stops_nothing(fleet(haproxy).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_nginx_a_killed_node_stops_nothing() {
    a_killed_node_stops_nothing(fleet(nginx).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_haproxy_a_rolling_restart_fails_no_call() {
    let mut fleet = fleet(haproxy).await;
    let (url, http) = (fleet.front.address.clone(), fleet.front.http.clone());
    let client = fleet.front.client.clone();
    let (done, mut until_done) = tokio::sync::oneshot::channel::<()>();
    let calls = tokio::spawn(async move {
        let mut calls = 0;
        while until_done.try_recv().is_err() {
            let call = http.post(format!("{url}/auth/realms/acme/protocol/openid-connect/token"));
            let call = call.basic_auth(&client.0, Some(&client.1));
            let call = call.header("content-type", "application/x-www-form-urlencoded");
            let answer = call.body("grant_type=client_credentials").send().await;
            let status = answer.map(|answer| answer.status());
            assert_eq!(status.ok(), Some(StatusCode::OK), "after {calls} calls");
            calls += 1;
        }
        calls
    });
    for index in 0..2 {
        let node = &mut fleet.nodes[index];
        // It waits while it serves on, and for its drain.
        tokio::task::block_in_place(|| assert_eq!(node.stop(), Some(0)));
        fleet.nodes[index].restart();
        until("the proxy uses it again", async || {
            (answered(&fleet.nodes[index]).await > 2).then_some(())
        })
        .await;
    }
    done.send(()).unwrap();
    let calls = calls.await.unwrap();
    assert!(calls > 50, "{calls}");
}
