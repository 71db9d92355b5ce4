//! The notices of a device: offers, and the devices of its user that were added.

use countersign_wire::body::Offer;

use super::Device;
use crate::error::Error;
use crate::listen::Notice;

/// The handling of notices that another device of the user was enrolled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum AddedDevices {
    /// They are ignored.
    Ignored,
    /// Each device is reported once.
    Reported,
}

impl Device {
    /// Chooses whether [`Self::next`] reports devices of the user that were enrolled after this
    /// one, each once. A program that shows notices to its user should report them: somebody else
    /// may have enrolled the device.
    pub fn report_devices(&mut self, reports: bool) {
        self.added_devices = if reports { AddedDevices::Reported } else { AddedDevices::Ignored };
    }

    /// The next notice. It connects if necessary, with pauses between tries. The call may be
    /// cancelled at any point and repeated. Pings are answered only during the call, so keep
    /// calling it while the user reads.
    ///
    /// # Errors
    /// Errors that a retry would not solve: [`Error::Closed`], [`Error::Untrusted`], a refusal.
    pub async fn next(&mut self) -> Result<Notice, Error> {
        loop {
            let notice = self.line.next(&self.http).await?;
            if let Notice::DeviceAdded(added) = &notice {
                let known = &mut self.phone.known_devices;
                if self.added_devices == AddedDevices::Ignored || known.contains(&added.id) {
                    continue;
                }
                known.push(added.id);
                self.file.replace(&self.phone)?;
            }
            return Ok(notice);
        }
    }

    /// The next offer. Ignores all other notices.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_offer(&mut self) -> Result<Offer, Error> {
        loop {
            if let Notice::Offer(offer) = self.next().await? {
                return Ok(offer);
            }
        }
    }
}
