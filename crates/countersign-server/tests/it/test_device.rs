//! A user with a phone: the SDK, used like an application on the phone.

use std::path::PathBuf;

use countersign_device::document::FetchPolicy;
use countersign_device::{
    ActivationCode, Device, DeviceDescription, Enrolment, Error, KeyKind, Listen, Offer, Phone,
    PhoneFile, Pin, RenderedContent, enrol,
};

use crate::test_server::TestServer;

/// An enrolled phone, and its file.
pub(crate) struct TestDevice {
    pub(crate) file: PathBuf,
    pub(crate) device: Device,
}

impl TestDevice {
    /// Enrols a phone of an existing user.
    pub(crate) async fn enrolled(server: &TestServer, user: &str, pin: Option<&str>) -> Self {
        Self::with_key(server, user, pin, KeyKind::default()).await
    }

    /// Enrols a phone that signs with another kind of key.
    pub(crate) async fn with_key(
        server: &TestServer,
        user: &str,
        pin: Option<&str>,
        key: KeyKind,
    ) -> Self {
        let code = server.code(user);
        let file = server.path().join(format!("phone-{user}-{code}.json"));
        let enrolment = enrolment(server, user, &code, pin, key);
        enrol(&PhoneFile::at(&file), &enrolment).await.unwrap();
        Self::opened(file)
    }

    /// Enrols a phone that runs this application.
    pub(crate) async fn running(server: &TestServer, user: &str, app: &str) -> Self {
        let code = server.code(user);
        let file = server.path().join(format!("phone-{user}-{code}.json"));
        let mut enrolment = enrolment(server, user, &code, None, KeyKind::default());
        enrolment.device.app = app.into();
        enrol(&PhoneFile::at(&file), &enrolment).await.unwrap();
        Self::opened(file)
    }

    /// A phone whose file exists already.
    pub(crate) fn opened(file: PathBuf) -> Self {
        let mut device = Device::open(&PhoneFile::at(&file)).unwrap();
        // The documents that tests fetch are on this machine.
        let here = ["localhost", "127.0.0.1"].map(|host| host.parse().unwrap());
        device.restrict_fetches(FetchPolicy::allowing(here.to_vec()));
        Self { file, device }
    }

    /// Polls instead of opening a channel.
    pub(crate) fn polling(mut self) -> Self {
        self.device.listen(Listen::Poll);
        self
    }

    pub(crate) fn phone(&self) -> &Phone {
        self.device.phone()
    }

    /// Waits for an offer, and takes it.
    pub(crate) async fn opens(
        &mut self,
        pin: Option<&str>,
    ) -> Result<(Offer, RenderedContent), Error> {
        let offer = self.device.next_offer().await?;
        let pin = pin.map(|pin| Pin::parse(pin).unwrap());
        let shown = self.device.take(&offer, pin.as_ref()).await?;
        Ok((offer, shown))
    }

    /// Waits for an offer, and signs it.
    pub(crate) async fn signs(&mut self) -> RenderedContent {
        let (_, shown) = self.opens(None).await.unwrap();
        self.device.approve(&shown, None).await.unwrap();
        shown
    }
}

/// The parameters with which a phone is enrolled.
pub(crate) fn enrolment(
    server: &TestServer,
    user: &str,
    code: &str,
    pin: Option<&str>,
    key: KeyKind,
) -> Enrolment {
    Enrolment {
        server: server.address.clone(),
        server_ca: Some(std::fs::read_to_string(server.data().join("tls/ca.pem")).unwrap()),
        tenant: "acme".into(),
        user: user.into(),
        code: ActivationCode::parse(code).unwrap(),
        proposed_labels: vec!["proposed".into()],
        device: DeviceDescription { name: "a phone".into(), ..DeviceDescription::default() },
        pin: pin.map(|pin| Pin::parse(pin).unwrap()),
        key,
        push: None,
    }
}
