//! The ids of the protocol: transactions, devices, and devices outside their tenant.

use core::fmt;
use core::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::NAME_BYTES_MAX;

/// A transaction's id: 128 bits, never reused, written as 32 lower-case hex digits.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TransactionId(pub [u8; 16]);

/// A device's number: positive, below 2^63; written as a decimal string without leading zeros.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DeviceId(u64);

/// A device's name outside its tenant: `<tenant>/<device id>`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct DeviceName {
    tenant: String,
    device: DeviceId,
}

/// The text is not an id of this kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct BadId(&'static str);

impl DeviceId {
    /// Takes a number in range.
    ///
    /// # Errors
    /// Refuses 0 and numbers that need more than 63 bits.
    pub fn new(number: u64) -> Result<Self, BadId> {
        if number == 0 || i64::try_from(number).is_err() {
            return Err(BadId("device id"));
        }
        Ok(Self(number))
    }

    /// The number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl DeviceName {
    /// Names `device` of `tenant`.
    ///
    /// # Errors
    /// Refuses a tenant that is empty, too long, or contains a `/` or a character that is not
    /// visible ASCII.
    pub fn new(tenant: &str, device: DeviceId) -> Result<Self, BadId> {
        let fits = (1..=NAME_BYTES_MAX).contains(&tenant.len());
        if !fits || !tenant.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/') {
            return Err(BadId("tenant"));
        }
        Ok(Self { tenant: tenant.to_owned(), device })
    }

    /// The tenant.
    #[must_use]
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The device, within its tenant.
    #[must_use]
    pub fn device(&self) -> DeviceId {
        self.device
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransactionId({self})")
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.device)
    }
}

impl FromStr for TransactionId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let mut id = [0; 16];
        // `hex` accepts upper case too, but one id has one spelling.
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(BadId("transaction id"));
        }
        hex::decode_to_slice(text, &mut id).map_err(|_| BadId("transaction id"))?;
        Ok(Self(id))
    }
}

impl FromStr for DeviceId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        // `parse` accepts a plus sign and leading zeros too, but one id has one spelling.
        if !text.starts_with(|first: char| first.is_ascii_digit() && first != '0') {
            return Err(BadId("device id"));
        }
        text.parse().map_err(|_| BadId("device id")).and_then(Self::new)
    }
}

impl FromStr for DeviceName {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let (tenant, device) = text.split_once('/').ok_or(BadId("device name"))?;
        Self::new(tenant, device.parse()?)
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )*};
}
as_text!(TransactionId, DeviceId, DeviceName);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_has_one_spelling() {
        for bad in ["", "00", "0123456789ABCDEF0123456789abcdef", "0123456789abcdef0123456789abcde"]
        {
            assert!(bad.parse::<TransactionId>().is_err(), "{bad}");
        }
        for bad in ["", "0", "01", "+1", "-1", "9223372036854775808", "1 "] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad}");
        }
        for bad in ["1", "/1", "bank/", "bank/0", "bank/a/1", "ba nk/1", "bänk/1"] {
            assert!(bad.parse::<DeviceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_round_trips() {
        let id = "0123456789abcdef0123456789abcdef";
        assert_eq!(id.parse::<TransactionId>().unwrap().to_string(), id);
        let name = "bank/9223372036854775807".parse::<DeviceName>().unwrap();
        assert_eq!(name.to_string(), "bank/9223372036854775807");
        assert_eq!((name.tenant(), name.device().number()), ("bank", (1 << 63) - 1));
    }
}
