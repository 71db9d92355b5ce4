//! `[enrolment]`: activation codes, and tries to use them.

use std::time::Duration;

use super::layers::Layers;

/// How devices become a user's.
#[derive(Clone, Debug)]
pub struct EnrolmentConfig {
    /// How long an activation code is good, unless its maker says otherwise.
    pub code_lifetime: Duration,
    /// Wrong codes for one user from one client address in a minute.
    pub tries_per_user_per_minute: u32,
    /// Wrong codes from one client address in a minute.
    pub tries_per_address_per_minute: u32,
    /// Wrong codes for one user in an hour, from wherever.
    pub tries_per_user_per_hour: u32,
}

impl EnrolmentConfig {
    pub(super) fn read(layers: &mut Layers) -> anyhow::Result<Self> {
        Ok(Self {
            code_lifetime: layers.take("enrolment.code_lifetime_seconds").seconds()?,
            tries_per_user_per_minute: layers
                .take("enrolment.tries_per_user_per_minute")
                .count()?,
            tries_per_address_per_minute: layers
                .take("enrolment.tries_per_address_per_minute")
                .count()?,
            tries_per_user_per_hour: layers.take("enrolment.tries_per_user_per_hour").count()?,
        })
    }
}
