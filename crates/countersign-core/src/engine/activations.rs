//! The use cases that create and delete activation codes.

use super::{Engine, lost_every_race};
use crate::enrolment::Activation;
use crate::event::{Actor, EventKind, Subject};
use crate::id::TenantName;
use crate::limits::COMMIT_TRIES_MAX;
use crate::port::{
    Change, Clock, Committed, Entropy, Ledger, Notifier, Part, Query, QuerySubject, Snapshot,
};
use crate::refusal::{UserError, UserRefusal};

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Creates an activation code. The commit is stale if another code was created for the user
    /// meanwhile, so that the maximum of open codes holds even if many are created at once.
    ///
    /// # Errors
    /// Refuses an unknown user, a code that [`Activation::check_limits`] refuses, and a tenant with
    /// the maximum of devices.
    pub async fn create_activation(
        &self,
        actor: &Actor,
        activation: Activation,
    ) -> Result<(), UserError> {
        let (tenant, name) = (&activation.tenant, &activation.user);
        for _ in 0..COMMIT_TRIES_MAX {
            let now = self.now();
            let parts = &[Part::Activations(now)];
            let query = Query { subject: QuerySubject::User(name), parts };
            let Snapshot { user, activations, .. } = self.store.snapshot(tenant, query).await?;
            let user = user.ok_or(UserRefusal::UnknownUser)?.value;
            activation.check_limits(&activations, now)?;
            let event = self.event(
                tenant,
                EventKind::ActivationCreated,
                actor,
                Subject::Activation(activation.id),
                vec![("user", name.to_string())],
            );
            let (created, expected) = (Box::new(activation.clone()), user.activations_made);
            let devices_max = self.policy.rows_max.devices;
            let change = Change::CreateActivation { activation: created, expected, devices_max };
            match self.commit(change, vec![event]).await? {
                Committed::Written => return Ok(()),
                Committed::TenantFull => return Err(UserRefusal::ManyDevices.into()),
                _ => {}
            }
        }
        Err(lost_every_race())
    }

    /// Deletes an activation code, used or not.
    ///
    /// # Errors
    /// Refuses an unknown code.
    pub async fn delete_activation(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        id: u128,
    ) -> Result<(), UserError> {
        let subject = Subject::Activation(id);
        let event = self.event(tenant, EventKind::ActivationDeleted, actor, subject, Vec::new());
        let change = Change::DeleteActivation { tenant: tenant.clone(), id };
        match self.commit(change, vec![event]).await? {
            Committed::Written => Ok(()),
            _ => Err(UserRefusal::UnknownCode.into()),
        }
    }
}
