//! Generates `docs/vectors/raw.json`. OpenSSL signs; this program does not verify:
//!
//! ```text
//! cargo run -p countersign-proof --example raw_vectors > docs/vectors/raw.json
//! ```
//!
//! Every run generates new keys, so the file is generated once, and the tests read the committed
//! one.
#![expect(clippy::unwrap_used, reason = "like the tests, it may panic")]

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use countersign_proof::ber::element;
use der::pem::LineEnding;
use rcgen::{DnType, IsCa, KeyPair, KeyUsagePurpose, SignatureAlgorithm, date_time_ymd};
use serde_json::{Value, json};

use self::forger::{Person, Tenant, authority, named};

#[path = "../tests/it/forger.rs"]
#[expect(dead_code, reason = "only the tests use the rest")]
mod forger;

const TEXT: &str = "<p>Pay <b>5 €</b> to Ann?</p>";
/// In seconds since the Unix epoch: 2026-11-21, 21:20:00 UTC.
const NOW: u64 = 1_795_296_000;
const HASHES: [&str; 4] = ["sha1", "sha256", "sha384", "sha512"];

const ABOUT: &str = "Raw signatures that OpenSSL made. Bytes are base64, times seconds, digests \
    hex. A verifier verifies each by the certificate of its signer, chained to `tenant_ca`, at \
    `now`. An accepted one is over `text` (UTF-8), and so over its digest too. A refused one is \
    over `text`, or over its own `digest`, and at its own `now`, if it has one. `reason` is the \
    first one found, in the order of countersign-proof; a device gets `bad_signature`. The \
    tenant's rule for SHA-1 is applied before the verification.";

/// A signer with a directory that contains its key for OpenSSL.
struct Signer {
    name: &'static str,
    scheme: &'static str,
    person: Person,
    home: tempfile::TempDir,
}

fn main() {
    let tenant = Tenant::with(
        long_lived(authority("Countersign CA of bank", 1)),
        long_lived(authority("Countersign devices of bank", 2)),
    );
    let signers = [
        signer(&tenant, "p256", "ecdsa", &rcgen::PKCS_ECDSA_P256_SHA256, 0x51),
        signer(&tenant, "p384", "ecdsa", &rcgen::PKCS_ECDSA_P384_SHA384, 0x52),
        signer(&tenant, "p521", "ecdsa", &rcgen::PKCS_ECDSA_P521_SHA512, 0x53),
        signer(&tenant, "rsa", "rsa", &rcgen::PKCS_RSA_SHA256, 0x54),
    ];
    let described: Vec<_> = signers
        .iter()
        .map(|signer| {
            json!({
                "name": signer.name,
                "certificate": base64(&signer.person.certificate),
                "chain": [base64(&tenant.middle)],
            })
        })
        .collect();
    let digests: serde_json::Map<String, Value> = HASHES
        .map(|hash| (hash.to_owned(), hex::encode(signers[0].digest(hash)).into()))
        .into_iter()
        .collect();
    let vectors = json!({
        "about": ABOUT,
        "now": NOW,
        "tenant_ca": base64(&tenant.root),
        "text": TEXT,
        "digests": digests,
        "signers": described,
        "accepted": accepted(&signers),
        "refused": refused(&signers),
    });
    println!("{}", serde_json::to_string_pretty(&vectors).unwrap());
}

fn accepted(signers: &[Signer]) -> Vec<Value> {
    let each = |signer: &Signer| {
        HASHES.map(|hash| {
            let algorithm = format!("{}-{hash}", signer.scheme);
            let signature = base64(&signer.sign(hash, &signer.digest(hash), ""));
            json!({"signer": signer.name, "algorithm": algorithm, "signature": signature})
        })
    };
    signers.iter().flat_map(each).collect()
}

fn refused(signers: &[Signer]) -> Vec<Value> {
    let [p256, p384, _, rsa] = signers else { unreachable!("there are four") };
    let right = p256.sign("sha256", &p256.digest("sha256"), "");
    let [fixed, longer, zeros] = misspelt(&right);
    let trailing = [&right[..], &[0]].concat();
    let other = |signer: &Signer| signer.sign("sha256", &[7; 32], "");
    let twice = p256.sign("sha256", &p256.hash("sha256", &p256.digest("sha256")), "");
    let hexed = hex::encode(p256.digest("sha256"));
    let hexed = p256.sign("sha256", &p256.hash("sha256", hexed.as_bytes()), "");
    let mut refused: Vec<Value> = [
        ("over another text", "ecdsa-sha256", &other(p256)),
        ("with another hash than it says", "ecdsa-sha384", &right),
        ("ECDSA, r and s one after the other", "ecdsa-sha256", &fixed),
        ("ECDSA, a number longer than it need be", "ecdsa-sha256", &longer),
        ("ECDSA, r and s zero", "ecdsa-sha256", &zeros),
        ("a byte too many", "ecdsa-sha256", &trailing),
        ("nothing", "ecdsa-sha256", &Vec::new()),
        ("over the digest of the digest", "ecdsa-sha256", &twice),
        ("over the hex of the digest, as text", "ecdsa-sha256", &hexed),
    ]
    .map(|(name, algorithm, value)| case(name, p256, algorithm, value, "signature"))
    .into();
    refused.push(case("by another key", p384, "ecdsa-sha256", &right, "signature"));
    refused.push(case("an RSA algorithm with an EC key", p256, "rsa-sha256", &right, "other key"));
    refused.extend(refused_rsa(rsa));
    refused.extend(refused_elsewhere(p256, p384));
    refused
}

fn refused_rsa(rsa: &Signer) -> Vec<Value> {
    let digest = rsa.digest("sha256");
    let right = rsa.sign("sha256", &digest, "");
    let cases = [
        ("over another text, RSA", "rsa-sha256", rsa.sign("sha256", &[7; 32], "")),
        ("with another hash than it says, RSA", "rsa-sha512", right.clone()),
        ("a byte too few", "rsa-sha256", right[1..].to_vec()),
        ("RSA over the digest without its DigestInfo", "rsa-sha256", rsa.sign("none", &digest, "")),
        ("RSA-PSS", "rsa-sha256", rsa.sign("sha256", &digest, "-pkeyopt rsa_padding_mode:pss")),
    ];
    let mut refused: Vec<Value> = cases
        .map(|(name, algorithm, value)| case(name, rsa, algorithm, &value, "signature"))
        .into();
    let name = "an ECDSA algorithm with an RSA key";
    refused.push(case(name, rsa, "ecdsa-sha256", &right, "other key"));
    refused
}

/// Signatures that verify, but at another time or over a digest of another length.
fn refused_elsewhere(p256: &Signer, p384: &Signer) -> Vec<Value> {
    let right = p256.sign("sha256", &p256.digest("sha256"), "");
    let over = |name: &str, digest: &[u8]| {
        let mut case = case(name, p256, "ecdsa-sha256", &right, "digest length");
        case["digest"] = hex::encode(digest).into();
        case
    };
    let at = |name: &str, now: u64, reason: &str| {
        let value = p384.sign("sha384", &p384.digest("sha384"), "");
        let mut case = case(name, p384, "ecdsa-sha384", &value, reason);
        case["now"] = now.into();
        case
    };
    vec![
        over("over a digest that is another algorithm's", &p256.digest("sha384")),
        over("over a digest of no bytes", &[]),
        over("over the hex of a digest", hex::encode(p256.digest("sha256")).as_bytes()),
        at("before the certificate", 1_700_000_000, "not yet valid"),
        at("after the certificate", 2_500_000_000, "expired"),
    ]
}

fn case(name: &str, signer: &Signer, algorithm: &str, signature: &[u8], reason: &str) -> Value {
    json!({
        "name": name, "signer": signer.name, "algorithm": algorithm,
        "signature": base64(signature), "reason": reason,
    })
}

/// The two numbers of an ECDSA signature in encodings other than DER: concatenated; one with
/// leading zeros; both zero.
fn misspelt(right: &[u8]) -> [Vec<u8>; 3] {
    let (r, s) = integers(right);
    let fixed = [&r, &s].iter().flat_map(|number| padded(number)).collect();
    let zeros_before = element(0x02, &[&[0, 0][..], &r].concat());
    let longer = element(0x30, &[zeros_before, element(0x02, &s)].concat());
    let zeros = element(0x30, &[element(0x02, &[0]), element(0x02, &[0])].concat());
    [fixed, longer, zeros]
}

fn signer(
    tenant: &Tenant,
    name: &'static str,
    scheme: &'static str,
    algorithm: &'static SignatureAlgorithm,
    serial: u8,
) -> Signer {
    let mut params = long_lived(named(name, serial));
    params.distinguished_name.push(DnType::OrganizationName, "bank");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
    params.is_ca = IsCa::ExplicitNoCa;
    let person = tenant.certify(KeyPair::generate_for(algorithm).unwrap(), &params);
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("key.pem"), person.key.serialize_pem()).unwrap();
    let pem = der::pem::encode_string("CERTIFICATE", LineEnding::LF, &person.certificate).unwrap();
    std::fs::write(home.path().join("own.pem"), pem).unwrap();
    Signer { name, scheme, person, home }
}

impl Signer {
    fn digest(&self, hash: &str) -> Vec<u8> {
        self.hash(hash, TEXT.as_bytes())
    }

    fn hash(&self, hash: &str, bytes: &[u8]) -> Vec<u8> {
        std::fs::write(self.home.path().join("bytes"), bytes).unwrap();
        openssl(self.home.path(), &format!("dgst -binary -{hash} bytes"))
    }

    /// Signs a digest; with `none`, OpenSSL does not learn its hash.
    fn sign(&self, hash: &str, digest: &[u8], options: &str) -> Vec<u8> {
        std::fs::write(self.home.path().join("digest"), digest).unwrap();
        let hash = if hash == "none" { String::new() } else { format!("-pkeyopt digest:{hash}") };
        openssl(
            self.home.path(),
            &format!("pkeyutl -sign -inkey key.pem -in digest {options} {hash}"),
        )
    }
}

fn openssl(dir: &Path, arguments: &str) -> Vec<u8> {
    let mut openssl = Command::new("openssl");
    let output = openssl.args(arguments.split_whitespace()).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn long_lived(mut params: rcgen::CertificateParams) -> rcgen::CertificateParams {
    (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2046, 1, 1));
    params
}

/// The two numbers of a P-256 signature, from its DER.
fn integers(signature: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let length = usize::from(signature[3]);
    (signature[4..4 + length].to_vec(), signature[6 + length..].to_vec())
}

/// Pads a number to 32 bytes.
fn padded(number: &[u8]) -> Vec<u8> {
    let start = number.len().saturating_sub(32);
    let mut padded = vec![0; 32 - (number.len() - start)];
    padded.extend(&number[start..]);
    padded
}

fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}
