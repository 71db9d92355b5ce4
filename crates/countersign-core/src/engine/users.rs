//! Use cases on users: create, lock, unlock, log out, delete.
//!
//! The channels of devices that may no longer take part are closed, by the events of the commits.

use super::{Engine, lost_every_race};
use crate::event::{Actor, EventKind, Subject};
use crate::id::{TenantName, UserId, UserName};
use crate::limits::COMMIT_TRIES_MAX;
use crate::port::{
    Change, Clock, Committed, Entropy, Ledger, Notifier, Part, Presence, Query, QuerySubject,
    Snapshot,
};
use crate::refusal::{Error, UserError, UserRefusal};
use crate::spec::Recipients;
use crate::transaction::Transaction;
use crate::user::{Lock, LockState};

impl<S: Ledger, D: Notifier, W: Clock + Entropy> Engine<S, D, W> {
    /// Creates a user. `profile` is [`User::profile`](crate::user::User::profile).
    ///
    /// # Errors
    /// Refuses a name that exists already, and a tenant with the maximum of users.
    pub async fn create_user(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        user: &UserName,
        profile: Option<&str>,
    ) -> Result<(), UserError> {
        let event = self.event(
            tenant,
            EventKind::UserCreated,
            actor,
            Subject::User(user.clone()),
            Vec::new(),
        );
        let change = Change::CreateUser {
            tenant: tenant.clone(),
            user: user.clone(),
            id: UserId::drawn(self.random_u128()),
            profile: profile.map(str::to_owned),
            at: event.at,
            users_max: self.policy.rows_max.users,
        };
        match self.commit(change, vec![event]).await? {
            Committed::Written => Ok(()),
            Committed::TenantFull => Err(UserRefusal::ManyUsers.into()),
            _ => Err(UserRefusal::Exists.into()),
        }
    }

    /// Locks a user until an administrator unlocks them, or removes any lock. Clears all counts.
    /// Earlier decisions on the user's state become stale.
    ///
    /// # Errors
    /// Refuses an unknown user, and a call that would not change the state.
    pub async fn set_user_lock(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        user: &UserName,
        locked: bool,
    ) -> Result<LockState, UserError> {
        for _ in 0..COMMIT_TRIES_MAX {
            let found =
                self.store.read().user(tenant, user).await?.ok_or(UserRefusal::UnknownUser)?;
            let before = found.value.lock_state;
            let lock_state = if locked {
                LockState { lock: Lock::Administrator, ..before }
            } else {
                LockState::default()
            };
            if lock_state == before {
                return Err(UserRefusal::Unchanged.into());
            }
            let (kind, details) = if locked {
                (EventKind::UserLocked, vec![("by", lock_state.lock.cause().to_owned())])
            } else {
                (EventKind::UserUnlocked, Vec::new())
            };
            let subject = Subject::User(user.clone());
            let event = self.event(tenant, kind, actor, subject, details);
            let (tenant, user) = (tenant.clone(), user.clone());
            let change = Change::SetLockState { tenant, user, expected: found.version, lock_state };
            if self.commit(change, vec![event]).await? == Committed::Written {
                return Ok(lock_state);
            }
        }
        Err(lost_every_race())
    }

    /// Closes the channels of a user's devices. The devices may connect again: to keep a user out,
    /// lock them.
    ///
    /// # Errors
    /// Refuses an unknown user, and a user without a connected device.
    pub async fn log_out(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        user: &UserName,
    ) -> Result<(), UserError> {
        self.store.read().user(tenant, user).await?.ok_or(UserRefusal::UnknownUser)?;
        if !self.notifier.online(tenant, user, &Recipients::Any, self.now())
            && !self.store.presence(tenant, user).await?.iter().any(Presence::is_online)
        {
            return Err(UserRefusal::Unchanged.into());
        }
        let subject = Subject::User(user.clone());
        let event = self.event(tenant, EventKind::UserLoggedOut, actor, subject, Vec::new());
        self.commit(Change::Nothing, vec![event]).await?;
        Ok(())
    }

    /// Deletes a user. The user's open transactions are cancelled, and their callers told; the
    /// user's devices are retired. Ended transactions stay under the user's name.
    ///
    /// # Errors
    /// Refuses an unknown user.
    pub async fn delete_user(
        &self,
        actor: &Actor,
        tenant: &TenantName,
        user: &UserName,
    ) -> Result<(), UserError> {
        for _ in 0..COMMIT_TRIES_MAX {
            let query = Query { subject: QuerySubject::User(user), parts: &[Part::Open] };
            let Snapshot { user: found, open, .. } = self.store.snapshot(tenant, query).await?;
            let found = found.ok_or(UserRefusal::UnknownUser)?;
            for open in open {
                let id = open.value.spec.id;
                let ended = if self.now() >= open.value.deadline() {
                    let tick = |transaction: Transaction, now| Ok(transaction.tick(now));
                    self.apply(tenant, id, tick, &Actor::Server).await
                } else {
                    self.apply(tenant, id, Transaction::cancel, actor).await
                };
                match ended {
                    Ok(_) | Err(Error::Refused(_)) => {} // It ended, or is looked at again.
                    Err(Error::Failed(fault)) => return Err(fault.into()),
                }
            }
            let subject = Subject::User(user.clone());
            let event = self.event(tenant, EventKind::UserDeleted, actor, subject, Vec::new());
            let expected = found.version;
            let change =
                Change::DeleteUser { tenant: tenant.clone(), user: user.clone(), expected };
            // The commit is stale if a transaction was started, or the user changed, meanwhile.
            if self.commit(change, vec![event]).await? == Committed::Written {
                return Ok(());
            }
        }
        Err(lost_every_race())
    }
}
