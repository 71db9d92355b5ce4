//! Generates `docs/vectors/cms.json` with the message builder of the tests. It does not verify
//! anything:
//!
//! ```text
//! cargo run -p countersign-proof --example cms_vectors > docs/vectors/cms.json
//! ```
//!
//! Every run generates new keys, so the file is generated once, and the tests read the committed
//! one.
#![expect(clippy::unwrap_used, reason = "like the tests, it may panic")]

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign_proof::ber::element;
use countersign_proof::oid;
use der::asn1::ObjectIdentifier;
use rcgen::{CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd};

use self::forger::{
    Forge, Person, SHA1, Tenant, algorithm, authority, der, issuer_and_serial, named, names,
    signing_certificate, stream,
};

#[path = "../tests/it/forger.rs"]
#[expect(dead_code, reason = "only the tests use the rest")]
mod forger;

/// The transaction of the examples in `docs/device-protocol.md`.
const TRANSACTION: [u8; 16] =
    [1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
const CONTENT: &str = "Pay 5 € to Ann?";
const MEDIA_TYPE: &str = "text/plain; charset=utf-8";
/// In seconds since the Unix epoch: 2026-11-21, 21:20:00 UTC.
const NOW: u64 = 1_795_296_000;
const SIGNING_TIME: (u64, &str) = (1_795_295_990, "261121211950Z");
/// The length of the segments of a streamed string, in bytes.
const SEGMENT: usize = 7;

static TENANT: LazyLock<Tenant> = LazyLock::new(tenant);
/// Another tenant. Its certificates have the same names and serial numbers.
static STRANGERS: LazyLock<Tenant> = LazyLock::new(tenant);
static DEVICE: LazyLock<Person> = LazyLock::new(|| device(&TENANT, "ann", 0x47));
static OTHER: LazyLock<Person> = LazyLock::new(|| device(&TENANT, "bob", 0x48));
static TWIN: LazyLock<Person> = LazyLock::new(|| device(&TENANT, "ann", 0x47));
static STRANGER: LazyLock<Person> = LazyLock::new(|| device(&STRANGERS, "ann", 0x47));

fn main() {
    let line = |name: &str, value: &str| println!("  {}: {value},", text(name));
    println!("{{");
    line("about", &text(ABOUT));
    line("now", &NOW.to_string());
    line("tenant_ca", &base64(&TENANT.root));
    line("certificate", &base64(&DEVICE.certificate));
    line("chain", &format!("[{}]", base64(&TENANT.middle)));
    line("transaction", &text(&hex::encode(TRANSACTION)));
    line("media_type", &text(MEDIA_TYPE));
    line("content", &base64(CONTENT.as_bytes()));
    line("signing_time", &SIGNING_TIME.0.to_string());
    line("signed_attributes", &base64(&element(0x31, &right(&DEVICE).attribute_set(false))));
    println!("  \"accepted\": [\n{}\n  ],", accepted().join(",\n"));
    println!("  \"refused\": [\n{}\n  ]\n}}", refused().join(",\n"));
}

const ABOUT: &str = "CMS messages by a device's P-256 key. Bytes are base64, times seconds. A \
    verifier verifies each message as signed by `certificate`, chained through `chain` to \
    `tenant_ca`, at `now`, over `content` as `media_type` for `transaction`; a refused message may \
    have values of its own. `signed_attributes` is made of these values and `signing_time`, \
    without issuer and serial number in signing-certificate-v2; a device signs it with SHA-256. \
    `der` is the stored form of an accepted message. `reason` is the first one found, in the order \
    of countersign-proof; a device gets `bad_signature`.";

/// The cases that are accepted as `cms` and stored as `der`.
fn accepted() -> Vec<String> {
    let plain = right(&DEVICE);
    let message = plain.build();
    let streamed = streamed(&message);

    let mut by_key = right(&DEVICE);
    (by_key.version, by_key.signer_version) = (3, 3);
    by_key.signer_id = element(0x80, &key_identifier(&DEVICE.certificate));
    let by_key = by_key.build();

    let mut named = right(&DEVICE);
    let (issuer, serial) = names(&DEVICE.certificate);
    let hash = element(0x04, digest(&SHA256, &DEVICE.certificate).as_ref());
    let issuer_serial = element(0x30, &[element(0x30, &element(0xa4, &issuer)), serial].concat());
    let id = element(0x30, &[hash, issuer_serial].concat());
    named.set(oid::SIGNING_CERTIFICATE_V2, &[element(0x30, &element(0x30, &id))]);
    let named = named.build();

    let mut rooted = right(&DEVICE);
    rooted.certificates.push(TENANT.root.clone());
    rooted.certificates.sort();
    let signed = element(0x31, &rooted.attribute_set(false));
    let signature = rooted.scheme.sign(&DEVICE.key, &signed);
    let sorted = rooted.build_signed(&signature);
    rooted.certificates.reverse();
    let reversed = rooted.build_signed(&signature);

    [
        ("DER, the signer by issuer and serial number", &message, &message),
        ("the same as BER: indefinite lengths, strings in segments", &streamed, &message),
        ("the signer by subject key identifier", &by_key, &by_key),
        ("issuer and serial number in signing-certificate-v2 too", &named, &named),
        ("the root embedded too, certificates out of order", &reversed, &sorted),
    ]
    .map(|(name, cms, der)| {
        entry(&[("name", text(name)), ("cms", base64(cms)), ("der", base64(der))])
    })
    .to_vec()
}

fn refused() -> Vec<String> {
    let mut all = Vec::new();
    let mut add = |name: &str, reason: &str, message: &[u8]| {
        all.push(entry(&[
            ("name", text(name)),
            ("reason", text(reason)),
            ("cms", base64(message)),
        ]));
    };
    for (kind, name) in ATTRIBUTES {
        let mut forge = right(&DEVICE);
        forge.set(kind, &[]);
        let reason = format!("attribute missing: {name}");
        add(&format!("without the signed attribute {name}"), &reason, &forge.build());
    }
    for (name, reason, spoil) in SPOILT {
        let mut forge = right(&DEVICE);
        spoil(&mut forge);
        add(name, reason, &forge.build());
    }
    for (name, reason, message) in resigned().into_iter().chain(reframed()) {
        add(name, reason, &message);
    }

    let set = element(0x31, &right(&DEVICE).attribute_set(false));
    let mut confused = right(&DEVICE);
    confused.content = Some(element(0x04, &set));
    confused.attributes = None;
    let message = confused.build_signed(&confused.scheme.sign(&DEVICE.key, &set));
    all.push(entry(&[
        ("name", text("signed attributes had signed as content, and sent as content without any")),
        ("reason", text("no signed attributes")),
        ("content", base64(&set)),
        ("cms", base64(&message)),
    ]));
    let message = right(&DEVICE).build();
    for (reason, now) in [("expired", "2400000000"), ("not yet valid", "1700000000")] {
        all.push(entry(&[
            ("name", text(&format!("a certificate that is {reason}"))),
            ("reason", text(reason)),
            ("now", now.to_owned()),
            ("cms", base64(&message)),
        ]));
    }
    all
}

const ATTRIBUTES: [(ObjectIdentifier, &str); 6] = [
    (oid::CONTENT_TYPE, "content-type"),
    (oid::MESSAGE_DIGEST, "message-digest"),
    (oid::SIGNING_TIME, "signing-time"),
    (oid::SIGNING_CERTIFICATE_V2, "signing-certificate-v2"),
    (oid::MIME_TYPE, "mime-type"),
    (oid::CONTENT_IDENTIFIER, "content-identifier"),
];

type Spoilt = (&'static str, &'static str, fn(&mut Forge<'static>));

/// Defects that are made before signing, so that the signature itself verifies.
const SPOILT: &[Spoilt] = &[
    ("without signed attributes", "no signed attributes", |forge| forge.attributes = None),
    ("another content type in the attribute", "other content type", |forge| {
        forge.set(oid::CONTENT_TYPE, &[der(&oid::SIGNED_DATA)]);
    }),
    ("another content type in the message and in the attribute", "content type", |forge| {
        forge.set(oid::CONTENT_TYPE, &[der(&oid::SIGNED_DATA)]);
        forge.content_type = oid::SIGNED_DATA;
    }),
    ("two message-digests, the right one first", "attribute repeated: message-digest", |forge| {
        two_digests(forge, false);
    }),
    ("two message-digests, the wrong one first", "attribute repeated: message-digest", |forge| {
        two_digests(forge, true);
    }),
    ("a message-digest with two values", "attribute malformed: message-digest", |forge| {
        let values = [sha256(CONTENT.as_bytes()), sha256(b"other")];
        forge.set(oid::MESSAGE_DIGEST, &values);
    }),
    ("the digest of another content", "other digest", |forge| {
        forge.set(oid::MESSAGE_DIGEST, &[sha256(b"other")]);
    }),
    ("a good signature over another content", "other content", |forge| {
        let other = b"Pay 50000 to Mallory?";
        forge.content = Some(element(0x04, other));
        forge.set(oid::MESSAGE_DIGEST, &[sha256(other)]);
    }),
    ("a good signature over another transaction", "other transaction", |forge| {
        forge.set(oid::CONTENT_IDENTIFIER, &[element(0x04, &[7; 16])]);
    }),
    ("a transaction's id of 17 bytes", "attribute malformed: content-identifier", |forge| {
        forge.set(oid::CONTENT_IDENTIFIER, &[element(0x04, &[&TRANSACTION[..], &[0]].concat())]);
    }),
    ("the media type without its parameter", "other media type", |forge| {
        forge.set(oid::MIME_TYPE, &[element(0x0c, b"text/plain")]);
    }),
    ("a signed attribute more, not of the six", "attribute unknown", |forge| {
        let signing_description = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.13");
        forge.add(signing_description, element(0x0c, b"a draft"));
    }),
    ("unsigned attributes", "unsigned attributes", |forge| {
        let attribute = element(0x30, &[der(&SHA1), element(0x31, &[5, 0])].concat());
        forge.unsigned = Some(element(0xa1, &attribute));
    }),
    ("revocation lists", "revocation lists", |forge| forge.crls = Some(element(0xa1, &[]))),
    ("a signer id that names the intermediate", "other signer", |forge| {
        forge.signer_id = issuer_and_serial(&TENANT.middle);
    }),
    ("another certificate in signing-certificate-v2", "other signing certificate", |forge| {
        forge.set(oid::SIGNING_CERTIFICATE_V2, &[signing_certificate(&OTHER.certificate)]);
    }),
    ("without the signer's certificate", "certificate absent", |forge| {
        forge.certificates.retain(|certificate| *certificate != DEVICE.certificate);
    }),
    ("without the certificate that issued the signer's", "certificate absent", |forge| {
        forge.certificates.retain(|certificate| *certificate != TENANT.middle);
    }),
    ("another certificate of the same names for the signer's", "certificate absent", |forge| {
        forge.certificates = vec![TWIN.certificate.clone(), TENANT.middle.clone()];
    }),
    ("a certificate of another kind", "other certificate", |forge| {
        forge.certificates.push(element(0xa3, &[]));
    }),
    ("another device's certificate embedded too", "other certificate", |forge| {
        forge.certificates.push(OTHER.certificate.clone());
    }),
    ("another tenant's CA embedded too", "other certificate", |forge| {
        forge.certificates.push(STRANGERS.root.clone());
    }),
    (
        "the tenant's CA embedded too, a byte of its signature changed",
        "other certificate",
        |forge| {
            let mut spoilt = TENANT.root.clone();
            *spoilt.last_mut().unwrap() ^= 1;
            forge.certificates.push(spoilt);
        },
    ),
    ("detached", "detached", |forge| forge.content = None),
    ("no signer", "no signer", |forge| forge.signers = 0),
    ("two signers", "several signers", |forge| forge.signers = 2),
    ("version 3 with issuer and serial number", "version", |forge| forge.signer_version = 3),
    ("SHA-1 for the digest", "digest algorithm", |forge| {
        forge.digest_algorithm = algorithm(SHA1, None);
    }),
    ("SHA-1 in the signature algorithm", "signature algorithm", |forge| {
        let ecdsa_sha1 = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");
        forge.signature_algorithm = algorithm(ecdsa_sha1, None);
    }),
    ("SHA-384 in digestAlgorithms only", "algorithms disagree", |forge| {
        forge.digest_algorithms = vec![algorithm(oid::SHA384, None)];
    }),
    ("a signature algorithm for another kind of key", "other key", |forge| {
        forge.signature_algorithm = algorithm(oid::RSA_SHA256, Some(vec![5, 0]));
    }),
];

/// Both digests in an order that is not DER's; they are signed in this order.
fn two_digests(forge: &mut Forge<'_>, wrong_first: bool) {
    let attributes = forge.attributes.as_mut().unwrap();
    let wrong = (oid::MESSAGE_DIGEST, vec![sha256(b"other")]);
    attributes.insert(if wrong_first { 0 } else { attributes.len() }, wrong);
    (forge.unsorted, forge.sign_unsorted) = (true, true);
}

/// Signatures over other data, or by another signer.
fn resigned() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let forge = right(&DEVICE);
    let signed = |bytes: &[u8]| forge.build_signed(&forge.scheme.sign(&DEVICE.key, bytes));
    let mut reversed = right(&DEVICE);
    reversed.attributes.as_mut().unwrap().reverse();
    (reversed.unsorted, reversed.sign_unsorted) = (true, true);

    let named_as_device = |forge: &mut Forge<'_>| {
        forge.certificates = vec![DEVICE.certificate.clone(), TENANT.middle.clone()];
        forge.signer_id = issuer_and_serial(&DEVICE.certificate);
    };
    let mut named = right(&OTHER);
    named_as_device(&mut named);
    let mut disguised = named.clone();
    disguised.set(oid::SIGNING_CERTIFICATE_V2, &[signing_certificate(&DEVICE.certificate)]);
    vec![
        (
            "a signature over the content under the attributes",
            "signature",
            signed(CONTENT.as_bytes()),
        ),
        (
            "the attributes signed with the tag that they are sent with",
            "signature",
            signed(&element(0xa0, &forge.attribute_set(false))),
        ),
        ("the attributes signed in another order than DER's", "signature", reversed.build()),
        ("another device of the same tenant", "other signer", right(&OTHER).build()),
        ("another device under this one's name", "other signing certificate", named.build()),
        ("another device under this one's name and certificate", "signature", disguised.build()),
        (
            "another tenant's device with the same names and numbers",
            "certificate absent",
            right(&STRANGER).build(),
        ),
    ]
}

/// Valid messages with other framing. Lengths are indefinite, so that insertions do not break them.
fn reframed() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let message = right(&DEVICE).build();
    let streamed = streamed(&message);
    // The first segment of the content, and the end of its last segment with the end-of-contents
    // mark.
    let first = element(0x04, &CONTENT.as_bytes()[..SEGMENT]);
    let last = CONTENT.as_bytes().chunks(SEGMENT).next_back().unwrap();
    let last = [element(0x04, last), vec![0, 0]].concat();
    let put = |behind: &[u8], what: &[u8]| {
        let place = streamed.windows(behind.len()).position(|window| window == behind).unwrap();
        let (before, after) = streamed.split_at(place + behind.len());
        [before, what, after].concat()
    };
    let more = element(0x04, b" and more");
    vec![
        ("a byte behind the message", "encoding: trailing", [&message[..], &[0]].concat()),
        ("an end mark behind the message", "encoding: trailing", [&streamed[..], &[0, 0]].concat()),
        ("cut short", "encoding: truncated", message[..message.len() - 1].to_vec()),
        (
            "BER with a segment of another kind in the content",
            "encoding: segments",
            put(&first, &element(0x0c, b"not ")),
        ),
        ("BER with a segment more in the content", "other content", put(&first, &more)),
        ("BER with a string more behind the content", "message", put(&last, &more)),
        ("BER with an end mark inside the content", "encoding: trailing", put(&first, &[0, 0])),
    ]
}

/// A valid message as BER. Certificates and signed attributes stay DER (RFC 5652 §5.3), because
/// OpenSSL verifies them as encoded.
fn streamed(message: &[u8]) -> Vec<u8> {
    let attributes = element(0xa0, &right(&DEVICE).attribute_set(false));
    let mut ber = stream(message, SEGMENT);
    for der in [&DEVICE.certificate, &TENANT.middle, &attributes] {
        let undone = stream(der, SEGMENT);
        let place = ber.windows(undone.len()).position(|window| *window == undone).unwrap();
        ber.splice(place..place + undone.len(), der.iter().copied());
    }
    ber
}

/// A valid message with its certificates in DER's order.
fn right(signer: &Person) -> Forge<'_> {
    let mut forge = Forge::right(signer);
    forge.content = Some(element(0x04, CONTENT.as_bytes()));
    forge.set(oid::MESSAGE_DIGEST, &[sha256(CONTENT.as_bytes())]);
    forge.set(oid::SIGNING_TIME, &[element(0x17, SIGNING_TIME.1.as_bytes())]);
    forge.set(oid::MIME_TYPE, &[element(0x0c, MEDIA_TYPE.as_bytes())]);
    forge.set(oid::CONTENT_IDENTIFIER, &[element(0x04, &TRANSACTION)]);
    forge.certificates.sort();
    forge
}

/// The SHA-256 of bytes as an OCTET STRING.
fn sha256(bytes: &[u8]) -> Vec<u8> {
    element(0x04, digest(&SHA256, bytes).as_ref())
}

fn tenant() -> Tenant {
    let root = long_lived(authority("Countersign CA of bank", 1));
    Tenant::with(root, long_lived(authority("Countersign devices of bank", 2)))
}

fn device(tenant: &Tenant, user: &str, serial: u8) -> Person {
    let mut params = long_lived(named(user, serial));
    params.distinguished_name.push(DnType::OrganizationName, "bank");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
    params.use_authority_key_identifier_extension = true;
    params.is_ca = IsCa::ExplicitNoCa;
    tenant.certify(KeyPair::generate().unwrap(), &params)
}

fn long_lived(mut params: CertificateParams) -> CertificateParams {
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2046, 1, 1));
    params
}

fn key_identifier(certificate: &[u8]) -> Vec<u8> {
    use der::Decode;
    let certificate = x509_cert::Certificate::from_der(certificate).unwrap();
    let found = certificate.tbs_certificate.get::<x509_cert::ext::pkix::SubjectKeyIdentifier>();
    found.unwrap().unwrap().1.0.into_bytes()
}

/// An entry of a list, over several lines.
fn entry(members: &[(&str, String)]) -> String {
    let lines: Vec<_> =
        members.iter().map(|(name, value)| format!("      {}: {value}", text(name))).collect();
    format!("    {{\n{}\n    }}", lines.join(",\n"))
}

fn text(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

fn base64(bytes: &[u8]) -> String {
    text(&BASE64_STANDARD.encode(bytes))
}
