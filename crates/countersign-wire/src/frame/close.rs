//! Why a channel was closed, and what the device should do about it.

/// A WebSocket close code, with the meaning that this protocol gives it.
///
/// 1000 to 1015 are RFC 6455's (section 7.4.1) and its registry's; 4000 and above are ours.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Close {
    /// 1000: the device is done.
    Normal,
    /// 1003: a binary frame came.
    Binary,
    /// 1009: a frame was over the limit.
    TooLarge,
    /// 1011: the server failed.
    Internal,
    /// 1012: the server goes away or restarts.
    Restart,
    /// 1013: too many channels.
    Busy,
    /// 4000: a text came that is no frame.
    Malformed,
    /// 4001: no `hello` in time, or one that does not hold.
    Unauthorised,
    /// 4002: the same device opened another channel.
    Replaced,
    /// 4003: the user or the device was locked, logged out or deleted.
    Locked,
    /// 4004: the device did not read what was sent.
    Slow,
    /// 4005: pings went unanswered.
    Idle,
    /// Any other code, and no code at all.
    Other,
}

/// What a device does after its channel was closed.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Reconnect {
    /// Comes back, waiting longer each time.
    Yes,
    /// Waits until the person opens the application.
    WhenOpened,
    /// Does not come back by itself: it would be refused again, or push another channel out.
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
    /// The number on the wire; 1011 for [`Close::Other`], which is only ever read.
    #[must_use]
    pub fn code(self) -> u16 {
        CODES.iter().find(|(_, close)| *close == self).map_or(1011, |(code, _)| *code)
    }

    /// What a number means.
    #[must_use]
    pub fn from_code(code: u16) -> Self {
        CODES.iter().find(|(known, _)| *known == code).map_or(Self::Other, |(_, close)| *close)
    }

    /// The reason that goes with the number: a word for logs.
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

    /// What the device does now.
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
    fn a_code_that_is_not_ours_is_a_reason_to_come_back() {
        assert_eq!(Close::from_code(1006).reconnect(), Reconnect::Yes);
    }
}
