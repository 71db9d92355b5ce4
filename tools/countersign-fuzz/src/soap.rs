//! OneSpan's bodies: SOAP of relying applications.

use countersign_core::limits::{CONTENT_BYTES_MAX, ROWS_MAX};
use countersign_onespan::soap::body::{Data, RequestedAttributes, SoapCall, Style, What};
use countersign_onespan::soap::invalid::BadParameter;
use countersign_wire::statement::Statement;

/// A command that is read names who asks, holds no reference that could grow, and what it wants
/// signed can be shown; one that is refused is told why in a sentence.
pub fn onespan_soap(bytes: &[u8]) {
    let call = match SoapCall::find(bytes) {
        Ok(call) => call,
        Err(refused) => return assert!(!refused.to_string().is_empty()),
    };
    let asked = call.asked();
    assert_eq!(asked, call.asked(), "the same message asks the same");
    let RequestedAttributes { component, what } = match asked {
        Ok(asked) => asked,
        Err(BadParameter(sentence)) => return assert!(!sentence.is_empty()),
    };
    assert!(!component.is_empty());
    let data = match what {
        What::Sign { user, data, .. } | What::Prepare { user, data, .. } => {
            assert!(!user.id.is_empty());
            data
        }
        What::Await { key, .. } | What::Fetch { key, .. } => return assert!(!key.is_empty()),
        What::Complete { signature, .. } => return assert!(!signature.is_empty()),
        What::Cancel { message, .. } => {
            assert_eq!(call.style, Style::Elements);
            return assert!(!message.is_empty());
        }
    };
    match data {
        Data::Body(body) => assert!((1..=CONTENT_BYTES_MAX).contains(&body.len())),
        Data::Fields(message, rows) => {
            assert!(rows.len() <= ROWS_MAX);
            assert!(!(message.is_empty() && rows.is_empty()), "nothing is signed");
            let statement = Statement { message, rows };
            assert_eq!(Statement::parse(&statement.to_bytes()), Ok(statement));
        }
    }
}
