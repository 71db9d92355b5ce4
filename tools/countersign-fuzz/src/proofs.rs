//! What signers send: BER, certificates, and CMS messages, these with OpenSSL as the other opinion.

use std::collections::HashSet;
use std::io::Write as _;
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use countersign_proof::{Expected, Request, Roots, Signer, ber as normaliser, cms as verifier};
use serde_json::Value;

use crate::vectors;

static VECTORS: LazyLock<Value> =
    LazyLock::new(|| vectors::read(include_str!("../../../docs/vectors/cms.json")));
static KEY_PROOFS: LazyLock<Value> =
    LazyLock::new(|| vectors::read(include_str!("../../../docs/vectors/key-proofs.json")));
static REQUESTS: LazyLock<Vec<Request>> = LazyLock::new(|| {
    let cases = vectors::list(&KEY_PROOFS, "accepted").iter();
    cases.map(|case| Request::parse(&vectors::base64(case, "csr")).expect("it is good")).collect()
});
static KNOWN: LazyLock<Known> = LazyLock::new(Known::read);

/// The one signer and the one thing signed.
struct Known {
    now: u64,
    root: Vec<u8>,
    certificate: Vec<u8>,
    chain: Vec<Vec<u8>>,
    signer: Signer,
    roots: Roots,
    transaction: [u8; 16],
    content: Vec<u8>,
    media_type: &'static str,
    /// The values of the SETs that were signed: one for each message that is right.
    attributes: Vec<Vec<u8>>,
    /// Evidence that OpenSSL has accepted.
    agreed: Mutex<HashSet<Vec<u8>>>,
}

impl Known {
    fn read() -> Self {
        let now = VECTORS["now"].as_u64().expect("a time");
        let root = vectors::base64(&VECTORS, "tenant_ca");
        let certificate = vectors::base64(&VECTORS, "certificate");
        let chain = vectors::list(&VECTORS, "chain").iter();
        let chain = chain.map(|one| STANDARD.decode(one.as_str().expect("text")).expect("base64"));
        let chain: Vec<_> = chain.collect();
        let roots = Roots::new([root.as_slice()]).expect("the vectors' root is one");
        let signer = Signer::new(&certificate, &chain, &roots, now).expect("it is trusted");
        let transaction = hex::decode(vectors::text(&VECTORS, "transaction")).expect("hex");
        let accepted = vectors::list(&VECTORS, "accepted").iter();
        Self {
            now,
            root,
            certificate,
            chain,
            signer,
            roots,
            transaction: transaction.try_into().expect("16 bytes"),
            content: vectors::base64(&VECTORS, "content"),
            media_type: vectors::text(&VECTORS, "media_type"),
            attributes: accepted.map(|one| attributes(&vectors::base64(one, "der"))).collect(),
            agreed: Mutex::default(),
        }
    }

    fn expected(&self) -> Expected<'_> {
        let Self { transaction, content, media_type, .. } = self;
        Expected { transaction: *transaction, content, media_type }
    }
}

/// The value of the SET of signed attributes, in DER: it begins with the shortest, `content-type`.
fn attributes(der: &[u8]) -> Vec<u8> {
    const FIRST: &[u8] = b"\x30\x18\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03";
    let start = der.windows(FIRST.len()).position(|part| part == FIRST).expect("it is there");
    let length = match der[..start] {
        [.., 0xa0, 0x82, high, low] => usize::from(u16::from_be_bytes([high, low])),
        [.., 0xa0, 0x81, length] => usize::from(length),
        _ => panic!("a tag and a length stand before it"),
    };
    der[start..start + length].to_vec()
}

/// Normalising is idempotent, and grows nothing but lengths.
pub fn ber(bytes: &[u8]) {
    if let Ok(der) = normaliser::to_der(bytes) {
        assert_eq!(normaliser::to_der(&der).as_ref(), Ok(&der), "what is normal stays as it is");
        assert!(der.len() <= 3 * bytes.len() + 8, "a length grows by a few bytes at the most");
    }
}

/// Whatever is accepted was signed by the one key that is known, says the same in every form in
/// which it is kept, and OpenSSL accepts it too.
pub fn cms(bytes: &[u8]) {
    let known = &*KNOWN;
    let _ = verifier::inspect_when_signed(bytes, &known.roots);
    let Ok(proof) = verifier::verify(bytes, &known.expected(), &known.signer, known.now) else {
        return;
    };
    let evidence = proof.evidence();
    assert!(proof.repeats(bytes), "what was accepted is known again");
    let again = verifier::verify(evidence, &known.expected(), &known.signer, known.now);
    assert_eq!(again.as_ref(), Ok(&proof), "evidence is as good as what was submitted");
    let inspected = verifier::inspect(evidence, &known.roots, known.now).expect("it is good");
    assert_eq!(inspected.content, known.content);
    assert_eq!(inspected.certificate, known.certificate);
    assert!(known.attributes.contains(&attributes(evidence)), "nobody has signed anything else");
    if known.agreed.lock().expect("not poisoned").insert(evidence.to_vec()) {
        assert_eq!(openssl(evidence, &known.root, known.now), known.content);
    }
}

/// What OpenSSL finds signed in a message; it ends the process where it finds nothing.
fn openssl(message: &[u8], root: &[u8], now: u64) -> Vec<u8> {
    let directory = std::env::temp_dir().join(format!("countersign-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for temporary files");
    let (file, ca) = (directory.join("message.p7m"), directory.join("ca.pem"));
    std::fs::write(&file, message).expect("it can be written");
    let mut pem = std::fs::File::create(&ca).expect("it can be written");
    let text = STANDARD.encode(root);
    writeln!(pem, "-----BEGIN CERTIFICATE-----").expect("it can be written");
    for line in text.as_bytes().chunks(64) {
        writeln!(pem, "{}", String::from_utf8_lossy(line)).expect("it can be written");
    }
    writeln!(pem, "-----END CERTIFICATE-----").expect("it can be written");
    let output = Command::new("openssl")
        .args(["cms", "-verify", "-cades", "-binary", "-inform", "DER", "-attime"])
        .arg(now.to_string())
        .arg("-in")
        .arg(&file)
        .arg("-CAfile")
        .arg(&ca)
        .output()
        .expect("openssl is installed");
    let _ = std::fs::remove_dir_all(&directory);
    assert!(
        output.status.success(),
        "we accept what OpenSSL refuses: {}\n{}",
        STANDARD.encode(message),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// The bytes are read as a signer's certificate, as an issuer's and as a root.
pub fn certificate(bytes: &[u8]) {
    let known = &*KNOWN;
    if let Ok(signer) = Signer::new(bytes, &known.chain, &known.roots, known.now) {
        assert_eq!(signer.certificate(), bytes);
        assert_eq!(bytes, known.certificate, "nobody else was certified");
        assert!(signer.valid_until() >= known.now);
    }
    let chain = [bytes.to_vec(), known.chain[0].clone()];
    let with_more = Signer::new(&known.certificate, &chain, &known.roots, known.now);
    assert!(with_more.is_ok() || bytes.len() > countersign_proof::CERTIFICATE_BYTES_MAX);
    if let Ok(signer) = Signer::new(&known.certificate, &chain[..1], &known.roots, known.now) {
        assert_eq!(bytes, known.chain[0], "nobody else issues, though {signer:?}");
    }
    if let Ok(roots) = Roots::new([bytes]) {
        let _ = Signer::new(&known.certificate, &known.chain, &roots, known.now);
        let _ = Signer::new(bytes, &[], &roots, known.now);
    }
}

/// As a request for a certificate, and as a proof by the key of a known one. Only the keys of the
/// vectors ever signed a request, and none of them another statement than its own.
pub fn request(bytes: &[u8]) {
    let cases = vectors::list(&KEY_PROOFS, "accepted");
    if let Ok(request) = Request::parse(bytes) {
        let digest = hex::encode(request.key_digest());
        let known = cases.iter().find(|case| vectors::text(case, "key_digest") == digest);
        let known = known.expect("nobody else signed a request");
        let statement = hex::decode(vectors::text(known, "statement")).expect("hex");
        let proof = vectors::base64(known, "proof");
        request.check_proof(&statement, &proof).expect("a request is its key");
    }
    for request in &*REQUESTS {
        assert!(request.check_proof(b"another statement", bytes).is_err(), "nobody signed it");
    }
}
