//! OneSpan's bodies: JSON of phones' applications.

use countersign_core::limits::SIGNATURE_BYTES_MAX;
use countersign_onespan::body::{BodyParameters, SignatureText, read_signature, unhexed};

/// What is read as a signature can be nothing else, and a body says each thing once.
pub fn onespan_rest(bytes: &[u8]) {
    let Some(parameters) = BodyParameters::parse(bytes) else { return };
    let texts = [
        &parameters.user_id,
        &parameters.domain,
        &parameters.request_key,
        &parameters.challenge_key,
        &parameters.serial_number,
        &parameters.signature,
        &parameters.digipass_instance_id,
        &parameters.encrypted_notification_id,
    ];
    for text in texts.into_iter().filter_map(|member| member.text()) {
        assert!(!text.is_empty(), "what is empty is not there");
        if let Some(sealed) = unhexed(text) {
            assert_eq!(hex::encode(sealed), text.to_ascii_lowercase());
        }
        match read_signature(text) {
            None => {}
            Some(SignatureText::Code(digits)) => {
                assert!((6..=16).contains(&digits.len()));
                assert!(digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
            }
            Some(SignatureText::Cms(message)) => {
                assert!((1..=SIGNATURE_BYTES_MAX).contains(&message.len()));
            }
        }
    }
}
