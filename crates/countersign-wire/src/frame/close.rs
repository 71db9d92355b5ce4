//! The close codes of a channel, and the reaction of the device to each.

/// A WebSocket close code with its meaning in this protocol.
///
/// 1000 to 1015 are defined by RFC 6455 §7.4.1 and its registry; 4000 and above by this protocol.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Close {
    /// 1000: the device closed the channel.
    Normal,
    /// 1003: a binary frame was received.
    Binary,
    /// 1009: a frame exceeded the limit.
    TooLarge,
    /// 1011: the server failed.
    Internal,
    /// 1012: the server stops or restarts.
    Restart,
    /// 1013: the server has too many channels.
    Busy,
    /// 4000: a text that is not a frame was received.
    Malformed,
    /// 4001: no `hello` in time, or one that does not verify.
    Unauthorised,
    /// 4002: the same device opened another channel.
    Replaced,
    /// 4003: the tenant, the user or the device was locked, logged out or deleted.
    Locked,
    /// 4004: the device reads too slowly.
    Slow,
    /// 4005: the device did not answer pings.
    Idle,
    /// Any other code, or no code.
    Other,
}

/// The device's reaction to the end of its channel.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reconnect {
    /// Reconnect, with growing pauses.
    Yes,
    /// Reconnect when the user opens the application.
    WhenOpened,
    /// Do not reconnect: the server would refuse the device again, or close another channel of it.
    No,
}

const CODES: [(u16, Close); 12] = [
    (1000, Close::Normal),
    (1003, Close::Binary),
    (1009, Close::TooLarge),
    (1011, Close::Internal),
    (1012, Close::Restart),
    (1013, Close::Busy),
    (4000, Close::Malformed),
    (4001, Close::Unauthorised),
    (4002, Close::Replaced),
    (4003, Close::Locked),
    (4004, Close::Slow),
    (4005, Close::Idle),
];

impl Close {
    /// The close code; 1011 for [`Close::Other`], which is only read.
    #[must_use]
    pub fn code(self) -> u16 {
        CODES.iter().find(|(_, close)| *close == self).map_or(1011, |(code, _)| *code)
    }

    /// The meaning of a close code.
    #[must_use]
    pub fn from_code(code: u16) -> Self {
        CODES.iter().find(|(known, _)| *known == code).map_or(Self::Other, |(_, close)| *close)
    }

    /// The reason phrase of the close code, for logs.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Normal => "done",
            Self::Binary => "binary",
            Self::TooLarge => "too large",
            Self::Internal | Self::Other => "internal",
            Self::Restart => "restart",
            Self::Busy => "busy",
            Self::Malformed => "malformed",
            Self::Unauthorised => "unauthorised",
            Self::Replaced => "replaced",
            Self::Locked => "locked",
            Self::Slow => "slow",
            Self::Idle => "idle",
        }
    }

    /// The device's reaction.
    #[must_use]
    pub fn reconnect(self) -> Reconnect {
        match self {
            Self::Internal | Self::Restart | Self::Busy | Self::Slow | Self::Idle | Self::Other => {
                Reconnect::Yes
            }
            Self::Normal | Self::Locked | Self::Unauthorised => Reconnect::WhenOpened,
            Self::Binary | Self::TooLarge | Self::Malformed | Self::Replaced => Reconnect::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_code_stands_in_the_specification_with_its_reason() {
        let page = include_str!("../../../../docs/device-protocol.md");
        for (code, close) in CODES {
            assert_eq!((close.code(), Close::from_code(code)), (code, close));
            let row = format!("| {code} | `{}` |", close.reason());
            assert!(page.contains(&row), "no row {row}");
        }
    }

    #[test]
    fn a_device_reconnects_after_an_unknown_close_code() {
        assert_eq!(Close::from_code(1006).reconnect(), Reconnect::Yes);
    }
}
