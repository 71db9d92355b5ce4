//! Result codes: every number of this dialect, in one table. Clients should compare the names.
//!
//! | number | name | whose |
//! |---|---|---|
//! | 0 | `RET_SUCCESS` | published |
//! | 1 | `RET_FAILURE` | ours |
//! | 0 | `STAT_SUCCESS` | published |
//! | -1 | `STAT_ERROR` | published |
//! | -2 | `STAT_INVPARAM` | published |
//! | -13 | `STAT_NOT_FOUND` | published |
//! | -14 | `STAT_EXISTS` | published |
//! | -15 | `STAT_NOSUPPORT` | the name is published, the number is ours |
//! | 1000 | `STAT_INVCREDENTIALS` | published |
//! | 1004 | `STAT_EXP_CHALLENGE` | published |
//! | 1005 | `STAT_PERMISSION` | published |
//! | 1007 | `STAT_LOCKED` | published |
//!
//! Also published, and never used here: -3 `STAT_MEMORY`, -10 `STAT_COMMS`, -11 `STAT_LICENCE`, -12
//! `STAT_OS_FAILURE`, 1006 `STAT_LOCALAUTH`.

use countersign_core::refusal::DeviceRefusal;
use countersign_core::transaction::End;
use serde::Serialize;

/// The result of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Status {
    /// The call succeeded.
    Success,
    /// Another error.
    Error,
    /// A parameter is missing or invalid; no attempt is counted.
    InvParam,
    /// The thing does not exist, or not for this caller.
    NotFound,
    /// The thing exists already.
    Exists,
    /// Not supported for this device.
    NoSupport,
    /// The signature is wrong.
    InvCredentials,
    /// The deadline is over.
    ExpChallenge,
    /// The user, or the policy, declined.
    Permission,
    /// The user or the device is locked.
    Locked,
}

/// `resultCodes` of every JSON answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultCodes {
    return_code_enum: &'static str,
    status_code_enum: &'static str,
    return_code: i32,
    status_code: i32,
}

impl Status {
    /// All statuses, by their numbers' size.
    pub const ALL: [Self; 10] = [
        Self::Success,
        Self::Error,
        Self::InvParam,
        Self::NotFound,
        Self::Exists,
        Self::NoSupport,
        Self::InvCredentials,
        Self::ExpChallenge,
        Self::Permission,
        Self::Locked,
    ];

    /// The status of a refused call of a phone.
    pub fn of_device(refusal: &DeviceRefusal) -> Self {
        match refusal {
            DeviceRefusal::Unknown
            | DeviceRefusal::UnknownUser
            | DeviceRefusal::UnknownDevice
            | DeviceRefusal::Ended(_)
            | DeviceRefusal::Late => Self::NotFound,
            DeviceRefusal::UserLocked
            | DeviceRefusal::DeviceLocked
            | DeviceRefusal::CodeWrong { tries_left: 0 }
            | DeviceRefusal::PinWrong { tries_left: 0 } => Self::Locked,
            DeviceRefusal::NotTaken | DeviceRefusal::OtherDevice | DeviceRefusal::ManyTakes => {
                Self::NoSupport
            }
            DeviceRefusal::OtherForm => Self::InvParam,
            DeviceRefusal::CodeWrong { .. }
            | DeviceRefusal::PinWrong { .. }
            | DeviceRefusal::BadProof(_)
            | DeviceRefusal::UnfitIdentity => Self::InvCredentials,
            DeviceRefusal::PinRequired | DeviceRefusal::PinUnset | DeviceRefusal::PinOutOfTurn => {
                Self::Permission
            }
            DeviceRefusal::ManyIdentities | DeviceRefusal::KeyUsed | DeviceRefusal::KeyUnproved => {
                Self::Error
            }
        }
    }

    /// The status of an end, for the caller that waited for it.
    pub fn of_end(end: &End) -> Self {
        match end {
            End::Finished { .. } => Self::Success,
            End::Declined { .. } => Self::Permission,
            End::Expired(_) => Self::ExpChallenge,
            End::Locked { .. } => Self::Locked,
            End::Failed { .. } | End::Cancelled => Self::Error,
        }
    }

    /// The status for a caller that must not learn which users are locked.
    pub fn generic(self) -> Self {
        match self {
            Self::Locked => Self::InvCredentials,
            other => other,
        }
    }

    /// The status's name.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The status's number.
    pub fn number(self) -> i32 {
        self.row().1
    }

    /// The status in words. It reveals no more than the status.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Success => "the call succeeded",
            Self::Error => "the call failed",
            Self::InvParam => "a parameter is missing or invalid",
            Self::NotFound => "there is nothing like this, or not for this caller",
            Self::Exists => "it exists already",
            Self::NoSupport => "it is not supported for this device",
            Self::InvCredentials => "the signature is wrong",
            Self::ExpChallenge => "the user has not answered in time",
            Self::Permission => "the user declined, or may not do this",
            Self::Locked => "the user or the device is locked",
        }
    }

    /// The name of the return code.
    pub fn return_name(self) -> &'static str {
        if self == Self::Success { "RET_SUCCESS" } else { "RET_FAILURE" }
    }

    /// The number of the return code.
    pub fn return_number(self) -> i32 {
        i32::from(self != Self::Success)
    }

    /// `resultCodes`.
    pub fn codes(self) -> ResultCodes {
        ResultCodes {
            return_code_enum: self.return_name(),
            status_code_enum: self.name(),
            return_code: self.return_number(),
            status_code: self.number(),
        }
    }

    fn row(self) -> (&'static str, i32) {
        match self {
            Self::Success => ("STAT_SUCCESS", 0),
            Self::Error => ("STAT_ERROR", -1),
            Self::InvParam => ("STAT_INVPARAM", -2),
            Self::NotFound => ("STAT_NOT_FOUND", -13),
            Self::Exists => ("STAT_EXISTS", -14),
            Self::NoSupport => ("STAT_NOSUPPORT", -15),
            Self::InvCredentials => ("STAT_INVCREDENTIALS", 1000),
            Self::ExpChallenge => ("STAT_EXP_CHALLENGE", 1004),
            Self::Permission => ("STAT_PERMISSION", 1005),
            Self::Locked => ("STAT_LOCKED", 1007),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_a_row_of_the_table_above() {
        let page = include_str!("codes.rs");
        for status in [
            Status::Success,
            Status::Error,
            Status::InvParam,
            Status::NotFound,
            Status::Exists,
            Status::NoSupport,
            Status::InvCredentials,
            Status::ExpChallenge,
            Status::Permission,
            Status::Locked,
        ] {
            let row = format!("//! | {} | `{}` | ", status.number(), status.name());
            assert!(page.contains(&row), "no row {row}");
        }
    }

    #[test]
    fn the_generic_policy_hides_who_is_locked_and_nothing_else() {
        assert_eq!(Status::Locked.generic(), Status::InvCredentials);
        for status in [Status::NotFound, Status::InvParam, Status::Permission, Status::Success] {
            assert_eq!(status.generic(), status);
        }
    }
}
