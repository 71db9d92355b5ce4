//! A server for one test: the binary as a child process on a free port, with its own temporary
//! directory.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Certificate, Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_countersign");

/// The beginning of a test server's configuration.
const OBSERVE: &str = "[observe]\nlisten = \"127.0.0.1:0\"\nlog = \"info\"\n";

/// Writes a file that only its owner may read, as secrets must be.
pub(crate) fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, private).unwrap();
}

/// The words that give a client all roles.
pub(crate) const ALL_ROLES: [&str; 6] = ["--role", "ask", "--role", "people", "--role", "enrol"];

/// Id and secret of a created client.
pub(crate) fn credentials(made: &Value) -> (String, String) {
    let field = |name: &str| made[name].as_str().unwrap().to_owned();
    (field("client_id"), field("client_secret"))
}

/// A running server with one tenant, `acme`, and one client of it.
pub(crate) struct TestServer {
    directory: TempDir,
    child: Child,
    /// `https://localhost:PORT`.
    pub(crate) address: String,
    /// Client id and secret.
    pub(crate) client: (String, String),
    /// An HTTP client that trusts only the server's own authority.
    pub(crate) http: Client,
}

/// A command that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

impl TestServer {
    pub(crate) fn new() -> Self {
        Self::configured("")
    }

    /// A server with this additional configuration.
    pub(crate) fn configured(configuration: &str) -> Self {
        Self::launched(&format!("{OBSERVE}{configuration}"), |serve| serve)
    }

    /// A server with these variables in its environment.
    pub(crate) fn with_environment(variables: &[(&str, &str)]) -> Self {
        Self::launched(OBSERVE, |mut serve| {
            serve.envs(variables.iter().copied());
            serve
        })
    }

    /// A server that may open no more files than `limit`, with these keys in `[server]`.
    pub(crate) fn with_open_files(limit: u32, keys: &str) -> Self {
        Self::launched(&format!("{OBSERVE}[server]\n{keys}\n"), |serve| {
            let mut limited = Command::new("sh");
            limited.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")]);
            limited.arg(serve.get_program()).args(serve.get_args());
            limited
        })
    }

    /// A server with this whole configuration, whose command is changed by `change`.
    pub(crate) fn launched(configuration: &str, change: impl FnOnce(Command) -> Command) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("countersign.toml"), configuration).unwrap();
        let data = directory.path().join("data");
        run(&data, &["tenant", "create", "acme", "--json"]).unwrap();
        let mut words = vec!["client", "create", "Shop", "--tenant", "acme", "--json"];
        words.extend(ALL_ROLES);
        let client = credentials(&run(&data, &words).unwrap());
        let (child, address) = start(directory.path(), change(serve(directory.path(), 0)));
        let http = http(&data);
        Self { directory, child, address, client, http }
    }

    /// Nodes that share a ledger on PostgreSQL, in a schema of its own: each a server with a data
    /// directory of its own, all with the same certificate and the same master key. `url` is the
    /// database's.
    pub(crate) fn fleet(count: usize, url: &str, configuration: &str) -> Vec<Self> {
        let schema = countersign_postgres::new_schema();
        let directories: Vec<_> = (0..count).map(|_| tempfile::tempdir().unwrap()).collect();
        let ports: Vec<_> = (0..count).map(|_| free_port()).collect();
        let addresses: Vec<_> =
            ports.iter().map(|port| format!("\"https://localhost:{port}\"")).collect();
        let text = format!(
            "{OBSERVE}[server]\npublic_addresses = [{}]\n[store]\nurl = \"{url}\"\n\
             schema = \"{schema}\"\nmaster_key_file = \"{}\"\n{configuration}",
            addresses.join(", "),
            directories[0].path().join("master.key").display()
        );
        for directory in &directories {
            std::fs::write(directory.path().join("countersign.toml"), &text).unwrap();
        }
        let first = directories[0].path();
        let (data, config) = (first.join("data"), first.join("countersign.toml"));
        let config = config.to_str().unwrap();
        run(&data, &["tenant", "create", "acme", "--json", "--config", config]).unwrap();
        let mut words = vec!["client", "create", "Shop", "--tenant", "acme", "--json"];
        words.extend(["--config", config]);
        words.extend(ALL_ROLES);
        let client = credentials(&run(&data, &words).unwrap());
        let mut nodes: Vec<Self> = Vec::new();
        for (directory, port) in directories.into_iter().zip(ports) {
            if let Some(first) = nodes.first() {
                copy_directory(&first.data().join("tls"), &directory.path().join("data/tls"));
            }
            let (child, _) = start(directory.path(), serve(directory.path(), port));
            let address = format!("https://localhost:{port}");
            let http = http(&directory.path().join("data"));
            nodes.push(Self { directory, child, address, client: client.clone(), http });
        }
        nodes
    }

    /// The directory of the server's files.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Runs an admin command; returns its JSON.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Result<Value, Failed> {
        let configuration = self.path().join("countersign.toml");
        let configuration = configuration.to_str().unwrap();
        run(&self.data(), &[arguments, &["--json", "--config", configuration]].concat())
    }

    /// The command that runs a phone's file.
    pub(crate) fn device(file: &Path) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["device", "run"]).arg(file);
        command
    }

    /// Another client of the tenant, made with these words.
    pub(crate) fn client_with(&self, name: &str, words: &[&str]) -> (String, String) {
        let create = ["client", "create", name, "--tenant", "acme"];
        credentials(&self.cli(&[&create, words].concat()).unwrap())
    }

    /// A user of the tenant.
    pub(crate) fn user(&self, name: &str) {
        self.cli(&["user", "create", name, "--tenant", "acme"]).unwrap();
    }

    /// An activation code for a user.
    pub(crate) fn code(&self, user: &str) -> String {
        self.code_with(user, &["test"])
    }

    /// A code that gives these labels to the identities of its device.
    pub(crate) fn code_with(&self, user: &str, labels: &[&str]) -> String {
        let mut words = vec!["activation", "create", user, "--tenant", "acme"];
        words.extend(labels.iter().flat_map(|label| ["--label", label]));
        self.cli(&words).unwrap()["code"].as_str().unwrap().to_owned()
    }

    /// The tenant's root, in a file.
    pub(crate) fn tenant_ca(&self) -> PathBuf {
        let exported = self.cli(&["ca", "export", "--tenant", "acme"]).unwrap();
        let path = self.path().join("tenant-ca.pem");
        std::fs::write(&path, exported["certificates"][0].as_str().unwrap()).unwrap();
        path
    }

    /// The transaction with this reference, from the ledger.
    pub(crate) fn transaction(&self, reference: &str) -> Value {
        let listed = self.cli(&["transaction", "list", "--tenant", "acme"]).unwrap();
        let of = |row: &&Value| row["reference"] == reference;
        listed.as_array().unwrap().iter().find(of).expect("it is listed").clone()
    }

    /// The same server by a numeric address.
    pub(crate) fn numeric_address(&self) -> String {
        self.address.replace("localhost", "127.0.0.1")
    }

    /// An HTTP client at another loopback address, which can reach the server only by its numeric
    /// address.
    pub(crate) fn http_from(&self, address: [u8; 4]) -> Client {
        let ca = std::fs::read(self.data().join("tls/ca.pem")).unwrap();
        let ca = Certificate::from_pem(&ca).unwrap();
        let client = Client::builder().local_address(std::net::IpAddr::from(address));
        client.tls_certs_only([ca]).build().unwrap()
    }

    /// The answer of the realm's token endpoint for these credentials.
    pub(crate) async fn token_answer(
        &self,
        http: &Client,
        id: &str,
        secret: &str,
    ) -> (StatusCode, Value) {
        let realm = "auth/realms/acme/protocol/openid-connect/token";
        let call = http.post(format!("{}/{realm}", self.numeric_address()));
        let call = call.basic_auth(id, Some(secret));
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        read(call.body("grant_type=client_credentials").send().await.unwrap()).await
    }

    /// An access token of the client.
    pub(crate) async fn token(&self) -> String {
        self.token_of("acme", &self.client).await
    }

    /// An access token of any tenant's client.
    pub(crate) async fn token_of(&self, tenant: &str, client: &(String, String)) -> String {
        let (id, secret) = client;
        let url = format!("{}/auth/realms/{tenant}/protocol/openid-connect/token", self.address);
        let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
        let answer = self.http.post(url).body(form);
        let answer = answer.header("content-type", "application/x-www-form-urlencoded");
        let answer: Value = read(answer.send().await.unwrap()).await.1;
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// An access token of `TrustedX`'s authorization server for one of the tenant's clients; with
    /// all of its scopes, if none is named.
    pub(crate) async fn trustedx_token(&self, client: &(String, String), scope: &str) -> String {
        let url = format!("{}/trustedx-authserver/oauth/acme/token", self.address);
        let form = format!("grant_type=client_credentials&scope={scope}");
        let answer = self.http.post(url).basic_auth(&client.0, Some(&client.1)).body(form);
        let answer = answer.header("content-type", "application/x-www-form-urlencoded");
        let answer: Value = read(answer.send().await.unwrap()).await.1;
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Starts a signature for `user`; the answer is held until it ends.
    pub(crate) async fn start_signature(&self, user: &str, body: &Value) -> (StatusCode, Value) {
        let url = format!("{}/auth/realms/acme/v3_user/digitaniumsignature/{user}", self.address);
        let token = self.token().await;
        read(self.http.post(url).bearer_auth(token).json(body).send().await.unwrap()).await
    }

    /// Cancels a signature.
    pub(crate) async fn cancel(&self, user: &str, reference: &str) -> (StatusCode, Value) {
        let url = format!("{}/auth/realms/acme/v3_user/cancelsignature/{user}", self.address);
        let body = json!({"deviceId": ["-1"], "transactionId": reference});
        let token = self.token().await;
        read(self.http.delete(url).bearer_auth(token).json(&body).send().await.unwrap()).await
    }

    /// Makes one of KOBIL's calls, at its address under the realm.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let url = format!("{}/auth/realms/acme/{path}", self.address);
        let mut call = self.http.request(method, url).bearer_auth(self.token().await);
        if let Some(body) = body {
            call = call.json(body);
        }
        read(call.send().await.unwrap()).await
    }

    /// Whether a user's first device is `ONLINE` or `OFFLINE`.
    pub(crate) async fn device_state(&self, user: &str) -> String {
        let (_, answer) = self.call(Method::GET, &format!("v3_user/devices/{user}"), None).await;
        answer["data"][0]["deviceState"].as_str().unwrap().to_owned()
    }

    /// Asks the process to end, and waits for it; returns its exit code, and keeps its log.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }

    /// Waits for the process, which was asked to end; returns its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// The id of the process.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process like a power cut, and starts it again at the same address.
    pub(crate) fn crash(&mut self) {
        self.kill();
        self.restart();
    }

    /// Kills the process, whatever it is doing.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, at the same address.
    pub(crate) fn restart(&mut self) {
        let port = self.address.rsplit(':').next().unwrap().parse().unwrap();
        let serve = serve(self.directory.path(), port);
        // A node of a fleet prints the address of the fleet.
        (self.child, _) = start(self.directory.path(), serve);
        // Connections to the former process are dead, but the client's pool still holds them.
        self.http = http(&self.data());
    }

    /// Starts it again, at the same address, with a library preloaded that shifts its clock. No
    /// client whose clock is right accepts its certificate then, so [`TestServer::http`] accepts
    /// any.
    pub(crate) fn restart_with(&mut self, preloaded: &Path) {
        let port = self.address.rsplit(':').next().unwrap().parse().unwrap();
        let mut command = serve(self.path(), port);
        command.env("LD_PRELOAD", preloaded);
        (self.child, self.address) = start(self.directory.path(), command);
        self.http = Client::builder().tls_danger_accept_invalid_certs(true).build().unwrap();
    }

    /// From now on, its client trusts this authority alone, PEM.
    pub(crate) fn trust(&mut self, authority: &Path) {
        let authority = Certificate::from_pem(&std::fs::read(authority).unwrap()).unwrap();
        self.http = Client::builder().tls_certs_only([authority]).build().unwrap();
    }

    /// The number of the server's threads.
    pub(crate) fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap().count()
    }

    /// The process's memory, now and at its peak.
    pub(crate) fn memory(&self) -> String {
        let [now, most] = ["VmRSS:", "VmHWM:"].map(|name| self.kibibytes(name) / 1024);
        format!("the server holds {now} MiB, at most {most} MiB")
    }

    /// A figure of the process's `status` (proc(5)), in KiB.
    pub(crate) fn kibibytes(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// What the server has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("server.log")).unwrap()
    }

    /// The status of `/readyz`.
    pub(crate) async fn readiness(&self) -> StatusCode {
        self.admin("/readyz").await.0
    }

    /// What the address for health and metrics answers.
    pub(crate) async fn admin(&self, path: &str) -> (StatusCode, String) {
        let log = self.log();
        let (_, rest) = log.split_once("Health and metrics on ").unwrap();
        let address = rest.split_whitespace().next().unwrap();
        let answer = reqwest::get(format!("{address}{path}")).await.unwrap();
        (answer.status(), answer.text().await.unwrap())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log());
        }
    }
}

/// A request for a signature, alive for half a minute.
pub(crate) fn payment(reference: &str) -> Value {
    json!({
        "transactionId": reference,
        "deviceGoOnlineTimeout": 30,
        "signatureTimeout": 30,
        "signatureMessage": "Pay 5 € to Ann?",
    })
}

/// Asks the running server until it has the wanted result, for at most two minutes. `what` names
/// the result.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_mins(2), asked).await;
    found.unwrap_or_else(|_| panic!("{what}: not after two minutes"))
}

/// Status and JSON of an answer.
pub(crate) async fn read(answer: Response) -> (StatusCode, Value) {
    let status = answer.status();
    let text = answer.text().await.unwrap();
    let value =
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: not JSON: {text}"));
    (status, value)
}

/// A client that trusts the server's own authority, if it has one, and nothing else.
fn http(data: &Path) -> Client {
    let ca = std::fs::read(data.join("tls/ca.pem")).ok();
    let ca = ca.map(|ca| Certificate::from_pem(&ca).unwrap());
    Client::builder().tls_certs_only(ca).build().unwrap()
}

/// The program, for a command other than administration.
pub(crate) fn program() -> tokio::process::Command {
    tokio::process::Command::new(BINARY)
}

/// Runs a command on a data directory; returns the JSON that it prints.
pub(crate) fn run(data: &Path, arguments: &[&str]) -> Result<Value, Failed> {
    let output = Command::new(BINARY).args(arguments).arg("--data").arg(data).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    if !output.status.success() {
        return Err(Failed { code: output.status.code(), stderr });
    }
    let stdout = String::from_utf8(output.stdout).unwrap();
    if arguments.first() == Some(&"history") {
        // It prints an event a line.
        return Ok(stdout
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .collect());
    }
    Ok(serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("not JSON: {stdout}{stderr}")))
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Copies a directory of files, with their modes.
fn copy_directory(from: &Path, to: &Path) {
    let private: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    for directory in [to.parent().unwrap(), to] {
        std::fs::create_dir_all(directory).unwrap();
        std::fs::set_permissions(directory, private.clone()).unwrap();
    }
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Runs `serve` for a directory, and waits until it is ready.
fn start(directory: &Path, mut serve: Command) -> (Child, String) {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(directory.join("server.log"))
        .unwrap();
    let mut child = serve.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("ready ").map(str::to_owned);
    let address = address.unwrap_or_else(|| {
        let mut said = String::new();
        let _ =
            std::fs::File::open(directory.join("server.log")).unwrap().read_to_string(&mut said);
        panic!("the server did not begin: {said}")
    });
    (child, address)
}

/// The command that serves a directory.
pub(crate) fn serve(directory: &Path, port: u16) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]);
    command.arg("--config").arg(directory.join("countersign.toml"));
    command.arg("--data").arg(directory.join("data"));
    command
}

/// Whether `openssl cms -verify -cades` accepts a message, and the content that it finds.
pub(crate) fn openssl_verifies(message: &[u8], ca: &Path) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let (file, out) = (directory.path().join("m.p7m"), directory.path().join("content"));
    std::fs::write(&file, message).unwrap();
    let output = Command::new("openssl")
        .args(["cms", "-verify", "-cades", "-binary", "-inform", "DER", "-in"])
        .arg(&file)
        .arg("-CAfile")
        .arg(ca)
        .arg("-out")
        .arg(&out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::read(out).unwrap()
}
