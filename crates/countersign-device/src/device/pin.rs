//! The device's PIN: set, changed, and forgotten if the server has none any more.

use countersign_wire::body::{Code, PIN_PROOF_ID, PinBody, PinChange};
use countersign_wire::jwe::{self, Purpose};
use countersign_wire::phone::PhonePin;

use super::{Device, TRIES};
use crate::backoff::Backoff;
use crate::error::Error;
use crate::pin::Pin;

impl Device {
    /// Sets the first PIN, also after an operator of the server has reset the one before. The call
    /// may be repeated.
    ///
    /// # Errors
    /// The server's refusal, or no answer.
    pub async fn set_pin(&mut self, pin: &Pin) -> Result<(), Error> {
        let had_pin = self.phone.pin.is_some();
        match self.try_set_pin(pin).await {
            Err(Error::NoPin) if had_pin => self.try_set_pin(pin).await,
            outcome => outcome,
        }
    }

    async fn try_set_pin(&mut self, pin: &Pin) -> Result<(), Error> {
        let made = self.phone.pin.unwrap_or_else(PhonePin::first);
        if self.phone.pin.is_none() {
            // Stored before the request, because without the salt the PIN would be lost.
            self.phone.pin = Some(made);
            self.file.replace(&self.phone)?;
        }
        let change = PinChange { version: made.version, digest: pin.digest(made), proof: None };
        let outcome = self.put_pin(&change).await;
        self.check_pin(outcome)
    }

    /// Changes the PIN. After a transient error, repeat it with the same new PIN: only the server
    /// knows which PIN is valid.
    ///
    /// # Errors
    /// The server's refusal, after which the old PIN is valid, or no answer. [`Error::NoPin`] if
    /// the server has no PIN any more: set one.
    pub async fn change_pin(&mut self, old: &Pin, new: &Pin) -> Result<(), Error> {
        let before = self.phone.pin.ok_or(Error::NoPin)?;
        let next = self.phone.pin_next.unwrap_or_else(|| before.next());
        self.phone.pin_next = Some(next);
        self.file.replace(&self.phone)?;
        let change = PinChange {
            version: next.version,
            digest: new.digest(next),
            proof: Some(old.prove(before, &self.phone.code_key, PIN_PROOF_ID)),
        };
        let outcome = self.put_pin(&change).await;
        match &outcome {
            Ok(()) => self.phone.pin = Some(next),
            Err(error) if error.code().is_some() && !error.is_transient() => {}
            Err(_) => return outcome,
        }
        self.phone.pin_next = None;
        self.file.replace(&self.phone)?;
        self.check_pin(outcome)
    }

    /// Forgets the PIN if the server says that it has none: an operator has reset it.
    pub(super) fn check_pin<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        match outcome {
            Err(error) if error.code() == Some(Code::PinNotSet) => {
                (self.phone.pin, self.phone.pin_next) = (None, None);
                self.file.replace(&self.phone)?;
                Err(Error::NoPin)
            }
            outcome => outcome,
        }
    }

    async fn put_pin(&self, change: &PinChange) -> Result<(), Error> {
        let plain = zeroize::Zeroizing::new(serde_json::to_vec(change).expect("plain JSON"));
        let name = &self.http.caller.device;
        let pin = jwe::seal(&self.phone.payload_key, name, Purpose::Pin, &plain);
        let body = PinBody { pin };
        // A wrong proof counts every time that it arrives; a call without one may be repeated.
        let tries = if change.proof.is_some() { 1 } else { TRIES };
        let mut backoff = Backoff::default();
        for last in (0..tries).map(|at| at + 1 == tries) {
            match self.http.put_pin(&body).await {
                Err(error) if error.is_transient() && !last => {
                    tokio::time::sleep(backoff.next()).await;
                }
                Ok(answer) if answer.version != change.version => {
                    return Err(Error::Unexpected("another version of the PIN is valid"));
                }
                outcome => return outcome.map(|_| ()),
            }
        }
        unreachable!("the last try returns")
    }
}
