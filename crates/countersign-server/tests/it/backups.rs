//! Backups and restores: what is refused, and what is told.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::test_server::{Failed, TestServer, run};

/// A server's backup, and a place for restores.
struct Fixture {
    server: TestServer,
    files: TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { server: TestServer::new(), files: tempfile::tempdir().unwrap() }
    }

    fn backup(&self) -> PathBuf {
        self.files.path().join("backup")
    }

    fn back_up(&self, more: &[&str]) -> Result<Value, Failed> {
        self.server.cli(&[&["backup", self.backup().to_str().unwrap()], more].concat())
    }

    /// Restores into a new directory of this name.
    fn restore(&self, name: &str) -> Result<Value, Failed> {
        let data = self.files.path().join(name);
        run(&data, &["restore", self.backup().to_str().unwrap(), "--json"])
    }

    fn refused(&self, name: &str, told: &str) {
        let failed = self.restore(name).unwrap_err();
        assert!(failed.stderr.contains(told), "{}", failed.stderr);
        let data = self.files.path().join(name);
        assert!(!data.join("ledger.db").exists(), "{told}: a ledger is there");
    }
}

fn spoil(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn nothing_is_overwritten_and_an_interrupted_restore_can_be_repeated() {
    let fixture = Fixture::new();
    let made = fixture.back_up(&[]).unwrap();
    let paths: Vec<_> = made["files"].as_array().unwrap().iter().map(|f| &f["path"]).collect();
    let tls = ["tls/ca.key", "tls/ca.pem", "tls/server.key", "tls/server.pem"];
    assert_eq!(paths, [&["ledger.db", "master.key"][..], &tls, &["countersign.toml"]].concat());
    let again = fixture.back_up(&[]).unwrap_err();
    assert!(again.stderr.contains("is not empty; nothing is overwritten"), "{}", again.stderr);

    let there = fixture.restore("there").unwrap();
    assert_eq!((&there["tenants"], there["secrets"].as_u64() > Some(2)), (&json!(1), true));
    let failed = fixture.restore("there").unwrap_err();
    assert!(failed.stderr.contains("ledger.db is there already"), "{}", failed.stderr);

    // A restore that was interrupted has left some of the files, and perhaps a part of one.
    let data = fixture.files.path().join("again");
    std::fs::create_dir_all(data.join("tls")).unwrap();
    std::fs::copy(fixture.backup().join("tls/ca.pem"), data.join("tls/ca.pem")).unwrap();
    std::fs::write(data.join("ledger.db.restoring"), "half").unwrap();
    let written = fixture.restore("again").unwrap()["written"].as_array().unwrap().len();
    assert_eq!(written, 5, "all but tls/ca.pem");
    std::fs::write(data.join("tls/ca.pem"), "another").unwrap();
    std::fs::remove_file(data.join("ledger.db")).unwrap();
    fixture.refused("again", "tls/ca.pem is there already, and differs");
}

#[tokio::test]
async fn a_backup_that_is_damaged_or_not_complete_is_refused() {
    let fixture = Fixture::new();
    fixture.back_up(&[]).unwrap();
    for name in ["ledger.db", "master.key", "tls/ca.key"] {
        let path = fixture.backup().join(name);
        let kept = std::fs::read(&path).unwrap();
        spoil(&path);
        fixture.refused("a", &format!("{name} is not as it was backed up"));
        std::fs::remove_file(&path).unwrap();
        fixture.refused("a", &format!("{name} cannot be read"));
        std::fs::write(&path, kept).unwrap();
    }
    let manifest = fixture.backup().join("manifest.json");
    let kept = std::fs::read_to_string(&manifest).unwrap();
    for outside in ["../escaped", "/escaped"] {
        std::fs::write(&manifest, kept.replace("tls/ca.pem", outside)).unwrap();
        fixture.refused("a", "manifest.json is damaged");
    }
    std::fs::write(&manifest, kept.replace("\"tenants\": 1", "\"tenants\": 2")).unwrap();
    fixture.refused("a", "other rows than the backup's list says");
    std::fs::remove_file(&manifest).unwrap();
    fixture.refused("a", "is not a complete backup");
    std::fs::write(&manifest, kept).unwrap();
    fixture.restore("a").unwrap();
}

#[tokio::test]
async fn a_backup_without_the_master_key_names_it_and_is_restored_where_it_is() {
    let fixture = Fixture::new();
    let made = fixture.back_up(&["--without-master-key"]).unwrap();
    assert_eq!(made["master_key_included"], false);
    assert!(!fixture.backup().join("master.key").exists());
    let id = made["master_keys"][0].as_str().unwrap();
    fixture.refused("there", &format!("put the file with key {id} to "));

    // Another ledger's key opens nothing.
    let data = fixture.files.path().join("there");
    let other = TestServer::new();
    std::fs::copy(other.data().join("master.key"), data.join("master.key")).unwrap();
    fixture.refused("there", "no key in the master key file opens it");
    std::fs::copy(fixture.server.data().join("master.key"), data.join("master.key")).unwrap();
    fixture.restore("there").unwrap();
}

#[tokio::test]
async fn a_ledger_that_a_server_serves_is_not_restored() {
    let fixture = Fixture::new();
    fixture.back_up(&[]).unwrap();
    let failed = fixture.server.cli(&["restore", fixture.backup().to_str().unwrap()]);
    let failed = failed.unwrap_err();
    assert!(failed.stderr.contains("another server (process "), "{}", failed.stderr);
}
