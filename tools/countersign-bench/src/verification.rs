//! The cost of one P-256 verification on this machine, which is the unit of all other costs.

use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _,
    ParsedPublicKey,
};

const SLICES: u32 = 20;
const IN_A_SLICE: u32 = 250;
/// A message as long as the signed attributes of a CMS.
const MESSAGE: [u8; 180] = [7; 180];

/// The CPU time of one verification with a parsed key: the best of several slices. Nothing else may
/// run at the same time. The best slice was not interrupted, so its elapsed time is CPU time.
pub(super) fn cpu() -> Duration {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
        .expect("generating a key does not fail");
    let signature = pair.sign(&SystemRandom::new(), &MESSAGE).expect("a new key signs");
    let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pair.public_key().as_ref());
    let key = key.expect("a new key is valid");
    let slice = || {
        let began = Instant::now();
        for _ in 0..IN_A_SLICE {
            let held = key.verify_sig(std::hint::black_box(&MESSAGE), signature.as_ref());
            held.expect("the signature is by the key");
        }
        began.elapsed() / IN_A_SLICE
    };
    (0..SLICES).map(|_| slice()).min().expect("there is at least one slice")
}
