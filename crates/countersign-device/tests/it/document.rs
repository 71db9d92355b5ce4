//! Documents, fetched over real TLS from correct and from faulty servers.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use countersign_device::document::{
    BadDocument, CannotFetch, Checked, Claim, FetchPolicy, Limits, What, check,
};

use countersign_proof::raw::Hash;

use crate::site::{Authority, Certified, Say, Site, head, localhost, ok};

const DOCUMENT: &[u8] = b"%PDF-1.7 a contract";

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

/// The answer of a `digest_url`.
fn told(algorithm: &str, digest: &[u8]) -> Vec<Say> {
    let value = BASE64.encode(digest);
    ok(format!(r#"{{"digest_value":"{value}","digest_algorithm":"{algorithm}","more":1}}"#)
        .as_bytes())
}

fn claim(site: &Site, authority: &Authority) -> Claim {
    Claim {
        hash: Some(Hash::Sha256),
        digest: Some(sha256(DOCUMENT)),
        digest_url: None,
        document_url: Some(format!("{}/document?id=7", site.origin)),
        root_certs: vec![authority.root.clone()],
    }
}

/// Short limits, so that tests of limits are fast.
const LIMITS: Limits =
    Limits { bytes: 1024, silence: Duration::from_millis(300), whole: Duration::from_millis(600) };

/// Allows the servers of these tests, which are on this machine.
fn allowing_localhost() -> FetchPolicy {
    FetchPolicy::allowing(vec!["localhost".parse().unwrap()])
}

/// The outcome of a check if the document's server answers so.
async fn fetched(answer: Vec<Say>) -> Result<Checked, BadDocument> {
    let authority = Authority::new();
    let site = authority.site(move |_| answer.clone()).await;
    check(&claim(&site, &authority), &LIMITS, &allowing_localhost()).await
}

fn failed(why: CannotFetch) -> Result<Checked, BadDocument> {
    Err(BadDocument::Fetch { what: What::Document, why })
}

#[tokio::test]
async fn a_document_is_digested_piece_by_piece() {
    let large = vec![7; 3 * 1024 * 1024];
    let authority = Authority::new();
    let body = large.clone();
    let site = authority.site(move |_| ok(&body)).await;
    let digest = digest(&SHA512, &large).as_ref().to_vec();
    let claim = Claim {
        hash: Some(Hash::Sha512),
        digest: Some(digest.clone()),
        ..claim(&site, &authority)
    };
    let checked = check(&claim, &Limits::default(), &allowing_localhost()).await.unwrap();
    assert_eq!(checked, Checked { hash: Hash::Sha512, digest, length: Some(3 * 1024 * 1024) });
    assert_eq!(site.asked(), 1);
}

#[tokio::test]
async fn a_digest_url_is_enough_and_may_repeat_the_given_digest() {
    let authority = Authority::new();
    let site = authority
        .site(|path| match path {
            "/digest" => told("sha256", &sha256(DOCUMENT)),
            _ => ok(DOCUMENT),
        })
        .await;
    let digest_url = Some(format!("{}/digest", site.origin));
    let both = Claim { digest_url, ..claim(&site, &authority) };
    let alone = Claim { hash: None, digest: None, document_url: None, ..both.clone() };
    for (claim, length) in [(both, Some(DOCUMENT.len() as u64)), (alone, None)] {
        let checked = check(&claim, &LIMITS, &allowing_localhost()).await.unwrap();
        let digest = sha256(DOCUMENT);
        assert_eq!(checked, Checked { hash: Hash::Sha256, digest, length });
    }
}

#[tokio::test]
async fn another_document_is_refused_with_both_digests() {
    let outcome = fetched(ok(b"%PDF-1.7 another contract")).await;
    let (found, said) = (sha256(b"%PDF-1.7 another contract"), sha256(DOCUMENT));
    let sentence = outcome.as_ref().unwrap_err().to_string();
    assert!(sentence.contains(&BASE64.encode(&found)), "{sentence}");
    assert!(sentence.ends_with(&format!("not {}", BASE64.encode(&said))), "{sentence}");
    assert_eq!(outcome, Err(BadDocument::OtherDocument { hash: Hash::Sha256, found, said }));
}

#[tokio::test]
async fn a_digest_that_contradicts_the_application_is_not_signed() {
    let (right, other) = (sha256(DOCUMENT), sha256(b"other"));
    for (answer, bad) in [
        (told("sha256", &other), BadDocument::OtherDigest),
        (told("sha512", &right), {
            BadDocument::OtherHash { told: Hash::Sha512, said: Hash::Sha256 }
        }),
        (told("sha-256", &right), BadDocument::NoAnswer),
        (ok(b"<html>"), BadDocument::NoAnswer),
        (ok(br#"{"digest_value":"!","digest_algorithm":"sha256"}"#), BadDocument::NoAnswer),
        (ok(&vec![b' '; 5000]), {
            BadDocument::Fetch { what: What::Digest, why: CannotFetch::TooLarge(4096) }
        }),
    ] {
        let authority = Authority::new();
        let site = authority.site(move |_| answer.clone()).await;
        let digest_url = Some(format!("{}/digest", site.origin));
        let claim = Claim { digest_url, document_url: None, ..claim(&site, &authority) };
        assert_eq!(check(&claim, &Limits::default(), &allowing_localhost()).await, Err(bad));
    }
}

#[tokio::test]
async fn a_digest_has_its_algorithms_length() {
    let hex = BASE64.decode(BASE64.encode(hex::encode(sha256(DOCUMENT)))).unwrap();
    let said = |hash, digest| Claim { hash, digest, ..Claim::default() };
    for (claim, bad) in [
        (said(Some(Hash::Sha256), Some(hex)), {
            BadDocument::Length { hash: Hash::Sha256, length: 64 }
        }),
        (said(Some(Hash::Sha256), None), BadDocument::NoDigest),
        (said(None, Some(sha256(DOCUMENT))), BadDocument::NoHash),
    ] {
        assert_eq!(check(&claim, &LIMITS, &allowing_localhost()).await, Err(bad));
    }
}

#[tokio::test]
async fn only_the_given_certificates_authenticate_a_server() {
    let (authority, another) = (Authority::new(), Authority::new());
    let right = authority.site(|_| ok(DOCUMENT)).await;
    let mut named = localhost();
    named.subject_alt_names = vec![rcgen::SanType::DnsName("other.example".try_into().unwrap())];
    let misnamed = Site::start(authority.issue(&named), |_| ok(DOCUMENT)).await;
    let mut aged = localhost();
    aged.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let expired = Site::start(authority.issue(&aged), |_| ok(DOCUMENT)).await;
    for (site, authority) in [(&right, &another), (&misnamed, &authority), (&expired, &authority)] {
        let outcome = check(&claim(site, authority), &LIMITS, &allowing_localhost()).await;
        let Err(BadDocument::Fetch { why: CannotFetch::Untrusted(_), .. }) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(site.asked(), 0, "an unauthenticated server gets no request");
    }
    let both = Claim {
        root_certs: vec![another.root.clone(), authority.root.clone()],
        ..claim(&right, &authority)
    };
    assert!(check(&both, &LIMITS, &allowing_localhost()).await.is_ok());
}

#[tokio::test]
async fn a_servers_own_certificate_authenticates_others_only_if_it_is_a_ca() {
    let authority = Authority::new();
    let issued = authority.issue(&localhost());
    let leaf = issued.der.clone();
    let site = Site::start(issued, |_| ok(DOCUMENT)).await;
    let path = Claim { root_certs: vec![leaf.clone()], ..claim(&site, &authority) };
    assert_eq!(check(&path, &LIMITS, &allowing_localhost()).await, failed(CannotFetch::NoRoots));
    let whole = Claim { root_certs: vec![leaf, authority.root.clone()], ..path };
    assert!(check(&whole, &LIMITS, &allowing_localhost()).await.is_ok());

    let alone = Certified::by_itself(&localhost());
    let root = alone.der.clone();
    let site = Site::start(alone, |_| ok(DOCUMENT)).await;
    let claim = Claim { root_certs: vec![root], ..claim(&site, &authority) };
    assert!(check(&claim, &LIMITS, &allowing_localhost()).await.is_ok());
}

#[tokio::test]
async fn without_certificates_there_is_no_request() {
    let authority = Authority::new();
    let site = authority.site(|_| ok(DOCUMENT)).await;
    for (root_certs, why) in [
        (vec![], CannotFetch::NoRoots),
        (vec![authority.root.clone(), b"no certificate".to_vec()], CannotFetch::BadRoot),
        (vec![authority.root[..100].to_vec()], CannotFetch::BadRoot),
    ] {
        let claim = Claim { root_certs, ..claim(&site, &authority) };
        assert_eq!(check(&claim, &LIMITS, &allowing_localhost()).await, failed(why));
    }
    assert_eq!(site.asked(), 0);
}

#[tokio::test]
async fn only_https_is_fetched() {
    let authority = Authority::new();
    let site = authority.site(|_| ok(DOCUMENT)).await;
    let plain = site.origin.replace("https", "http");
    let named = site.origin.replace("//", "//ann:pin@");
    for url in [&plain, &named, "file:///etc/passwd", "ftp://localhost/x", "/document", ""] {
        let claim = Claim { document_url: Some(url.to_owned()), ..claim(&site, &authority) };
        assert_eq!(
            check(&claim, &LIMITS, &allowing_localhost()).await,
            failed(CannotFetch::Address),
            "{url}"
        );
    }
    assert_eq!(site.asked(), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let authority = Authority::new();
    let target = authority.site(|_| ok(DOCUMENT)).await;
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let location = format!("{status}\r\nLocation: {}/\r\nContent-Length: 0", target.origin);
        let site = authority.site(move |_| vec![head(&location)]).await;
        let outcome = check(&claim(&site, &authority), &LIMITS, &allowing_localhost()).await;
        assert_eq!(outcome, failed(CannotFetch::Redirected));
    }
    assert_eq!(target.asked(), 0);
}

#[tokio::test]
async fn an_answer_other_than_200_is_refused() {
    for (answer, why) in [
        ("404 Not Found\r\nContent-Length: 0", CannotFetch::Status(404)),
        ("206 Partial Content\r\nContent-Length: 0", CannotFetch::Status(206)),
        ("204 No Content", CannotFetch::Status(204)),
    ] {
        assert_eq!(fetched(vec![head(answer)]).await, failed(why));
    }
}

#[tokio::test]
async fn the_fetch_of_a_too_large_document_is_cancelled() {
    let why = CannotFetch::TooLarge(1024);
    // The announced length exceeds the limit, and the body never ends.
    let announced = vec![head("200 OK\r\nContent-Length: 1025"), Say::Hang];
    assert_eq!(fetched(announced).await, failed(why.clone()));
    let endless = Say::Forever([b"10\r\n".as_slice(), &[7; 16], b"\r\n"].concat(), Duration::ZERO);
    let chunked = vec![head("200 OK\r\nTransfer-Encoding: chunked"), endless.clone()];
    assert_eq!(fetched(chunked).await, failed(why.clone()));
    assert_eq!(fetched(vec![head("200 OK"), endless]).await, failed(why));
}

#[tokio::test]
async fn the_fetch_of_an_endless_document_is_cancelled() {
    let drop = Say::Forever(b"1\r\nx\r\n".to_vec(), Duration::from_millis(20));
    let dripping = vec![head("200 OK\r\nTransfer-Encoding: chunked"), drop];
    assert_eq!(fetched(dripping).await, failed(CannotFetch::Slow(LIMITS.whole)));
}

#[tokio::test]
async fn the_fetch_from_a_silent_server_is_cancelled() {
    let silent = failed(CannotFetch::Silent(LIMITS.silence));
    assert_eq!(fetched(vec![Say::Hang]).await, silent);
    assert_eq!(fetched(vec![head("200 OK\r\nContent-Length: 9"), Say::Hang]).await, silent);

    // A server that accepts connections and never speaks TLS.
    let tcp = tokio::net::TcpListener::bind("localhost:0").await.unwrap();
    let origin = format!("https://localhost:{}", tcp.local_addr().unwrap().port());
    let authority = Authority::new();
    let site = authority.site(|_| ok(DOCUMENT)).await;
    let claim = Claim { document_url: Some(origin), ..claim(&site, &authority) };
    assert_eq!(check(&claim, &LIMITS, &allowing_localhost()).await, silent);
}

#[tokio::test]
async fn half_a_document_is_refused() {
    let half = vec![head("200 OK\r\nContent-Length: 19"), Say::Bytes(DOCUMENT[..9].to_vec())];
    let outcome = fetched(half).await;
    let Err(BadDocument::Fetch { why: CannotFetch::Unreachable(_), .. }) = outcome else {
        panic!("{outcome:?}");
    };
}

#[tokio::test]
async fn a_host_that_the_owner_did_not_allow_is_not_connected_to() {
    let authority = Authority::new();
    let site = authority.site(|_| ok(DOCUMENT)).await;
    let port = site.origin.rsplit_once(':').unwrap().1.to_owned();
    let hosts = ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001", "10.0.0.1"];
    for host in hosts {
        let document_url = Some(format!("https://{host}:{port}/document"));
        for claim in [
            Claim { document_url: document_url.clone(), ..claim(&site, &authority) },
            Claim { digest_url: document_url, document_url: None, ..claim(&site, &authority) },
        ] {
            let outcome = check(&claim, &LIMITS, &FetchPolicy::default()).await;
            let Err(BadDocument::Fetch { why: CannotFetch::Forbidden(_), .. }) = outcome else {
                panic!("{host}: {outcome:?}");
            };
        }
    }
    assert_eq!(site.accepted(), 0, "no connection");
}
