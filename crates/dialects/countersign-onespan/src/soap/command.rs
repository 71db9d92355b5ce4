//! The commands: converts parameters to the engine's types, and ends and refusals to a status.

use std::sync::Arc;

use countersign_core::device::Device;
use countersign_core::engine::{Notify, Request, SignatureRequest};
use countersign_core::id::{RequestKey, SerialNumber, TransactionId, UserName};
use countersign_core::limits::{CLOCK_DEFAULT, CONTENT_BYTES_MAX};
use countersign_core::port::EndSnapshot;
use countersign_core::refusal::{DeviceError, Error, Quota, StartError, StartRefusal};
use countersign_core::spec::{Clocks, Content, Dialect, MediaType, Operation, Recipients};
use countersign_core::transaction::{End, Transaction};
use countersign_wire::statement::Statement;
use tokio::time::timeout;
use tracing::info;

use super::Soap;
use super::body::{Data, NamedUser, RequestedAttributes, SoapCall, What};
use super::invalid::BadParameter;
use super::render::{CommandResult, Done, Fault, Prepared};
use crate::codes::Status;
use crate::phone::{self, Asker};
use countersign_http::caller::Caller;
use countersign_http::qr;
use countersign_node::notifier::TooMany;
use countersign_node::wait::{self, WaitError};
use countersign_node::{history, log};

/// The reason why a command failed.
enum CommandError {
    /// Answered with a status, and with a sentence if it reveals no more than the status.
    Told(Status, Option<String>),
    /// There is no answer.
    Unanswered(Fault),
}

/// Performs the command, and returns its result. `component` is the component type that the caller
/// must name.
///
/// # Errors
/// If there is no result, because the server failed or drains.
pub(super) async fn perform(
    soap: &Soap,
    caller: Caller,
    component: &str,
    call: &SoapCall,
) -> Result<CommandResult, Fault> {
    match done(soap, caller, component, call).await {
        Ok(done) => Ok(CommandResult::Done(done)),
        Err(CommandError::Told(status, sentence)) => {
            // The policy may give callers a less precise status; the log keeps the precise one.
            info!(status = status.name(), "{} was refused", call.command.as_str());
            Ok(CommandResult::Not(soap.phones.told(status), sentence))
        }
        Err(CommandError::Unanswered(fault)) => Err(fault),
    }
}

async fn done(
    soap: &Soap,
    caller: Caller,
    component: &str,
    call: &SoapCall,
) -> Result<Done, CommandError> {
    let RequestedAttributes { component: named, what } = call.asked()?;
    if named != component {
        return Err(BadParameter("componentType is not the name of this client".into()).into());
    }
    let domain = what.user().and_then(|user| user.domain.clone());
    let done = done_in_tenant(soap, caller, what).await?;
    // The answer names the domain as the caller did.
    Ok(match domain {
        Some(domain) => done.with_domain(domain),
        None => done,
    })
}

async fn done_in_tenant(soap: &Soap, caller: Caller, what: What) -> Result<Done, CommandError> {
    // The equivalents of phones' calls can only access this client's own transactions.
    let (tenant, client) = (caller.tenant.clone(), caller.client.clone());
    let asker = Asker { tenant: &tenant, client: Some(&client), operation: Operation::Sign };
    match what {
        What::Sign { operation, user, serial, data } => {
            let asked = soap.order(operation, caller, user, serial, data).await?;
            soap.sign(SignatureRequest { announced: Notify::Everybody, ..asked }).await
        }
        What::Prepare { operation, user, serial, data } => {
            soap.prepare(soap.order(operation, caller, user, serial, data).await?).await
        }
        What::Await { operation, user, serial, key } => {
            soap.wait_for(operation, caller, user, serial, &key).await
        }
        What::Fetch { serial, key } => {
            if !soap.phones.may_fetch(caller.client.as_str(), &serial) {
                return Err(Fault::too_many().into());
            }
            Ok(Done::Fetched { message: soap.phones.fetch(asker, &serial, &key).await? })
        }
        What::Complete { operation, user, serial, key, signature } => {
            let asker = Asker { operation, ..asker };
            let name = user_name(soap, &caller, &user).await?;
            if !soap.phones.may_complete(client.as_str(), &tenant, &name) {
                return Err(CommandError::Told(Status::Error, None));
            }
            let serial = serial.as_deref();
            let serial = soap.phones.complete(asker, &name, serial, &key, &signature).await?;
            let serial = serial.to_string();
            Ok(Done::Completed { user: user.id, domain: tenant.to_string(), serial })
        }
        What::Cancel { serial, message } => {
            soap.phones.cancel(asker, &serial, &message).await?;
            Ok(Done::Cancelled)
        }
    }
}

impl Soap {
    /// Starts a signature, and waits for its end.
    async fn sign(&self, order: SignatureRequest) -> Result<Done, CommandError> {
        let core = &self.authenticator.core;
        // The waiter is registered before the start, so that no end is missed in between.
        let waiter = core.notifier().wait(&order.tenant, &order.client, order.id);
        let waiter = waiter?;
        let started = core.start(order, None).await?;
        let ended = wait::wait_for_end(core, started, waiter, &self.tasks).await?;
        self.signed(&ended.ok_or_else(Fault::draining)?).await
    }

    /// Starts a signature that is offered to no device; returns its request key, and its content,
    /// sealed for the first device that can sign it.
    async fn prepare(&self, order: SignatureRequest) -> Result<Done, CommandError> {
        let order = SignatureRequest { clocks: Clocks::One(CLOCK_DEFAULT), ..order };
        let started = self.authenticator.core.start(order, None).await?;
        let spec = &started.spec;
        let key = spec.request_key.to_string();
        let picture = qr::qr(&key).expect("ten digits fit in a QR code");
        let (user, domain) = (spec.user.to_string(), spec.tenant.to_string());
        let (serial, message) = self.phones.seal(&started).await?.ok_or_else(unknown)?;
        let serial = serial.to_string();
        let operation = spec.operation;
        Ok(Done::Prepared(Prepared { operation, user, domain, key, picture, serial, message }))
    }

    /// Waits for the end of the transaction with this key, if it is this client's and this user's.
    /// If it does not end in time, it stays open and can be awaited again.
    async fn wait_for(
        &self,
        operation: Operation,
        caller: Caller,
        user: NamedUser,
        serial: Option<String>,
        key: &str,
    ) -> Result<Done, CommandError> {
        let core = &self.authenticator.core;
        let name = user_name(self, &caller, &user).await?;
        let key: RequestKey = key.parse().map_err(|_| unknown())?;
        let serial = serial.map(|serial| serial.parse()).transpose();
        let serial = serial.map_err(|_| unknown())?;
        let (tenant, client) = (caller.tenant.clone(), Some(caller.client.clone()));
        let found =
            core.awaited(&Request { tenant, key, operation, client }, &name, serial).await?;
        if found.state.is_ended() {
            return self.signed(&found).await;
        }
        let waiter = core.notifier().wait(&caller.tenant, &caller.client, found.spec.id);
        let waiter = waiter?;
        // Only now is no end missed any more. The poll reads almost nothing if it is still open.
        let polled = core.read().end_snapshot(&caller.tenant, found.spec.id).await;
        if let Some(EndSnapshot::Ended { transaction, signer }) = polled? {
            return signed_by(&transaction, signer.as_ref());
        }
        let ended = wait::wait_for_end(core, found, waiter, &self.tasks);
        match timeout(self.wait, ended).await {
            Ok(ended) => self.signed(&ended?.ok_or_else(Fault::draining)?).await,
            Err(_) => Err(CommandError::Told(Status::ExpChallenge, None)),
        }
    }

    /// The result of an ended transaction for its waiting caller.
    async fn signed(&self, ended: &Arc<Transaction>) -> Result<Done, CommandError> {
        let read = self.authenticator.core.read();
        let signer = match EndSnapshot::signer_of(ended) {
            Some(by) => read.device(&ended.spec.tenant, by).await?,
            None => None,
        };
        signed_by(ended, signer.map(|device| device.value).as_ref())
    }

    /// The signature request for a user; devices are notified of it or not.
    async fn order(
        &self,
        operation: Operation,
        caller: Caller,
        user: NamedUser,
        serial: Option<String>,
        data: Data,
    ) -> Result<SignatureRequest, CommandError> {
        if self.tasks.is_draining() {
            return Err(Fault::draining().into());
        }
        let name = user_name(self, &caller, &user).await?;
        let recipients = self.recipients(&caller, serial).await?;
        Ok(SignatureRequest {
            id: TransactionId(self.authenticator.core.new_id()),
            tenant: caller.tenant,
            dialect: Dialect::OneSpan,
            client: caller.client,
            client_name: caller.name,
            user: name,
            reference: None,
            recipients,
            selectors: Vec::new(),
            content: content(data)?,
            document: None,
            operation,
            formats: self.phones.formats(),
            pin_required: false,
            once: true,
            announced: Notify::Nobody,
            clocks: Clocks::One(self.wait),
            callback: None,
            notice: None,
            request: None,
        })
    }

    /// The device with this serial number; any device if there is none.
    async fn recipients(
        &self,
        caller: &Caller,
        serial: Option<String>,
    ) -> Result<Recipients, CommandError> {
        let Some(serial) = serial else { return Ok(Recipients::Any) };
        let serial: SerialNumber = serial.parse().map_err(|_| StartRefusal::UnknownDevice)?;
        let read = self.authenticator.core.read();
        let device = read.device_by_serial(&caller.tenant, serial).await?;
        Ok(Recipients::Device(device.ok_or(StartRefusal::UnknownDevice)?.value.id))
    }
}

/// The result of an ended transaction. `signer` is the device that finished it.
fn signed_by(ended: &Transaction, signer: Option<&Device>) -> Result<Done, CommandError> {
    let spec = &ended.spec;
    let end = ended.end().expect("the awaited transaction has ended");
    let End::Finished { proof, .. } = end else {
        return Err(CommandError::Told(Status::of_end(end), None));
    };
    Ok(Done::Signed {
        user: spec.user.to_string(),
        domain: spec.tenant.to_string(),
        serial: signer.map(|device| device.serial_number.to_string()).unwrap_or_default(),
        signature: phone::written(proof),
    })
}

/// The user in the client's own tenant. Another domain is refused as an unknown user, and so is an
/// invalid name.
async fn user_name(
    soap: &Soap,
    caller: &Caller,
    user: &NamedUser,
) -> Result<UserName, CommandError> {
    let is_own = match &user.domain {
        None => true,
        Some(domain) if domain == caller.tenant.as_str() => true,
        Some(domain) => {
            soap.phones.tenant_named(domain).await?.is_some_and(|named| named == caller.tenant)
        }
    };
    let name = is_own.then(|| user.id.parse().ok()).flatten();
    Ok(name.ok_or(StartRefusal::UnknownUser)?)
}

fn content(data: Data) -> Result<Content, BadParameter> {
    let content = match data {
        Data::Body(bytes) => Content { media_type: MediaType::Octets, bytes },
        Data::Fields(message, rows) => {
            let bytes = Statement { message, rows }.to_bytes();
            Content { media_type: MediaType::Statement, bytes }
        }
    };
    if content.bytes.len() > CONTENT_BYTES_MAX {
        let most = format!("title and fields must be at most {CONTENT_BYTES_MAX} bytes together");
        return Err(BadParameter(most));
    }
    Ok(content)
}

impl From<BadParameter> for CommandError {
    fn from(BadParameter(sentence): BadParameter) -> Self {
        Self::Told(Status::InvParam, Some(sentence))
    }
}

impl From<Fault> for CommandError {
    fn from(fault: Fault) -> Self {
        Self::Unanswered(fault)
    }
}

/// The answer about a transaction that does not exist, or is not the caller's.
fn unknown() -> CommandError {
    CommandError::Told(Status::NotFound, None)
}

impl From<StartRefusal> for CommandError {
    fn from(refusal: StartRefusal) -> Self {
        history::refused(&refusal);
        let status = match refusal {
            StartRefusal::Quota(quota) => return Self::Unanswered(Fault::quota(quota)),
            StartRefusal::UnknownUser | StartRefusal::UnknownDevice => Status::NotFound,
            StartRefusal::UserLocked | StartRefusal::DeviceLocked => Status::Locked,
            StartRefusal::OtherOrder => Status::Exists,
            // No start of this dialect needs a certificate, because a phone may answer with a code.
            StartRefusal::CertificateEnded
            | StartRefusal::NoIdentity
            | StartRefusal::SeveralUsers
            | StartRefusal::TooManyOpen => Status::Error,
        };
        Self::Told(status, None)
    }
}

impl From<StartError> for CommandError {
    fn from(error: StartError) -> Self {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Failed(fault) => fault.into(),
        }
    }
}

impl From<DeviceError> for CommandError {
    fn from(error: DeviceError) -> Self {
        history::counted(&error);
        match error {
            Error::Refused(refusal) => Self::Told(Status::of_device(&refusal), None),
            Error::Failed(fault) => fault.into(),
        }
    }
}

impl From<WaitError> for CommandError {
    fn from(error: WaitError) -> Self {
        match error {
            WaitError::Unknown => unknown(),
            WaitError::TooMany(too_many) => too_many.into(),
            WaitError::Failed(fault) => fault.into(),
        }
    }
}

impl From<TooMany> for CommandError {
    fn from(TooMany: TooMany) -> Self {
        Self::Unanswered(Fault::quota(Quota::Waiting))
    }
}

impl From<countersign_core::Fault> for CommandError {
    fn from(fault: countersign_core::Fault) -> Self {
        log(&fault);
        Self::Unanswered(Fault::failed())
    }
}
