//! Which certificates clients accept, what a second start changes, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use der::{Decode as _, DecodePem as _};

use super::own::{SERVER_LIFE_LEFT, dns_names_of};
use super::*;
use countersign_config::{Config, Overrides};

fn config() -> ServerConfig {
    Config::load(None, Overrides::default()).unwrap().server
}

fn with_files(certificate: &Path, key: &Path) -> ServerConfig {
    let mut config = config();
    config.tls = Tls::Files { certificate: certificate.into(), key: key.into() };
    config
}

const DAY: Duration = Duration::from_hours(24);
const SERVER_LIFE: Duration = Duration::from_hours(397 * 24);

fn now() -> SystemTime {
    SystemTime::now()
}

fn read(data: &Path, name: &str) -> String {
    fs::read_to_string(data.join("tls").join(name)).unwrap()
}

#[test]
fn the_first_start_makes_what_openssl_accepts_for_every_local_name() {
    let data = tempfile::tempdir().unwrap();
    assert!(prepare(&config(), data.path(), now()).unwrap().is_some());
    let server = data.path().join("tls/server.pem");
    for (kind, name) in
        [("-verify_hostname", "localhost"), ("-verify_ip", "127.0.0.1"), ("-verify_ip", "::1")]
    {
        let mut openssl = Command::new("openssl");
        openssl.args(["verify", "-x509_strict", "-purpose", "sslserver", kind, name]);
        openssl.arg("-CAfile").arg(own_ca(data.path())).arg(&server);
        let output = openssl.output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
    }
}

#[test]
fn only_the_servers_user_reads_its_keys() {
    let data = tempfile::tempdir().unwrap();
    prepare(&config(), data.path(), now()).unwrap();
    for name in ["ca.key", "server.key"] {
        let mode = fs::metadata(data.path().join("tls").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_second_start_changes_nothing() {
    let data = tempfile::tempdir().unwrap();
    prepare(&config(), data.path(), now()).unwrap();
    let before = ["ca.pem", "server.pem", "server.key"].map(|name| read(data.path(), name));
    prepare(&config(), data.path(), now() + DAY).unwrap();
    let after = ["ca.pem", "server.pem", "server.key"].map(|name| read(data.path(), name));
    assert_eq!(before, after);
}

#[test]
fn a_certificate_close_to_its_end_is_renewed_under_the_same_ca() {
    let data = tempfile::tempdir().unwrap();
    prepare(&config(), data.path(), now()).unwrap();
    let (ca, server) = (read(data.path(), "ca.pem"), read(data.path(), "server.pem"));
    prepare(&config(), data.path(), now() + SERVER_LIFE - SERVER_LIFE_LEFT + DAY).unwrap();
    assert_eq!(ca, read(data.path(), "ca.pem"));
    assert_ne!(server, read(data.path(), "server.pem"));
}

#[test]
fn a_running_server_renews_its_certificate_before_the_end_and_uses_it_at_once() {
    let (data, start) = (tempfile::tempdir().unwrap(), now());
    let own = Own::in_directory(&data.path().join("tls"), &config().lifetimes);
    let certificates = own.open("localhost", start).unwrap();
    let (first, ca) = (certificates.shared_at(start), read(data.path(), "ca.pem"));
    let due = start + SERVER_LIFE - SERVER_LIFE_LEFT;
    assert_eq!(certificates.shared_at(due - DAY), first);
    let renewed = certificates.shared_at(due + DAY);
    assert_ne!(renewed, first);
    assert_eq!(certificates.shared_at(due + DAY), renewed, "it is renewed once");
    let end = Certificates::of(certificates).end().unwrap();
    let expected = (due + DAY + SERVER_LIFE).duration_since(UNIX_EPOCH).unwrap();
    assert_eq!(end.seconds(), expected.as_secs(), "the end of the renewed one");
    assert_eq!(ca, read(data.path(), "ca.pem"));
}

#[test]
fn the_end_is_that_of_the_certificate_in_use_and_of_no_other_in_its_file() {
    let data = tempfile::tempdir().unwrap();
    let (certificate, key) = (data.path().join("chain.pem"), data.path().join("server.key"));
    let config = with_files(&certificate, &key);
    let start = UNIX_EPOCH + 20_000 * DAY;
    // The server's certificate, with an authority's behind it that ends at another time.
    let write = |end: SystemTime| {
        let of = |end: SystemTime| {
            let pair = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_after = end.into();
            (params.self_signed(&pair).unwrap().pem(), pair.serialize_pem())
        };
        let ((own, own_key), (authority, _)) = (of(end), of(end + DAY));
        fs::write(&certificate, own + &authority).unwrap();
        fs::write(&key, own_key).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    };
    let seconds = |certificates: &Certificates| certificates.end().unwrap().seconds();
    write(start + 3 * DAY);
    let certificates = Certificates::load(&config, data.path(), start).unwrap().unwrap();
    assert_eq!(seconds(&certificates), 20_003 * 86_400);
    write(start + 9 * DAY);
    assert_eq!(seconds(&certificates), 20_003 * 86_400, "it is not read yet");
    certificates.reload(&config, data.path(), start).unwrap();
    assert_eq!(seconds(&certificates), 20_009 * 86_400);
    fs::write(&certificate, "no certificate").unwrap();
    certificates.reload(&config, data.path(), start).unwrap_err();
    assert_eq!(seconds(&certificates), 20_009 * 86_400, "it cannot be used");
}

#[test]
fn a_server_that_cannot_renew_its_certificate_goes_on_with_the_old_one() {
    let (data, start) = (tempfile::tempdir().unwrap(), now());
    let own = Own::in_directory(&data.path().join("tls"), &config().lifetimes);
    let certificates = own.open("localhost", start).unwrap();
    let first = certificates.shared_at(start);
    fs::remove_file(data.path().join("tls/ca.key")).unwrap();
    assert_eq!(certificates.shared_at(start + SERVER_LIFE), first);
}

#[test]
fn the_lifetime_of_the_servers_certificate_is_as_configured() {
    let (data, start) = (tempfile::tempdir().unwrap(), now());
    let mut short = config();
    short.lifetimes.server = 3 * DAY;
    let certificates = Certificates::load(&short, data.path(), start).unwrap().unwrap();
    let end = certificates.end().unwrap();
    assert_eq!(end.seconds(), (start + 3 * DAY).duration_since(UNIX_EPOCH).unwrap().as_secs());
    let first = read(data.path(), "server.pem");
    prepare(&short, data.path(), start + DAY).unwrap();
    assert_eq!(first, read(data.path(), "server.pem"));
    prepare(&short, data.path(), start + 2 * DAY + DAY / 2).unwrap();
    assert_ne!(first, read(data.path(), "server.pem"), "less than a third was left");
}

#[test]
fn the_hostname_is_among_the_names_of_the_certificate() {
    let data = tempfile::tempdir().unwrap();
    let mut named = config();
    named.hostname = "sign.example".into();
    prepare(&named, data.path(), now()).unwrap();
    let certificate = x509_cert::Certificate::from_pem(read(data.path(), "server.pem")).unwrap();
    let names = dns_names_of(&certificate);
    assert_eq!(names, ["localhost", "sign.example", "*.sign.example"]);
}

#[test]
fn another_hostname_needs_another_ca_and_is_told_so() {
    let data = tempfile::tempdir().unwrap();
    prepare(&config(), data.path(), now()).unwrap();
    let ca = read(data.path(), "ca.pem");
    let mut elsewhere = config();
    elsewhere.hostname = "sign.example".into();
    let error = prepare(&elsewhere, data.path(), now()).unwrap_err();
    assert!(format!("{error:#}").contains("may issue for no others; delete"), "{error:#}");
    assert_eq!(ca, read(data.path(), "ca.pem"));
    fs::remove_dir_all(data.path().join("tls")).unwrap();
    prepare(&elsewhere, data.path(), now()).unwrap();
}

#[test]
fn openssl_takes_no_certificate_of_the_ca_for_other_names_and_addresses() {
    let data = tempfile::tempdir().unwrap();
    prepare(&config(), data.path(), now()).unwrap();
    let tls = data.path().join("tls");
    let openssl = |arguments: &str| {
        let mut openssl = Command::new("openssl");
        openssl.args(arguments.split_whitespace()).current_dir(&tls).output().unwrap()
    };
    openssl("req -new -newkey rsa:2048 -nodes -keyout forged.key -subj /CN=forged -out forged.csr");
    // Like a thief of the authority's key.
    for (names, accepted) in [
        ("DNS:localhost", true),
        ("DNS:acme.localhost,IP:127.0.0.1,IP:::1", true),
        ("DNS:bank.example", false),
        ("DNS:localhost,DNS:bank.example", false),
        ("IP:10.0.0.1", false),
        ("IP:fd00::1", false),
    ] {
        fs::write(tls.join("forged.ext"), format!("subjectAltName={names}\n")).unwrap();
        let issued = openssl(
            "x509 -req -in forged.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 9 \
             -extfile forged.ext -out forged.pem",
        );
        assert!(issued.status.success(), "{issued:?}");
        let verified = openssl("verify -CAfile ca.pem forged.pem");
        assert_eq!(verified.status.success(), accepted, "{names}: {verified:?}");
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(accepted || said.contains("permitted subtree violation"), "{names}: {said}");
    }
}

#[test]
fn every_certificate_of_the_ca_has_a_serial_number_of_its_own() {
    let data = tempfile::tempdir().unwrap();
    let own = Own::in_directory(&data.path().join("tls"), &config().lifetimes);
    let made = own.open("localhost", now()).unwrap();
    let mut serials = std::collections::HashSet::new();
    for name in ["acme.localhost", "beta.localhost", "acme.localhost"] {
        let certificate = made.current(now()).certificate_for(name).unwrap();
        let certificate = x509_cert::Certificate::from_der(&certificate.cert[0]).unwrap();
        let serial = certificate.tbs_certificate.serial_number;
        assert!(serials.insert(serial.as_bytes().to_vec()), "{name}");
    }
    for name in ["ca.pem", "server.pem"] {
        let certificate = x509_cert::Certificate::from_pem(read(data.path(), name)).unwrap();
        let serial = certificate.tbs_certificate.serial_number;
        assert!(serials.insert(serial.as_bytes().to_vec()), "{name}");
    }
}

#[test]
fn a_lost_certificate_or_key_is_made_anew() {
    for name in ["server.pem", "server.key"] {
        let data = tempfile::tempdir().unwrap();
        prepare(&config(), data.path(), now()).unwrap();
        fs::remove_file(data.path().join("tls").join(name)).unwrap();
        prepare(&config(), data.path(), now()).unwrap();
    }
}

#[test]
fn a_lost_ca_key_is_told_with_what_to_do_and_only_when_it_is_needed() {
    let data = tempfile::tempdir().unwrap();
    prepare(&config(), data.path(), now()).unwrap();
    fs::remove_file(data.path().join("tls/ca.key")).unwrap();
    prepare(&config(), data.path(), now()).unwrap();
    let error = prepare(&config(), data.path(), now() + SERVER_LIFE).unwrap_err();
    assert!(format!("{error:#}").contains("restore ca.pem and ca.key in"), "{error:#}");
}

#[test]
fn a_key_that_is_another_certificates_is_refused_by_name() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    prepare(&config(), data.path(), now()).unwrap();
    prepare(&config(), other.path(), now()).unwrap();
    let certificate = data.path().join("tls/server.pem");
    let key = other.path().join("tls/server.key");
    let error = prepare(&with_files(&certificate, &key), data.path(), now()).unwrap_err();
    assert!(format!("{error:#}").contains(key.to_str().unwrap()), "{error:#}");
}

#[test]
fn a_private_key_that_others_may_use_is_refused_with_what_to_do() {
    for name in ["ca.key", "server.key"] {
        let data = tempfile::tempdir().unwrap();
        prepare(&config(), data.path(), now()).unwrap();
        let key = data.path().join("tls").join(name);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let error = prepare(&config(), data.path(), now()).unwrap_err();
        assert!(
            format!("{error:#}").contains(&format!("chmod 600 {}", key.display())),
            "{error:#}"
        );
    }
}

#[test]
fn missing_and_empty_files_are_refused_by_name() {
    let data = tempfile::tempdir().unwrap();
    let empty = data.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    for certificate in [empty, data.path().join("missing.pem")] {
        let config = with_files(&certificate, "k".as_ref());
        let error = prepare(&config, data.path(), now()).unwrap_err();
        assert!(format!("{error:#}").contains(certificate.to_str().unwrap()), "{error:#}");
    }
}

/// The output of `openssl s_client` for a handshake that asks for `name`, and trusts only `ca.pem`.
fn shake_hands(data: &Path, tls: Arc<rustls::ServerConfig>, name: &str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let client = Command::new("openssl")
        .args(["s_client", "-servername", name, "-verify_hostname", name, "-brief"])
        .args(["-connect", &format!("127.0.0.1:{port}"), "-CAfile"])
        .arg(own_ca(data))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (mut tcp, _) = listener.accept().unwrap();
    let mut server = rustls::ServerConnection::new(tls).unwrap();
    while server.is_handshaking() {
        server.complete_io(&mut tcp).unwrap();
    }
    server.send_close_notify();
    let _ = server.write_tls(&mut tcp); // It may have closed first.
    drop(tcp);
    String::from_utf8(client.wait_with_output().unwrap().stderr).unwrap()
}

#[test]
fn a_tenants_name_below_localhost_is_accepted_though_wildcards_there_are_not() {
    let data = tempfile::tempdir().unwrap();
    let tls = prepare(&config(), data.path(), now()).unwrap().unwrap();
    for name in ["acme.localhost", "localhost"] {
        let said = shake_hands(data.path(), tls.clone(), name);
        assert!(said.contains("Verification: OK"), "{name}: {said}");
    }
    for name in ["acme.elsewhere", "a.b.localhost"] {
        let said = shake_hands(data.path(), tls.clone(), name);
        assert!(!said.contains("Verification: OK"), "{name}: {said}");
    }
}
