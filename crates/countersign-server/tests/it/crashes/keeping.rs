//! Rotations of the master key, backups and restores, while users and applications go on.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use countersign_sim::Prng;
use serde_json::{Value, json};
use tokio::join;

use super::load::Cluster;
use super::{PATIENCE, what_is_on_disk};
use crate::test_device::TestDevice;
use crate::test_server::{BINARY, TestServer, payment, until};

/// A process that holds the ledger's write lock.
struct WriteLock(Child);

impl WriteLock {
    fn take(data: &Path) -> Self {
        let mut sqlite = Command::new("sqlite3");
        sqlite.arg(data.join("ledger.db")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = sqlite.spawn().unwrap();
        let input = child.stdin.as_mut().unwrap();
        input.write_all(b".timeout 10000\nBEGIN IMMEDIATE;\nSELECT 'locked';\n").unwrap();
        input.flush().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "locked\n");
        Self(child)
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn keys(server: &TestServer) -> Vec<Value> {
    server.cli(&["master-key", "list"]).unwrap().as_array().unwrap().clone()
}

/// The lines of the file that are keys.
fn keys_in_file(server: &TestServer) -> usize {
    let text = std::fs::read_to_string(server.data().join("master.key")).unwrap();
    text.lines().filter(|line| line.len() == 64).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_that_is_killed_and_repeated_stops_no_device() {
    let mut prng = Prng::seeded(3);
    let mut cluster = Cluster::new(3).await;
    let load = cluster.under_load(0, &mut prng).await;
    let answers = async |count| {
        let now = cluster.journal.write(|journal| journal.answers_since_crash());
        cluster
            .journal
            .until(PATIENCE, |journal| journal.answers_since_crash() >= now + count)
            .await;
    };
    answers(5).await;
    let [old] = &keys(&cluster.server)[..] else { panic!("one key") };
    assert!(old["secrets"].as_u64().unwrap() >= 16, "eight phones have two keys each: {old}");

    // The rotation dies after it has added the key, and before it has sealed anything.
    let lock = WriteLock::take(&cluster.server.data());
    let mut rotation = Command::new(BINARY);
    rotation.args(["master-key", "rotate", "--data"]).arg(cluster.server.data());
    let mut rotation = rotation.stdout(Stdio::null()).spawn().unwrap();
    until("a second key", async || (keys_in_file(&cluster.server) == 2).then_some(())).await;
    rotation.kill().unwrap();
    rotation.wait().unwrap();
    drop(lock);
    answers(5).await;

    let rotated = cluster.server.cli(&["master-key", "rotate"]).unwrap();
    assert_eq!((&rotated["added"], &rotated["older"]), (&json!(false), &json!([old["key"]])));
    assert!(rotated["secrets"].as_u64() >= old["secrets"].as_u64(), "{rotated}");
    assert_eq!(keys_in_file(&cluster.server), 2);
    assert_eq!(keys(&cluster.server)[1], json!({"key": old["key"], "newest": false, "secrets": 0}));
    answers(5).await;
    let id = old["key"].as_str().unwrap();
    cluster.server.cli(&["master-key", "remove", id]).unwrap();
    answers(5).await;
    assert!(cluster.server.log().contains("master.key was read again"));
    assert!(!cluster.server.log().contains("corrupt"), "a row was called corrupt");

    let events = cluster.server.cli(&["history"]).unwrap();
    let kinds: Vec<_> = events.as_array().unwrap().iter().map(|event| &event["kind"]).collect();
    assert_eq!(kinds, ["master_key.rotated", "master_key.removed"]);
    cluster.server.kill();
    load.ended().await;
    cluster.journal.compare(&what_is_on_disk(&cluster.server.data()));
    cluster.server.restart();
    cluster.asks_again(&mut prng, 5).await;
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_restored_and_devices_go_on() {
    let mut prng = Prng::seeded(4);
    let mut cluster = Cluster::new(4).await;
    cluster.server.user("eve");
    let eve = TestDevice::enrolled(&cluster.server, "eve", Some("2580")).await.file;
    let load = cluster.under_load(0, &mut prng).await;
    cluster.journal.until(PATIENCE, |journal| journal.answers_since_crash() >= 5).await;
    let backups = tempfile::tempdir().unwrap();
    let backup = backups.path().join("today");
    let made = cluster.server.cli(&["backup", backup.to_str().unwrap()]).unwrap();
    assert_eq!((&made["tenants"], &made["devices"]), (&json!(1), &json!(9)));
    let before = cluster.journal.write(|journal| journal.answers_since_crash());
    cluster.journal.until(PATIENCE, |journal| journal.answers_since_crash() > before).await;
    cluster.server.kill();
    load.ended().await;

    // The disk is lost: the data directory, and the configuration beside it.
    let server = &mut cluster.server;
    let (data, file) = (server.data(), server.path().join("countersign.toml"));
    let authority = std::fs::read(data.join("tls/ca.pem")).unwrap();
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::remove_file(&file).unwrap();
    let restored = server.cli(&["restore", backup.to_str().unwrap()]).unwrap();
    assert_eq!(restored["transactions"], made["transactions"]);
    assert_eq!(std::fs::read(data.join("tls/ca.pem")).unwrap(), authority);
    assert_eq!((mode(&data), mode(&data.join("tls"))), (0o700, 0o700));
    for name in ["ledger.db", "master.key", "tls/ca.key", "tls/server.key"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
    let events = server.cli(&["history"]).unwrap();
    assert_eq!(events[0]["kind"], "ledger.restored");
    assert_eq!(events[0]["details"], json!({"made_at": made["made_at"]}));

    server.restart();
    let mut eve = TestDevice::opened(eve);
    let request = payment("after the restore");
    let signs = async {
        let (_, shown) = eve.opens(Some("2580")).await.unwrap();
        eve.device.approve(&shown, None).await.unwrap();
    };
    let (answer, ()) = join!(server.start_signature("eve", &request), signs);
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
}
