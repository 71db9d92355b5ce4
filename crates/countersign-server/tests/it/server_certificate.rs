//! The end of the server's certificate that is told is that of the certificate which is served.

use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::metrics::{scraped, value};
use crate::test_server::{TestServer, until, write_private};

/// Writes a certificate for localhost that ends with this year, and its key. Answers the end, in
/// seconds since 1970.
fn write(directory: &Path, year: i32) -> f64 {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let end = date_time_ymd(year, 12, 31);
    params.not_after = end;
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    std::fs::write(directory.join("server.pem"), certificate.pem()).unwrap();
    write_private(&directory.join("server.key"), &key.serialize_pem());
    let seconds = u32::try_from(end.unix_timestamp() / 86_400).unwrap();
    f64::from(seconds) * 86_400.0
}

/// Sends SIGHUP, waits until the log has one more line with `told`, and answers the end that the
/// metric tells.
async fn end_after_reload(server: &TestServer, told: &str) -> Option<f64> {
    let count = || server.log().matches(told).count();
    let before = count();
    let kill = format!("kill -HUP {}", server.process_id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    until(told, async || (count() > before).then_some(())).await;
    end(server).await
}

async fn end(server: &TestServer) -> Option<f64> {
    let first = "countersign_certificate_first_end_timestamp_seconds{kind=\"server\"}";
    value(&scraped(server).await, first)
}

#[tokio::test]
async fn the_end_that_is_told_is_of_the_served_certificate_and_not_of_the_file() {
    let files = tempfile::tempdir().unwrap();
    let first = write(files.path(), 2041);
    let directory = files.path().display();
    let server = TestServer::configured(&format!(
        "[server]\ntls = \"files\"\ncertificate_file = \"{directory}/server.pem\"\n\
         key_file = \"{directory}/server.key\"\n"
    ));
    assert_eq!(end(&server).await, Some(first));
    write(files.path(), 2042);
    let other = KeyPair::generate().unwrap().serialize_pem();
    write_private(&files.path().join("server.key"), &other);
    let refused = "The certificates in use stay";
    assert_eq!(end_after_reload(&server, refused).await, Some(first), "the file is not served");
    let second = write(files.path(), 2043);
    assert_eq!(end_after_reload(&server, "Reloaded: log levels, cert").await, Some(second));

    // A certificate that ends soon is warned of at the reload.
    let past = write(files.path(), 2025);
    end_after_reload(&server, "The server's own certificate ends at 2025-12-31").await;
    let text = scraped(&server).await;
    let ended = value(&text, "countersign_certificates_ended{kind=\"server\"}");
    assert_eq!(ended, Some(1.0), "{past}");
}
