//! Ids and names. Each is parsed once, at the edge, and is valid from then on.

use core::fmt;
use core::str::FromStr;
use std::borrow::Cow;
use std::sync::Arc;

use crate::limits::NAME_BYTES_MAX;
pub use crate::name::BadName;
use crate::name::normal_form;

/// A transaction's id: 128 bits, never reused, written as 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TransactionId(pub u128);

impl TransactionId {
    /// The sixteen bytes that signatures contain, big-endian.
    #[must_use]
    pub fn bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

/// An identity's id: 128 bits, written as 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct IdentityId(pub u128);

/// A delivery's id: 128 bits, written as 32 lower-case hex digits. A receiver detects a repeated
/// delivery by it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DeliveryId(pub u128);

/// An API key's id: 128 bits, written as 32 lower-case hex digits. It is not the key.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ApiKeyId(pub u128);

macro_rules! hex_id {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if text.len() != 32 || !text.bytes().all(hex) {
                    return Err(BadName("an id is 32 lower-case hex digits"));
                }
                u128::from_str_radix(text, 16).map(Self).map_err(|_| BadName("not an id"))
            }
        }
    )*};
}
hex_id!(TransactionId, IdentityId, DeliveryId, ApiKeyId);

/// A user's id: random, never reused, written as a UUID (RFC 9562). It stays the same for as long
/// as the user exists; the next user of the same name has another one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct UserId(pub u128);

impl UserId {
    /// The user id from a random number: a UUID of version 4.
    #[must_use]
    pub fn drawn(random: u128) -> Self {
        const VERSION: u128 = 0xf << 76;
        const VARIANT: u128 = 0b11 << 62;
        Self(random & !VERSION & !VARIANT | 4 << 76 | 0b10 << 62)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-", &hex[..8], &hex[8..12], &hex[12..16])?;
        write!(f, "{}-{}", &hex[16..20], &hex[20..])
    }
}

/// A device's id: a positive 63-bit integer, written as a decimal string.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DeviceId(u64);

impl DeviceId {
    /// The device id from a random number; never zero, and never negative in SQL.
    #[must_use]
    pub fn drawn(random: u128) -> Self {
        Self((random as u64 >> 1).max(1))
    }

    /// The number, between 1 and 2^63 - 1.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<u64> for DeviceId {
    type Error = BadName;

    fn try_from(number: u64) -> Result<Self, BadName> {
        if number == 0 || number > i64::MAX as u64 {
            return Err(BadName("a device id is a positive 63-bit number"));
        }
        Ok(Self(number))
    }
}

impl FromStr for DeviceId {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let digits =
            !text.is_empty() && text.len() <= 19 && text.bytes().all(|b| b.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        Self::try_from(number.unwrap_or(0))
    }
}

/// The request key of an open transaction: ten decimal digits. It finds a transaction, but does not
/// authorise.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestKey(u64);

impl RequestKey {
    const COUNT: u64 = 10_000_000_000;

    /// The request key from a random number.
    #[must_use]
    pub fn drawn(random: u128) -> Self {
        Self((random % u128::from(Self::COUNT)) as u64)
    }

    /// The number, below 10^10.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}", self.0)
    }
}

impl TryFrom<u64> for RequestKey {
    type Error = BadName;

    fn try_from(number: u64) -> Result<Self, BadName> {
        if number >= Self::COUNT {
            return Err(BadName("a request key is ten decimal digits"));
        }
        Ok(Self(number))
    }
}

impl FromStr for RequestKey {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.len() != 10 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadName("a request key is ten decimal digits"));
        }
        text.parse().map(Self).map_err(|_| BadName("not a request key"))
    }
}

/// The common part of the serial numbers of a user's devices: three letters and seven digits.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SerialBase(pub u32);

impl SerialBase {
    /// `CSN`, as a number of base 26.
    const FIRST: u32 = (2 * 26 + 18) * 26 + 13;
    const LETTERS: u32 = 26 * 26 * 26;
    /// The count of numbers for each combination of three letters.
    const DIGITS: u32 = 10_000_000;
}

impl fmt::Display for SerialBase {
    /// Begins at `CSN0000000`. When the seven digits overflow, the letters are increased.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = (Self::FIRST + self.0 / Self::DIGITS) % Self::LETTERS;
        for place in [26 * 26, 26, 1] {
            write!(f, "{}", char::from(b'A' + (letters / place % 26) as u8))?;
        }
        write!(f, "{:07}", self.0 % Self::DIGITS)
    }
}

impl FromStr for SerialBase {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const WRONG: BadName = BadName("a serial number is three letters and seven digits");
        let (letters, digits) = text.split_at_checked(3).ok_or(WRONG)?;
        let upper = letters.bytes().all(|b| b.is_ascii_uppercase());
        if !upper || digits.len() != 7 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(WRONG);
        }
        let letters = letters.bytes().fold(0, |sum, b| sum * 26 + u32::from(b - b'A'));
        let rounds = (letters + Self::LETTERS - Self::FIRST) % Self::LETTERS;
        let digits: u32 = digits.parse().map_err(|_| WRONG)?;
        let base = rounds.checked_mul(Self::DIGITS).and_then(|base| base.checked_add(digits));
        base.map(Self).ok_or(WRONG)
    }
}

/// A device's serial number: its user's base and its own sequence number, `CSN0000120-1`.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SerialNumber {
    /// The common part of all devices of the user.
    pub base: SerialBase,
    /// The device's number among its user's devices, from 1; never reused.
    pub sequence: u32,
}

impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.base, self.sequence)
    }
}

impl FromStr for SerialNumber {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        const WRONG: BadName =
            BadName("a serial number is three letters, seven digits, a dash and a number");
        let (base, sequence) = text.split_once('-').ok_or(WRONG)?;
        let plain = (1..=9).contains(&sequence.len())
            && sequence.bytes().all(|b| b.is_ascii_digit())
            && !sequence.starts_with('0');
        let sequence = plain.then(|| sequence.parse().ok()).flatten().ok_or(WRONG)?;
        Ok(Self { base: base.parse()?, sequence })
    }
}

/// A tenant's name: one DNS label in lower case, because it may be the first label of a host name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TenantName(Arc<str>);

/// A further name of a tenant, such as `mydomain.com`: DNS labels in lower case.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DomainName(Arc<str>);

/// A user's name within a tenant, in its [normal form](crate::name::normal_form).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UserName(Arc<str>);

/// A client's id within a tenant: 1 to 255 visible ASCII characters.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(Arc<str>);

fn label(text: &str) -> Result<Cow<'_, str>, BadName> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let edge = |b: Option<&u8>| b.is_some_and(|b| *b != b'-');
    let bytes = text.as_bytes();
    let good = bytes.len() <= 63 && bytes.iter().copied().all(inner);
    let good = good && edge(bytes.first()) && edge(bytes.last());
    good.then_some(text.into()).ok_or(BadName(
        "a tenant's name is 1 to 63 lower-case letters, digits and dashes, no dash at its ends",
    ))
}

fn domain(text: &str) -> Result<Cow<'_, str>, BadName> {
    let good = text.len() <= 253 && text.split('.').all(|part| label(part).is_ok());
    good.then_some(text.into()).ok_or(BadName(
        "a domain is names of 1 to 63 lower-case letters, digits and dashes with dots between \
         them, 253 bytes at most",
    ))
}

fn visible(text: &str) -> Result<Cow<'_, str>, BadName> {
    let good = !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
    good.then_some(text.into())
        .ok_or(BadName("a client id is 1 to 255 visible ASCII characters, no colon"))
}

macro_rules! text_name {
    ($($name:ident: $check:ident),*) => {$(
        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                Ok(Self($check(text)?.into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
text_name!(TenantName: label, DomainName: domain, UserName: normal_form, ClientId: visible);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_parse_exactly_the_text_that_they_write() {
        let id = TransactionId(7);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "7",
            &"A".repeat(32),
            &"g".repeat(32),
            &"0".repeat(33),
            "+000000000000000000000000000000a",
        ] {
            assert!(bad.parse::<TransactionId>().is_err(), "{bad}");
        }
        for bad in ["", "0", "-1", "+1", " 1", "9223372036854775808", "99999999999999999999"] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad}");
        }
        assert_eq!("9223372036854775807".parse(), DeviceId::try_from(i64::MAX as u64));
        for good in ["mydomain.com", "master", "a.b-c.d1"] {
            assert!(good.parse::<DomainName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "a..b", "a.", ".a", "MyDomain.com", "a b.c", "-a.b", "a_b.c"] {
            assert!(bad.parse::<DomainName>().is_err(), "{bad}");
        }
        assert_eq!("0000000042".parse(), RequestKey::try_from(42));
        for bad in ["", "42", "00000000042", "00000000x2"] {
            assert!(bad.parse::<RequestKey>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_serial_number_is_three_letters_seven_digits_and_a_sequence() {
        let serial = |base, sequence| SerialNumber { base: SerialBase(base), sequence }.to_string();
        assert_eq!(serial(120, 1), "CSN0000120-1");
        assert_eq!(serial(10_000_007, 12), "CSO0000007-12");
        for (base, sequence) in [(0, 1), (120, 1), (10_000_007, 12), (u32::MAX, 999_999_999)] {
            let written = SerialNumber { base: SerialBase(base), sequence };
            assert_eq!(written.to_string().parse(), Ok(written));
        }
        for bad in [
            "",
            "CSN0000120",
            "CSN0000120-",
            "CSN0000120-0",
            "CSN0000120-01",
            "csn0000120-1",
            "CSN000120-1",
            "CSN00001200-1",
            "CSN0000120-1 ",
            "ÄSN000012-1",
            "CSM0000000-1",
        ] {
            assert!(bad.parse::<SerialNumber>().is_err(), "{bad}");
        }
    }

    /// The versions and variants of RFC 9562, sections 4.1 and 5.4.
    #[test]
    fn a_users_id_is_written_as_a_random_uuid() {
        let written = |random| UserId::drawn(random).to_string();
        assert_eq!(written(0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(written(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(
            written(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            "00112233-4455-4677-8899-aabbccddeeff"
        );
    }

    #[test]
    fn a_tenant_is_a_dns_label() {
        for good in ["a", "acme", "bank-1", "1", &"a".repeat(63)] {
            assert!(good.parse::<TenantName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<TenantName>().is_err(), "{bad}");
        }
    }
}
