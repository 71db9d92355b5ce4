//! The other devices of a person are told that one was added.

use countersign_device::{Listen, Notice};
use serde_json::{Value, json};

use crate::test_device::TestDevice;
use crate::test_server::TestServer;
use crate::trustedx::proof_of;

impl TestDevice {
    /// This device, reporting other devices.
    fn reporting(mut self) -> Self {
        self.device.report_devices(true);
        self
    }

    /// The id of the next device that it reports, before any offer.
    async fn reports(&mut self) -> String {
        loop {
            match self.device.next().await.unwrap() {
                Notice::DeviceAdded(added) => {
                    assert_eq!(added.name, "a phone");
                    return added.id.to_string();
                }
                Notice::Connected => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn id(&self) -> String {
        self.phone().device_id.to_string()
    }
}

#[tokio::test]
async fn a_connected_device_is_told_at_once_and_one_that_was_away_when_it_comes() {
    let server = TestServer::new();
    server.user("jane");
    server.user("joe");
    let mut first = TestDevice::enrolled(&server, "jane", None).await.reporting();
    let away = TestDevice::enrolled(&server, "jane", None).await;
    assert_eq!(first.reports().await, away.id());
    // The channel is open now.
    let (told, third) = tokio::join!(first.reports(), TestDevice::enrolled(&server, "jane", None));
    assert_eq!(told, third.id());
    TestDevice::enrolled(&server, "joe", None).await;

    let mut away = away.reporting();
    assert_eq!(away.reports().await, third.id(), "only those that came after it");
    let fourth = TestDevice::enrolled(&server, "jane", None).await;
    assert_eq!(away.reports().await, fourth.id());
    assert_eq!(first.reports().await, fourth.id(), "not joe's");

    // Each is reported once, also after a restart of the device, and by a device that polls.
    let fifth = TestDevice::enrolled(&server, "jane", None).await;
    for way in [Listen::Poll, Listen::Channel] {
        let file = if way == Listen::Poll { first.file.clone() } else { away.file.clone() };
        let mut again = TestDevice::opened(file).reporting();
        again.device.listen(way);
        assert_eq!(again.reports().await, fifth.id());
    }
    let known: Value = serde_json::from_slice(&std::fs::read(&first.file).unwrap()).unwrap();
    let expected = [away.id(), third.id(), fourth.id(), fifth.id()];
    assert_eq!(known["known_devices"], json!(expected));
}

#[tokio::test]
async fn a_device_lists_its_users_devices_without_retired_ones() {
    let server = TestServer::new();
    server.user("jane");
    server.user("joe");
    let own = TestDevice::enrolled(&server, "jane", None).await;
    let gone = TestDevice::enrolled(&server, "jane", None).await;
    let other = TestDevice::enrolled(&server, "jane", None).await;
    TestDevice::enrolled(&server, "joe", None).await;
    let path = format!("v3_device/{}", gone.id());
    server.call(reqwest::Method::DELETE, &path, None).await;
    let list = async |device: &TestDevice| {
        let path = "/device/v1/devices";
        let token = proof_of(device.phone(), "GET", path, b"");
        let call = server.http.get(format!("{}{path}", server.address)).bearer_auth(token);
        let answer = call.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let (status, listed) = list(&own).await;
    assert_eq!(status, 200, "{listed}");
    let rows = listed["devices"].as_array().unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [own.id(), other.id()]);
    assert!(rows[0]["enrolled_at"].is_u64() && rows[0]["app"].is_string(), "{listed}");
    let (status, refused) = list(&gone).await;
    assert_eq!((status, &refused["error"]), (403, &json!("locked")));
}
