//! Messages whose bytes are changed, cut, extended or framed in another way, and bytes that are not
//! such a message.

use std::sync::LazyLock;

use countersign_proof::ber::{BadBer, element};
use countersign_proof::{BadProof, cms, oid};
use der::asn1::ObjectIdentifier;
use proptest::prelude::*;

use crate::accepted::sha256;
use crate::forger::*;

#[test]
fn a_changed_bit_anywhere_is_refused() {
    let message = Forge::right(&ANN).build();
    let signer = ANN.signer();
    let kept = verify(&message).unwrap();
    for place in 0..message.len() {
        let mut changed = message.clone();
        changed[place] ^= 1 << (place % 8);
        if let Ok(proof) = cms::verify(&changed, &RIGHT, &signer, NOW) {
            // Only the message's version, 1 or 3, may change: it is not signed and has no effect.
            assert_ne!(proof, kept, "the change of byte {place} was normalised away");
            assert_eq!((changed[place], message[place]), (3, 1), "byte {place}");
        }
    }
}

#[test]
fn every_truncated_message_is_refused() {
    let message = Forge::right(&ANN).build();
    let signer = ANN.signer();
    for form in [message.clone(), stream(&message, 7)] {
        for end in 0..form.len() {
            let outcome = cms::verify(&form[..end], &RIGHT, &signer, NOW);
            assert!(matches!(outcome, Err(BadProof::Encoding(_))), "{end} bytes: {outcome:?}");
        }
    }
}

#[test]
fn bytes_after_the_message_are_refused() {
    let mut message = Forge::right(&ANN).build();
    message.push(0);
    assert_eq!(verify(&message), Err(BadProof::Encoding(BadBer::Trailing)));
    let mut streamed = stream(&Forge::right(&ANN).build(), 7);
    streamed.extend([0, 0]);
    assert_eq!(verify(&streamed), Err(BadProof::Encoding(BadBer::Trailing)));
}

#[test]
fn ber_with_hidden_bytes_is_refused() {
    let right = Forge::right(&ANN).build();
    let content = element(0x04, CONTENT);
    let place = right.windows(content.len()).position(|window| window == content).unwrap();
    let [before, after] = [&right[..place], &right[place + content.len()..]];
    // Streaming makes the lengths around the content indefinite, so that a longer content fits.
    let hidden = |inside: &[u8]| {
        let (start, rest) = (stream_open(before), after);
        let mut message = start;
        message.extend_from_slice(inside);
        message.extend([0, 0, 0, 0]);
        message.extend(stream(rest, usize::MAX));
        message.extend([0; 6]);
        verify(&message)
    };
    assert!(hidden(&content).is_ok(), "valid before the change");

    let (first, last) = CONTENT.split_at(4);
    let parts = |parts: &[Vec<u8>]| [&[0x24, 0x80][..], &parts.concat(), &[0, 0]].concat();
    let (first, last) = (element(0x04, first), element(0x04, last));
    assert!(hidden(&parts(&[first.clone(), last.clone()])).is_ok());
    // A segment of another kind: one reader skips it, another joins it.
    let other = element(0x0c, b"not ");
    let outcome = hidden(&parts(&[first.clone(), other, last.clone()]));
    assert_eq!(outcome, Err(BadProof::Encoding(BadBer::Segments)));
    // An additional segment changes the content.
    let more = element(0x04, b" and more");
    let outcome = hidden(&parts(&[first.clone(), last.clone(), more.clone()]));
    assert_eq!(outcome, Err(BadProof::OtherContent));
    // An element after the content, inside the same frame.
    let outcome = hidden(&[content.clone(), more].concat());
    assert_eq!(outcome, Err(BadProof::Message));
    // An end-of-contents mark that one reader takes as the end of the string.
    let early = [&[0x24, 0x80][..], &first, &[0, 0], &last, &[0, 0]].concat();
    assert!(hidden(&early).is_err());
    // An end-of-contents mark inside a definite length.
    let marked = element(0x24, &[first, vec![0, 0], last].concat());
    assert!(hidden(&marked).is_err());
}

/// The frames around the content, with indefinite lengths and without their ends.
fn stream_open(before: &[u8]) -> Vec<u8> {
    let version_to_digests = {
        let from = before.windows(3).position(|window| window == [2, 1, 1]).unwrap();
        let data = der(&oid::DATA);
        let to = before.windows(data.len()).position(|window| window == data).unwrap();
        // Leaves out the header of the SEQUENCE between them.
        before[from..to].strip_suffix(&before[to - 2..to]).unwrap().to_vec()
    };
    let mut open = vec![0x30, 0x80];
    open.extend(der(&oid::SIGNED_DATA));
    open.extend([0xa0, 0x80, 0x30, 0x80]);
    open.extend(version_to_digests);
    open.extend([0x30, 0x80]);
    open.extend(der(&oid::DATA));
    open.extend([0xa0, 0x80]);
    open
}

proptest! {
    #[test]
    fn a_message_with_inserted_bytes_is_refused_or_gives_the_same_proof(
        place in 0..1500_usize,
        removed in 0..40_usize,
        put in proptest::collection::vec(any::<u8>(), 0..40),
        segment in 1..200_usize,
    ) {
        static MESSAGE: LazyLock<Vec<u8>> = LazyLock::new(|| Forge::right(&ANN).build());
        let mut changed = stream(&MESSAGE, segment);
        let place = place.min(changed.len());
        let end = (place + removed).min(changed.len());
        changed.splice(place..end, put);
        if let Ok(proof) = verify(&changed) {
            prop_assert_eq!(proof.content_digest(), sha256(CONTENT));
            prop_assert_eq!(verify(proof.evidence()), Ok(proof));
        }
    }
}

#[test]
fn other_messages_are_refused() {
    for other in [b"".as_slice(), b"hello", &[0x30, 0], &wrap(&[0x30, 0]), &ANN.certificate] {
        assert!(verify(other).is_err());
    }
    let enveloped = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.3");
    let other = element(0x30, &[der(&enveloped), element(0xa0, &[0x30, 0])].concat());
    assert_eq!(verify(&other), Err(BadProof::Message));
}
