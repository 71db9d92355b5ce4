//! Compares two verifiers: messages are built with unusual parts, each right or wrong in one or two
//! places. OpenSSL must accept, in stored form, every message that this crate accepts.

use countersign_proof::ber::element;
use countersign_proof::{cms, oid};
use proptest::prelude::*;

use crate::accepted::sha256;
use crate::forger::*;
use crate::openssl;

/// The chosen form of each part of a message; form 0 is the usual one. A choice above the number of
/// forms is the usual one too, so most messages are unusual in few places.
#[derive(Clone, Debug)]
struct Oddities([usize; 10]);

impl Oddities {
    fn pick<T: Clone>(&self, place: usize, of: &[T]) -> T {
        of.get(self.0[place]).unwrap_or(&of[0]).clone()
    }

    fn message(&self) -> Vec<u8> {
        let null = || Some(vec![5, 0]);
        let sha256 = |parameters| algorithm(oid::SHA256, parameters);
        let mut forge = Forge::right(&ANN);
        forge.digest_algorithms = self.pick(
            0,
            &[
                vec![sha256(None)],
                vec![sha256(null())],
                vec![sha256(None), algorithm(oid::SHA384, None)],
                vec![algorithm(oid::SHA512, null()), sha256(null())],
                vec![sha256(None), sha256(None)],
                vec![sha256(None), algorithm(SHA1, null())],
                vec![],
            ],
        );
        forge.digest_algorithm = self.pick(1, &[sha256(None), sha256(null())]);
        forge.version = self.pick(2, &[1, 3, 4, 0]);
        let ecdsa = |parameters| algorithm(oid::ECDSA_SHA256, parameters);
        forge.signature_algorithm = self.pick(3, &[ecdsa(None), ecdsa(null())]);
        forge.certificates = self.certificates();
        let times: [(u8, &[u8]); 7] = [
            (0x17, b"270115080000Z"),
            (0x18, b"20270115080000Z"),
            (0x18, b"20600115080000Z"),
            (0x17, b"2701150800Z"),
            (0x17, b"270115080000+0000"),
            (0x18, b"20270115080000.5Z"),
            (0x17, b"270230080000Z"),
        ];
        let (tag, time) = self.pick(5, &times);
        forge.set(oid::SIGNING_TIME, &[element(tag, time)]);
        forge.set(oid::SIGNING_CERTIFICATE_V2, &[self.signing_certificate()]);
        let kinds = self.pick(7, &[0x0c, 0x16, 0x13, 0x0d]);
        forge.set(oid::MIME_TYPE, &[element(kinds, TEXT.as_bytes())]);
        forge.unsorted = self.pick(8, &[false, true]);
        if forge.unsorted {
            forge.attributes.as_mut().unwrap().reverse();
        }
        forge.build()
    }

    fn certificates(&self) -> Vec<Vec<u8>> {
        let (own, middle, root) = (&ANN.certificate, &TENANT.middle, &TENANT.root);
        let mut spoilt = root.clone();
        *spoilt.last_mut().unwrap() ^= 1;
        let orders: [&[&Vec<u8>]; 9] = [
            &[own, middle],
            &[middle, own],
            &[own, middle, root],
            &[root, middle, own],
            &[own, own, middle],
            &[own, middle, middle],
            &[own, middle, &STRANGERS.root],
            &[own, middle, &spoilt],
            &[own],
        ];
        self.pick(4, &orders).iter().map(|one| (*one).clone()).collect()
    }

    fn signing_certificate(&self) -> Vec<u8> {
        let hash = |certificate: &[u8]| element(0x04, &sha256(certificate));
        let id = |parts: &[Vec<u8>]| element(0x30, &parts.concat());
        let list = |ids: &[Vec<u8>]| element(0x30, &element(0x30, &ids.concat()));
        let (issuer, serial) = names(&ANN.certificate);
        let named = element(0x30, &[element(0x30, &element(0xa4, &issuer)), serial].concat());
        let own = hash(&ANN.certificate);
        let middle = id(&[hash(&TENANT.middle)]);
        let explicit = algorithm(oid::SHA256, None);
        self.pick(
            6,
            &[
                list(&[id(std::slice::from_ref(&own))]),
                list(&[id(&[own.clone(), named])]),
                list(&[id(&[explicit, own.clone()])]),
                list(&[id(&[algorithm(oid::SHA256, Some(vec![5, 0])), own.clone()])]),
                list(&[id(std::slice::from_ref(&own)), middle.clone()]),
                list(&[middle, id(&[own])]),
                list(&[]),
            ],
        )
    }

    fn sent(&self, message: &[u8]) -> Vec<u8> {
        match self.0[9] {
            0 => stream(message, 1),
            1 => stream(message, 7),
            2 => stream(message, 1000),
            _ => message.to_vec(),
        }
    }
}

fn oddities() -> impl Strategy<Value = Oddities> {
    // Each of ten parts is unusual with a probability of one third.
    proptest::array::uniform10(prop_oneof![2 => Just(usize::MAX), 1 => 0..9_usize])
        .prop_map(Oddities)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn openssl_accepts_every_message_that_is_accepted_here(odd in oddities()) {
        let message = odd.message();
        let sent = odd.sent(&message);
        if let Ok(proof) = verify(&sent) {
            let kept = openssl::verify(proof.evidence(), &TENANT.root);
            prop_assert_eq!(kept.as_deref(), Ok(CONTENT), "as stored");
            let inspected = cms::inspect(proof.evidence(), &TENANT.roots(), NOW);
            prop_assert_eq!(inspected.map(|one| one.content), Ok(CONTENT.to_vec()));
        }
    }
}

/// Every form of every part by itself, so that coverage does not depend on chance; and a lower
/// bound on accepted messages.
#[test]
fn each_oddity_by_itself_is_refused_or_accepted_by_openssl_too() {
    let mut accepted = 0;
    for place in 0..10 {
        for way in 0..9 {
            let mut odd = Oddities([usize::MAX; 10]);
            odd.0[place] = way;
            let sent = odd.sent(&odd.message());
            let Ok(proof) = verify(&sent) else { continue };
            accepted += 1;
            let kept = openssl::verify(proof.evidence(), &TENANT.root);
            assert_eq!(kept.as_deref(), Ok(CONTENT), "way {way} of part {place}");
            // OpenSSL verifies the order and framing of signed data as sent. RFC 5652 §5.4 requires
            // DER's, so they are stored in DER.
            if place < 8 {
                let as_sent = openssl::verify(&sent, &TENANT.root);
                assert_eq!(as_sent.as_deref(), Ok(CONTENT), "way {way} of part {place}, as sent");
            }
        }
    }
    assert!(accepted > 40, "only {accepted} were accepted");
}
