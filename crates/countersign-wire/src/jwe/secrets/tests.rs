use proptest::prelude::*;

use super::*;
use crate::encoding::to_base64url;
use crate::vectors::{Refused, read, unhex};

#[derive(Deserialize)]
struct Vectors {
    device: DeviceName,
    seal_key: PrivateJwk,
    ephemeral_key: PrivateJwk,
    shared_secret: String,
    key_encryption_key: String,
    content_key: String,
    iv: String,
    payload_key: PayloadKey,
    code_key: CodeKey,
    jwe: String,
    refused: Vec<Refused>,
}

impl Vectors {
    fn read() -> Self {
        read(include_str!("../../../../../docs/vectors/secrets.json"))
    }

    fn secrets(&self) -> Secrets {
        Secrets { payload_key: self.payload_key.clone(), code_key: self.code_key.clone() }
    }
}

#[test]
fn the_key_derivation_is_rfc_7518s() {
    // RFC 7518, appendix C.
    let shared: [u8; 32] =
        unhex("9e56d91d817135d372834283bf84269cfb316ea3da806a48f6daa7798cfe90c4");
    let key = concat_kdf(&shared, "A128GCM", b"Alice", b"Bob", 128);
    assert_eq!(to_base64url(key), "VqqN6vgjbSBcIijNcacQGg");
    // The keys of the appendix have the shared secret of the appendix.
    let vectors = Vectors::read();
    assert_eq!(unhex(&vectors.shared_secret), shared);
    let theirs = vectors.seal_key.public().point();
    let theirs = UnparsedPublicKey::new(&agreement::ECDH_P256, theirs);
    let mine = vectors.ephemeral_key.agreement();
    let agreed = agreement::agree(&mine, theirs, (), |agreed| Ok(agreed.to_vec()));
    assert_eq!(agreed, Ok(shared.to_vec()));
}

#[test]
fn secrets_are_sealed_as_the_specification_says() {
    let vectors = Vectors::read();
    let kek = concat_kdf(&unhex::<32>(&vectors.shared_secret), ALG, b"", b"", 256);
    assert_eq!(hex::encode(kek), vectors.key_encryption_key);
    let chances = Chances {
        ephemeral: vectors.ephemeral_key.clone(),
        content_key: Zeroizing::new(unhex(&vectors.content_key)),
        iv: unhex(&vectors.iv),
    };
    let seal_key = vectors.seal_key.public();
    let sealed = seal_with(seal_key, &vectors.device, &vectors.secrets(), &chances);
    assert_eq!(sealed, vectors.jwe);
    let opened = open(&vectors.seal_key, &vectors.device, &sealed).unwrap();
    assert_eq!(opened.payload_key.as_bytes(), vectors.payload_key.as_bytes());
    assert_eq!(opened.code_key.as_bytes(), vectors.code_key.as_bytes());
}

#[test]
fn every_vector_that_is_not_a_sealed_secret_is_refused() {
    let vectors = Vectors::read();
    assert_eq!(vectors.refused.len(), 9);
    for Refused { name, token, error } in vectors.refused {
        let expected = match error.as_str() {
            "malformed" => BadSealed::Malformed,
            "other label" => BadSealed::OtherLabel,
            "closed" => BadSealed::Closed,
            other => panic!("no such error: {other}"),
        };
        let found = open(&vectors.seal_key, &vectors.device, &token);
        assert_eq!(found.err(), Some(expected), "{name}");
    }
}

#[test]
fn secrets_open_with_the_key_that_they_were_sealed_to_and_no_other() {
    let vectors = Vectors::read();
    let (mine, other) = (PrivateJwk::generate(), PrivateJwk::generate());
    let sealed = seal(mine.public(), &vectors.device, &vectors.secrets());
    let opened = open(&mine, &vectors.device, &sealed).unwrap();
    assert_eq!(opened.code_key.as_bytes(), vectors.code_key.as_bytes());
    assert_eq!(open(&other, &vectors.device, &sealed).err(), Some(BadSealed::Closed));
    assert!(!format!("{opened:?}").contains(&to_base64url(opened.code_key.as_bytes())));
}

proptest! {
    #[test]
    fn no_secrets_with_a_bit_flipped_open(place: prop::sample::Index, bit in 0..7_u8) {
        let vectors = Vectors::read();
        let mut sealed = vectors.jwe.clone().into_bytes();
        let place = place.index(sealed.len());
        sealed[place] ^= 1_u8 << bit;
        let sealed = String::from_utf8(sealed).expect("seven bits are ASCII");
        prop_assert!(open(&vectors.seal_key, &vectors.device, &sealed).is_err());
    }
}
