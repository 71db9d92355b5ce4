//! Handshakes that fail, with real servers: each is told in the sentence of the page's table.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use countersign_device::{ActivationCode, DeviceDescription, Enrolment, KeyKind, PhoneFile, enrol};
use futures_util::future::join_all;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::fake::CODE;
use crate::site::{Authority, Certified, localhost};

const PAGE: &str = include_str!("../../../../docs/callbacks.md");

/// A server that presents these certificates, whether or not they are valid.
#[derive(Debug)]
struct Presents(Arc<CertifiedKey>);

impl ResolvesServerCert for Presents {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl Presents {
    fn chain(chain: Vec<Vec<u8>>, key: &KeyPair) -> Self {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let key = provider.key_provider.load_private_key(key).unwrap();
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        Self(Arc::new(CertifiedKey::new(chain, key)))
    }

    fn one(certified: Certified) -> Self {
        Self::chain(vec![certified.der], &certified.key)
    }
}

/// Listens on `localhost`, and shakes hands; returns the address.
async fn listening(config: ServerConfig) -> String {
    let (acceptor, tcp) =
        (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("localhost:0").await.unwrap());
    let address = format!("https://localhost:{}", tcp.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = tcp.accept().await {
            acceptor.accept(stream).await.ok();
        }
    });
    address
}

async fn presenting(certificates: Presents) -> String {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    listening(config.with_cert_resolver(Arc::new(certificates))).await
}

fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let base64 = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

/// The sentence of a device that enrols at this server, and trusts this authority only.
async fn told(server: &str, root: &[u8]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let enrolment = Enrolment {
        server: server.to_owned(),
        server_ca: Some(pem(root)),
        tenant: "bank".to_owned(),
        user: "ann".to_owned(),
        code: ActivationCode::parse(CODE).unwrap(),
        proposed_labels: Vec::new(),
        device: DeviceDescription::default(),
        pin: None,
        key: KeyKind::P256,
        push: None,
    };
    let file = PhoneFile::at(directory.path().join("phone.json"));
    enrol(&file, &enrolment).await.unwrap_err().to_string()
}

/// That a sentence is the one of an untrusted certificate, and in the table of the page.
#[track_caller]
fn assert_untrusted(told: &str, why: &str) {
    assert_eq!(told, format!("the server's certificate is not trusted: {why}"));
    assert_in_page(why);
}

/// That each server is told with its sentence of a failed connection, and that the page's table has
/// it. A device tries such a server several times, so they are tried at once.
async fn assert_unreachable(servers: impl IntoIterator<Item = (&str, &'static str)>, root: &[u8]) {
    let tried = servers.into_iter().map(async |(server, why)| {
        let told = told(server, root).await;
        let begin = format!("the server {server} cannot be reached ({why})");
        assert!(told.starts_with(&begin), "{told}");
        assert_in_page(why);
    });
    join_all(tried).await;
}

#[track_caller]
fn assert_in_page(why: &str) {
    assert!(PAGE.contains(&format!("| {why} |")), "{why}");
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_is_told_with_what_is_wrong() {
    let authority = Authority::new();
    let with = |change: &dyn Fn(&mut CertificateParams)| {
        let mut params = localhost();
        change(&mut params);
        authority.issue(&params)
    };
    let expired = with(&|params| params.not_after = date_time_ymd(2020, 1, 1));
    let early = with(&|params| params.not_before = date_time_ymd(2100, 1, 1));
    let client = with(&|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let critical = with(&|params| {
        let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 1], vec![5, 0]);
        unknown.set_criticality(true);
        params.custom_extensions = vec![unknown];
    });
    // It has the name of the authority, and another key.
    let namesake = Authority::new().issue(&localhost());
    let mut stranger = localhost();
    stranger.distinguished_name.push(DnType::CommonName, "itself");
    for (certified, why) in [
        (expired, "its certificate has expired"),
        (early, "its certificate is not valid yet, or the clock of this machine is late"),
        (client, "its certificate is not for servers (extended key usage)"),
        (critical, "its certificate has a critical extension that is not known here"),
        (namesake, "its certificate is not signed by the authority that it names"),
        (
            Certified::by_itself(&stranger),
            "its certificate comes from an authority that is not trusted here, or it does not \
             send the certificates in between",
        ),
    ] {
        let server = presenting(Presents::one(certified)).await;
        assert_untrusted(&told(&server, &authority.root).await, why);
    }
    let key = KeyPair::generate().unwrap();
    let garbage = presenting(Presents::chain(vec![vec![0x30, 3, 1, 1, 0]], &key)).await;
    assert_untrusted(&told(&garbage, &authority.root).await, "its certificate is malformed");
    let none = presenting(Presents::chain(Vec::new(), &key)).await;
    assert_unreachable([(&*none, "it sent no certificate")], &authority.root).await;
}

#[tokio::test]
async fn an_authoritys_own_certificate_and_one_for_other_names_are_told_as_such() {
    let mut params = localhost();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = Certified::by_itself(&params);
    let root = own.der.clone();
    let server = presenting(Presents::one(own)).await;
    assert_untrusted(
        &told(&server, &root).await,
        "its certificate is an authority's own, and not one that the authority issued for the \
         server",
    );
    let authority = Authority::new();
    for (names, shown) in
        [(&["a.example", "192.0.2.1"][..], "a.example, 192.0.2.1"), (&[], "no name")]
    {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let certified = authority.issue(&CertificateParams::new(names).unwrap());
        let server = presenting(Presents::one(certified)).await;
        let why = format!("its certificate is for {shown}, not for localhost");
        let sentence = format!("the server's certificate is not trusted: {why}");
        assert_eq!(told(&server, &authority.root).await, sentence);
    }
    assert_in_page("its certificate is for NAMES, not for HOST");
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_or_speaks_no_tls_is_told_as_such() {
    let authority = Authority::new();
    let mut roots = RootCertStore::empty();
    roots.add(authority.root.clone().into()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut servers = Vec::new();
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots.clone()),
            Arc::clone(&provider),
        );
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_protocol_versions(&[version]).unwrap();
        let config = config.with_client_cert_verifier(verifier.build().unwrap());
        let presents = Presents::one(authority.issue(&localhost()));
        let server = listening(config.with_cert_resolver(Arc::new(presents))).await;
        servers.push((server, "it requires a certificate of its client"));
    }
    let tcp = TcpListener::bind("localhost:0").await.unwrap();
    let server = format!("https://localhost:{}", tcp.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
        }
    });
    servers.push((server, "it does not answer in TLS; is this the port of http://?"));
    let servers = servers.iter().map(|(server, why)| (&**server, *why));
    assert_unreachable(servers, &authority.root).await;
}

/// OpenSSL's server, which does what rustls refuses to do. It ends with this value.
struct OpenSsl(Child, String);

impl OpenSsl {
    fn serving(directory: &Path, options: &str) -> Self {
        let mut server = Command::new("openssl");
        server.args(["s_server", "-accept", "localhost:0", "-cert", "server.pem"]);
        server.args(["-key", "server.key"]).args(options.split(' ')).current_dir(directory);
        let output = server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = output.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut accepts = lines.map_while(Result::ok).filter(|line| line.starts_with("ACCEPT "));
        let port = accepts.next().unwrap().rsplit(':').next().unwrap().to_owned();
        // The pipe stays open, or else its next line would end the server.
        std::thread::spawn(move || accepts.count());
        Self(child, format!("https://localhost:{port}"))
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let mut openssl = Command::new("openssl");
    let output = openssl.args(arguments.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{arguments}: {output:?}");
}

#[tokio::test]
async fn what_a_server_of_another_make_does_is_told_as_such() {
    let directory = tempfile::tempdir().unwrap();
    let of = |arguments: &str| openssl(directory.path(), arguments);
    let key = "-newkey rsa:2048 -nodes";
    of(&format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=CA -outform PEM"));
    of(&format!("req {key} -keyout server.key -out server.csr -subj /CN=server"));
    std::fs::write(directory.path().join("names"), "subjectAltName=DNS:localhost").unwrap();
    let issue = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names";
    of(&format!("{issue} -sha1 -out weak.pem"));
    of(&format!("{issue} -sha256 -out server.pem"));
    of("x509 -in ca.pem -outform DER -out ca.der");
    let root = std::fs::read(directory.path().join("ca.der")).unwrap();

    let nothing_shared = "it offers neither TLS 1.3 nor TLS 1.2 with ECDHE";
    let servers = [
        ("-tls1_1 -cipher DEFAULT@SECLEVEL=0", nothing_shared),
        ("-tls1_2 -cipher AES128-SHA", nothing_shared),
        (
            "-servername other.example -servername_fatal -cert2 server.pem -key2 server.key",
            "it does not serve this host name",
        ),
        ("-Verify 1 -verify_return_error", "it requires a certificate of its client"),
    ];
    let servers = servers.map(|(options, why)| (OpenSsl::serving(directory.path(), options), why));
    assert_unreachable(servers.iter().map(|(server, why)| (&*server.1, *why)), &root).await;
    let weak = OpenSsl::serving(directory.path(), "-cert weak.pem -cipher DEFAULT@SECLEVEL=0");
    assert_untrusted(
        &told(&weak.1, &root).await,
        "its certificate is signed by an algorithm that is not accepted",
    );
}
