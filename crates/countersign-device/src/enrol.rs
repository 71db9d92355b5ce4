//! Enrolment: from an activation code to a device.
//!
//! The code is never sent. A MAC under it covers every byte of the request and of the answer. So
//! the server enrols this device's keys, and the device knows that the server has the code.

use countersign_wire::body::{
    DeviceDescription, EnrolmentAnswer, EnrolmentRequest, IdentityRequest, IssuedIdentity, Push,
    Use,
};
use countersign_wire::code::{self, ActivationCode, Side};
use countersign_wire::id::DeviceName;
use countersign_wire::jwe::secrets;
use countersign_wire::jwk::PrivateJwk;
use countersign_wire::jws;
use countersign_wire::key_proof::{KeyStatement, Subject};
use countersign_wire::limits::{LABEL_BYTES_MAX, LABELS_MAX, NAME_BYTES_MAX};
use countersign_wire::phone::{Phone, PhoneIdentity, PhonePin};
use rcgen::KeyPair;
use reqwest::header::CONTENT_TYPE;
use zeroize::Zeroizing;

use crate::address::{self, Address};
use crate::backoff::Backoff;
use crate::device::Device;
use crate::error::Error;
use crate::file::PhoneFile;
use crate::http::{self, ANSWER_TIMEOUT};
use crate::key::{self, KeyKind};
use crate::pin::Pin;

/// The tries of the request before the device gives up. The server answers a repeated request
/// again, so a lost answer does not use up the code.
const TRIES_MAX: u32 = 5;

/// The values with which this program is enrolled as a device.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// The server's address: `https://host[:port]`.
    pub server: String,
    /// The only trusted certificates, PEM. If absent, the system's are trusted.
    pub server_ca: Option<String>,
    /// The tenant.
    pub tenant: String,
    /// The user.
    pub user: String,
    /// The activation code.
    pub code: ActivationCode,
    /// The labels that the device proposes. An administrator of the user may assign them to the
    /// identities.
    pub proposed_labels: Vec<String>,
    /// The device's description of itself.
    pub device: DeviceDescription,
    /// The first PIN.
    pub pin: Option<Pin>,
    /// The kind of the identities' keys. The device gets one identity for each usage.
    pub key: KeyKind,
    /// The push address, if it is known already.
    pub push: Option<Push>,
}

/// Enrols a device, writes it to `file`, and sets its PIN if `enrolment` has one.
///
/// # Errors
/// Refuses unusable values before anything is sent. After [`Error::PinNotSet`] the device is
/// enrolled and written, and [`Device::set_pin`] may be repeated.
pub async fn enrol(file: &PhoneFile, enrolment: &Enrolment) -> Result<Phone, Error> {
    let address = Address::parse(&enrolment.server)?;
    let tls = address::tls(enrolment.server_ca.as_deref())?;
    let client = http::client(&tls)?;
    let request = Request::new(enrolment)?;
    file.check_free()?;

    let (mut backoff, mut tries) = (Backoff::default(), 0);
    let phone = loop {
        tries += 1;
        match post(&client, &address, enrolment, &request).await {
            Err(error) if error.is_transient() && tries < TRIES_MAX => {
                tokio::time::sleep(backoff.next()).await;
            }
            outcome => break outcome?,
        }
    };
    file.create(&phone)?;
    let Some(pin) = &enrolment.pin else { return Ok(phone) };
    let mut device = Device::open(file)?;
    device.set_pin(pin).await.map_err(|error| Error::PinNotSet(Box::new(error)))?;
    Ok(device.into_phone())
}

async fn post(
    client: &reqwest::Client,
    address: &Address,
    enrolment: &Enrolment,
    request: &Request,
) -> Result<Phone, Error> {
    let sent = client
        .post(address.url("/device/v1/enrolments"))
        .timeout(ANSWER_TIMEOUT)
        .header(CONTENT_TYPE, "application/json")
        .header(code::HEADER, &request.mac)
        .header(jws::ENROLMENT_HEADER, &request.proof)
        .body(request.body.clone());
    let answer = http::send(address, sent).await?;
    if answer.status != 201 {
        return Err(http::refusal(address, &answer));
    }
    let mac = answer.headers.get(code::HEADER).and_then(|mac| mac.to_str().ok());
    request.accept(enrolment, address, &answer.body, mac.unwrap_or_default())
}

/// A request with its private keys. Every try sends the same bytes.
struct Request {
    body: Vec<u8>,
    mac: String,
    proof: String,
    device: DeviceKeys,
}

struct DeviceKeys {
    auth: PrivateJwk,
    /// The key to which the answer's secrets are sealed.
    seal: PrivateJwk,
    identities: Vec<(Use, KeyPair)>,
}

impl Request {
    fn new(enrolment: &Enrolment) -> Result<Self, Error> {
        check(enrolment)?;
        let auth = PrivateJwk::generate();
        let mut identities = Vec::new();
        let mut requests = Vec::new();
        for usage in [Use::Content, Use::Digest] {
            let key = key::generate(enrolment.key)?;
            let csr = key::request(&key, &enrolment.user)?;
            let statement = KeyStatement {
                tenant: &enrolment.tenant,
                subject: Subject::Enrolment(&enrolment.user),
                usage,
                auth_key: auth.public().point(),
                csr: &csr,
            };
            let proof = key::prove(&key, &statement)?;
            let proposed_labels = enrolment.proposed_labels.clone();
            requests.push(IdentityRequest { usage, csr, proof, proposed_labels });
            identities.push((usage, key));
        }
        let device = DeviceKeys { auth, seal: PrivateJwk::generate(), identities };
        let body = EnrolmentRequest {
            tenant: enrolment.tenant.clone(),
            user: enrolment.user.clone(),
            identities: requests,
            auth_key: device.auth.public().clone(),
            seal_key: device.seal.public().clone(),
            device: enrolment.device.clone(),
            push: enrolment.push.clone(),
        };
        let body = serde_json::to_vec(&body).expect("a request is plain JSON");
        let mac = enrolment.code.mac(Side::Request, &body);
        let proof = jws::sign_enrolment(&device.auth, &body);
        Ok(Self { body, mac, proof, device })
    }

    /// Checks the MAC of an answer, and then builds the device from it.
    fn accept(
        &self,
        enrolment: &Enrolment,
        address: &Address,
        body: &[u8],
        mac: &str,
    ) -> Result<Phone, Error> {
        if !enrolment.code.check(Side::Answer, body, mac) {
            return Err(Error::Unexpected(
                "the server that answered does not know the activation code",
            ));
        }
        let answer: EnrolmentAnswer = serde_json::from_slice(body)
            .map_err(|_| Error::Unexpected("the enrolment's answer is malformed"))?;
        let name = DeviceName::new(&enrolment.tenant, answer.device_id)
            .map_err(|_| Error::Name("the tenant"))?;
        let secrets = secrets::open(&self.device.seal, &name, &answer.secrets)
            .map_err(|_| Error::Unexpected("the enrolment's secrets do not open"))?;
        // Tokens name the public address, but connections go to the given one, which works for this
        // device.
        let given = address.origin().to_owned();
        let public = Some(answer.server.address).filter(|public| !public.is_empty());
        let server = public.unwrap_or_else(|| given.clone());
        Ok(Phone {
            reached_at: Some(given).filter(|given| *given != server),
            server,
            server_ca: enrolment.server_ca.clone(),
            tenant: enrolment.tenant.clone(),
            user: enrolment.user.clone(),
            device_id: answer.device_id,
            serial_number: answer.serial_number,
            auth_key: self.device.auth.clone(),
            payload_key: secrets.payload_key,
            code_key: secrets.code_key,
            identities: self.identities(answer.identities)?,
            // Stored before the request, because without the salt the PIN would be lost.
            pin: enrolment.pin.is_some().then(PhonePin::first),
            pin_next: None,
            known_devices: Vec::new(),
        })
    }

    /// The device's keys with the issued certificates.
    fn identities(&self, issued: Vec<IssuedIdentity>) -> Result<Vec<PhoneIdentity>, Error> {
        let asked = &self.device.identities;
        let fits = issued.len() == asked.len()
            && issued.iter().zip(asked).all(|(issued, (usage, key))| {
                issued.usage == *usage && key::certifies(&issued.certificate, key)
            });
        if !fits {
            return Err(Error::Unexpected("the certificates are not for the device's keys"));
        }
        let with_key = |(issued, (_, key)): (IssuedIdentity, &(Use, KeyPair))| PhoneIdentity {
            id: issued.id,
            usage: issued.usage,
            key: Zeroizing::new(key.serialize_pem()),
            certificate: issued.certificate,
            chain: issued.chain,
            imported: false,
            next: None,
        };
        Ok(issued.into_iter().zip(asked).map(with_key).collect())
    }
}

/// Refuses values that the server would refuse without naming them.
fn check(enrolment: &Enrolment) -> Result<(), Error> {
    let fits = |text: &str, bytes_max: usize| {
        (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control)
    };
    let said = &enrolment.device;
    let described = [&said.name, &said.platform, &said.os_version, &said.app, &said.app_version];
    let any_device = countersign_wire::id::DeviceId::new(1).expect("1 is positive");
    if DeviceName::new(&enrolment.tenant, any_device).is_err() {
        return Err(Error::Name("the tenant"));
    }
    if !fits(&enrolment.user, NAME_BYTES_MAX) {
        return Err(Error::Name("the user"));
    }
    if !described.iter().all(|text| text.is_empty() || fits(text, NAME_BYTES_MAX)) {
        return Err(Error::Name("the device's description"));
    }
    let labels = &enrolment.proposed_labels;
    if labels.len() > LABELS_MAX || !labels.iter().all(|label| fits(label, LABEL_BYTES_MAX)) {
        return Err(Error::Name("a label"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
