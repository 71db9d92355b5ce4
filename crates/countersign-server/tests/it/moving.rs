//! Moving a ledger into PostgreSQL, and its backups there: the command, and docs/postgresql.md.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use countersign_postgres::{Server, new_schema, shared};
use serde_json::{Value, json};
use tokio::join;

use crate::test_device::TestDevice;
use crate::test_server::{BINARY, TestServer, payment, until};

const PAGE: &str = include_str!("../../../../docs/postgresql.md");

/// The page's blocks in this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let begin = format!("```{language}\n");
    let rest = PAGE.split(&begin).skip(1);
    rest.map(|rest| rest.split_once("```").expect("the block ends").0).collect()
}

fn executable(file: &Path, text: &str) {
    std::fs::write(file, text).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Moves a server's ledger into a schema, with its configuration.
fn migrate(server: &TestServer, schema: &str) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("migrate").arg("--from").arg(server.data()).args(["--to", &shared().url()]);
    command.arg("--config").arg(server.path().join("countersign.toml")).arg("--json");
    command.env("COUNTERSIGN__STORE__SCHEMA", schema).output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_signs_on_the_moved_ledger_as_it_did_before() {
    let mut server = TestServer::new();
    server.user("jane");
    let mut device = TestDevice::enrolled(&server, "jane", None).await;
    let (before, after) = (payment("before"), payment("after"));
    let (answer, _) = join!(server.start_signature("jane", &before), device.signs());
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);

    let schema = new_schema();
    let refused = migrate(&server, &schema);
    let process = format!("another server (process {})", server.process_id());
    assert!(told(&refused).contains(&process), "{}", told(&refused));
    assert_eq!(server.stop(), Some(0));
    let moved = migrate(&server, &schema);
    assert!(moved.status.success(), "{}", told(&moved));
    let lines = told(&moved);
    assert!(lines.contains("moving: ") && lines.contains("comparing: 100 %"), "{lines}");
    let moved: Value = serde_json::from_slice(&moved.stdout).unwrap();
    assert_eq!((&moved["same"], &moved["resumed"]), (&json!(true), &json!(false)));
    let table = |name| moved["tables"].as_array().unwrap().iter().find(|t| t["table"] == name);
    assert_eq!(table("transactions").unwrap()["target"]["rows"], 1);
    assert_eq!(table("devices").unwrap()["source"], table("devices").unwrap()["target"]);
    let again = migrate(&server, &schema);
    assert!(told(&again).contains("has a ledger already"), "{}", told(&again));

    let file = server.path().join("countersign.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let store = format!("[store]\nurl = \"{}\"\nschema = \"{schema}\"\n", shared().url());
    std::fs::write(file, format!("{text}{store}")).unwrap();
    std::fs::remove_file(server.data().join("ledger.db")).unwrap();
    server.restart();
    let (answer, _) = join!(server.start_signature("jane", &after), device.signs());
    assert_eq!(answer.1["status"], "OK", "{}", answer.1);
    for reference in ["before", "after"] {
        assert_eq!(server.transaction(reference)["state"], "finished");
    }
    let history = server.cli(&["history"]).unwrap();
    let is_move = |event: &&Value| event["kind"] == "ledger.moved";
    let event = history.as_array().unwrap().iter().find(is_move).expect("the move is an event");
    assert_eq!(event["details"]["rows"], moved["rows"].to_string());
}

/// Runs a script as the page has it: at other places, and with a stand-in for the service manager.
struct Stage<'a> {
    here: &'a Path,
    server: &'a Server,
}

impl Stage<'_> {
    fn moved(&self, text: &str) -> String {
        let path = |name: &str| self.here.join(name).display().to_string();
        text.replace("/var/lib/countersign", &path("lib"))
            .replace("/etc/countersign", &path("etc"))
            .replace("/backup/", &format!("{}/", path("backup")))
            .replace("db.example", &format!("127.0.0.1:{}", self.server.port()))
    }

    fn run(&self, script: &str) -> String {
        let path = std::env::var("PATH").unwrap();
        let programs = self.server.programs().display();
        let output = Command::new("bash")
            .args(["-euxo", "pipefail", "-c", &self.moved(script)])
            .current_dir(self.here)
            .env("PATH", format!("{}:{programs}:{path}", self.here.join("bin").display()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", told(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

#[tokio::test]
async fn every_command_of_the_page_about_postgresql_succeeds() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    // The database's account writes its archive there.
    std::fs::set_permissions(here, std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["bin", "etc", "backup", "backup/wal"] {
        std::fs::create_dir(here.join(name)).unwrap();
    }
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(here.join("backup/wal"), open).unwrap();
    executable(&here.join("bin/systemctl"), "#!/bin/sh\n");
    std::os::unix::fs::symlink(BINARY, here.join("bin/countersign")).unwrap();
    let data = here.join("lib");
    let configuration =
        format!("[server]\nlisten = \"127.0.0.1:0\"\n[store]\ndata = \"{}\"\n", data.display());
    std::fs::write(here.join("etc/server.toml"), configuration).unwrap();

    let port_later =
        |text: &str| text.replace("/backup/", &format!("{}/", here.join("backup").display()));
    let server = Server::start(&port_later(blocks("ini")[0])).unwrap();
    let stage = Stage { here, server: &server };
    stage.run(
        "export COUNTERSIGN__STORE__DATA=/var/lib/countersign
         countersign tenant create acme
         countersign tenant create beta
         countersign client create Shop --tenant acme
         countersign user create jane --tenant acme",
    );
    let said = stage.run(&blocks("sh").concat());
    assert!(said.contains("the same in postgres://countersign@"), "{said}");
    assert_eq!(
        said.matches("\nacme ").count(),
        2,
        "the moved ledger, and the restored one: {said}"
    );
    assert!(!here.join("lib/ledger.db").exists());
    assert!(here.join("lib/moved-away/ledger.db").exists());

    // A base backup, then a mistake, and the moment before it.
    stage.run(blocks("bash")[0]);
    let on = "--config /etc/countersign/server.toml";
    stage.run(&format!("countersign tenant create gamma {on}"));
    server.sql("SELECT pg_create_restore_point('before the mistake')").unwrap();
    stage.run(&format!("countersign tenant lock gamma {on}; countersign tenant delete gamma {on}"));
    let segment = server.sql("SELECT pg_walfile_name(pg_switch_wal())").unwrap();
    let archived = here.join("backup/wal").join(&segment);
    until("the log is archived", async || archived.exists().then_some(())).await;
    let recovery = port_later(blocks("conf")[0]);
    let time = recovery.lines().find(|line| line.starts_with("recovery_target_time")).unwrap();
    let recovery = recovery.replace(time, "recovery_target_name = 'before the mistake'");
    let restored = Server::of_backup(&here.join("backup/base"), &recovery, true).unwrap();
    let list = format!("countersign tenant list {on}");
    let gamma = |said: String| {
        let line = said.lines().find(|line| line.starts_with("gamma ")).map(str::to_owned);
        line.unwrap_or_else(|| panic!("no tenant gamma: {said}"))
    };
    assert!(gamma(stage.run(&list)).contains("deleted"));
    let stage = Stage { here, server: &restored };
    let url = "export COUNTERSIGN__STORE__URL=postgres://countersign@db.example/countersign";
    let list =
        format!("{url}; export COUNTERSIGN__STORE__MASTER_KEY_FILE=/backup/master.key; {list}");
    assert!(gamma(stage.run(&list)).contains("active"));
}
