//! `[enrolment]`: activation codes, and limits on attempts to use them.

use std::time::Duration;

use countersign_core::port::RowsMax;

use super::layers::Layers;

/// The `[enrolment]` section.
#[derive(Clone, Debug)]
pub struct EnrolmentConfig {
    /// The lifetime of an activation code, unless its creator sets another.
    pub code_lifetime: Duration,
    /// Wrong codes accepted for one user from one client address in a minute.
    pub tries_per_user_per_minute: u32,
    /// Wrong codes accepted from one client address in a minute.
    pub tries_per_address_per_minute: u32,
    /// Wrong codes accepted for one user in an hour, from all addresses together.
    pub tries_per_user_per_hour: u32,
    /// The maximum of users and devices of a tenant.
    pub rows_max: RowsMax,
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
            rows_max: RowsMax {
                users: layers.take("enrolment.users_per_tenant_max").count()?.into(),
                devices: layers.take("enrolment.devices_per_tenant_max").count()?.into(),
            },
        })
    }
}
