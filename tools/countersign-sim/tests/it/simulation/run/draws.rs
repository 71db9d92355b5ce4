//! The operations of a simulated run, drawn at random.

use core::time::Duration;
use std::rc::Rc;

use countersign_core::device::{DeviceStatus, Usage};
use countersign_core::engine::FinishMode;
use countersign_core::id::{IdentityId, TransactionId};
use countersign_core::selector::Selector;
use countersign_core::spec::{Clocks, Recipients, SignatureFormat};
use countersign_core::transaction::Decline;
use countersign_sim::{Phone, Prng, RAW, TestTenant};

use super::super::operation::{Act, Operation, What};
use super::Simulation;
use crate::fixture::{POPULATION, callback, reference};

const WRONG_PIN: &str = "0000";
/// The tenant that an operator deletes in some runs; the other one is only locked.
const DELETED: &str = "beta";

impl Simulation {
    pub(super) fn new_deed(&mut self) -> Operation {
        let phone = self.any_phone();
        if phone.tenant().as_str() == DELETED && self.prng.one_in(20) {
            return Operation { phone, what: What::Administer(Act::DeleteTenant) };
        }
        let what = match self.prng.roll(66) {
            60.. => What::Administer(self.new_act()),
            0..13 => return self.new_order(phone),
            13..17 => What::Offers,
            17..19 => What::Sweep,
            19 => What::Forget(Duration::from_secs(*self.prng.pick(&[0, 3, 10]))),
            20..22 => What::Pay,
            22 => What::Lock(*self.prng.pick(&[true, false, false])),
            23 => What::Lock(false),
            24 => {
                use DeviceStatus::{Active, Locked};
                What::Status(*self.prng.pick(&[Locked, Active, Active]))
            }
            25 => What::Enable(!self.prng.one_in(3)),
            26 => self.new_pin(phone),
            _ => return self.about_one(phone),
        };
        Operation { phone, what }
    }

    /// A random operation of an operator. There are only few names, so that operations conflict.
    fn new_act(&mut self) -> Act {
        let number = self.prng.roll(8) as u32;
        match self.prng.roll(12) {
            0 => Act::CreateUser(number),
            1 => Act::DeleteUser(number),
            2 => Act::CreateActivation(self.prng.random_u128()),
            3 => Act::CreateClient(number),
            4 => Act::CreateApiKey(number),
            5 => Act::RotateCallbackKey(self.prng.one_in(2)),
            6 => Act::TrustRoot(number),
            7 => Act::SetPush(self.prng.one_in(2).then_some(number)),
            8 => Act::LogOut,
            9 => Act::LockTenant(self.prng.one_in(2)),
            10 => Act::LockTenant(false),
            _ => Act::Replay,
        }
    }

    fn new_order(&mut self, phone: &'static Phone) -> Operation {
        if !self.requests.is_empty() && self.prng.one_in(6) {
            let mut operation = self.prng.pick(&self.requests).clone();
            if let What::Start(request) = &mut operation.what {
                request.id = TransactionId(self.prng.random_u128());
                if let (Some(reference), true) = (&mut request.reference, self.prng.one_in(3)) {
                    reference.request = [9; 32];
                }
            }
            return operation;
        }
        let id = TransactionId(self.prng.random_u128());
        let test_tenant = POPULATION.test_tenant(phone.tenant().as_str());
        let mut request = match self.prng.roll(4) {
            0 => test_tenant.html_order(id, phone.user()),
            1 => test_tenant.digest_order(id, phone.user()),
            _ => test_tenant.request(id, phone.user()),
        };
        if !request.selectors.is_empty() && self.prng.one_in(3) {
            let usage = request.content.media_type.usage();
            let (id, device) = (Some(phone.identity(usage).id), Some(phone.id()));
            request.selectors = vec![Selector { id, device, ..Selector::default() }];
        }
        request.pin_required = self.prng.one_in(3);
        request.once = self.prng.one_in(4);
        request.callback = self.prng.one_in(2).then(callback);
        request.reference = self.prng.one_in(2).then(|| reference(&id.to_string(), 1));
        if self.prng.one_in(4) {
            request.recipients = Recipients::Device(phone.id());
        }
        let seconds = |prng: &mut Prng, of: &[u64]| Duration::from_secs(*prng.pick(of));
        request.clocks = if self.prng.one_in(4) {
            Clocks::One(seconds(&mut self.prng, &[1, 10, 60]))
        } else {
            let go_online = seconds(&mut self.prng, &[0, 5, 30, 30, 30]);
            Clocks::Two { go_online, sign: seconds(&mut self.prng, &[1, 10, 60]) }
        };
        let operation = Operation { phone, what: What::Start(Box::new(request)) };
        let names = |operation: &Operation| matches!(&operation.what, What::Start(o) if o.reference.is_some());
        if names(&operation) {
            self.requests.push(operation.clone());
        }
        operation
    }

    /// The PIN of this version. Every phone's first PIN is [`TestTenant::PIN`].
    fn pin(version: u32) -> String {
        if version == 1 { TestTenant::PIN.into() } else { format!("PIN {version}") }
    }

    fn pin_version(&self, phone: &Phone) -> u32 {
        self.model.device(phone.id()).pin.as_ref().expect("it is never taken away").version
    }

    fn new_pin(&mut self, phone: &Phone) -> What {
        let version = self.pin_version(phone);
        let old = if self.prng.one_in(3) { WRONG_PIN.into() } else { Self::pin(version) };
        What::Pin { version: version + 1, old, new: Self::pin(version + 1) }
    }

    /// An operation on a transaction, usually an open one and usually by a device that may act on
    /// it.
    fn about_one(&mut self, stranger: &'static Phone) -> Operation {
        let all = self.model.transactions.values().map(|(transaction, _)| transaction);
        let mut ids: Vec<_> = all.clone().map(|transaction| transaction.spec.id).collect();
        let open: Vec<_> = all.filter(|t| t.end().is_none()).map(|t| t.spec.id).collect();
        if !open.is_empty() && !self.prng.one_in(8) {
            ids = open;
        }
        if ids.is_empty() {
            return self.new_order(stranger);
        }
        let id = *self.prng.pick(&ids);
        let transaction = self.model.transaction(id).clone();
        let test_tenant = POPULATION.test_tenant(transaction.spec.tenant.as_str());
        let is_theirs = |phone: &&Phone| *phone.user() == transaction.spec.user;
        let theirs: Vec<_> = test_tenant.phones.iter().filter(is_theirs).collect();
        let takers: Vec<_> =
            theirs.iter().copied().filter(|phone| transaction.taken_by(phone.id())).collect();
        let phone = match self.prng.roll(16) {
            0 => stranger,
            1..6 => *self.prng.pick(&theirs),
            _ if takers.is_empty() => *self.prng.pick(&theirs),
            _ => *self.prng.pick(&takers),
        };
        let what = match self.prng.roll(24) {
            0 if self.prng.one_in(2) => What::Discard { id },
            0 => What::Cancel { id },
            1 => What::Fail { id },
            2 => What::Decline { id, reason: Decline::User },
            3 if self.prng.one_in(2) => What::Decline { id, reason: Decline::NotMe },
            4..7 => self.forged(phone, id),
            7..16 if !takers.is_empty() || self.prng.one_in(4) => self.finish(phone, id),
            _ => {
                let pin = match self.prng.roll(8) {
                    0 => None,
                    1..4 => Some(WRONG_PIN.into()),
                    _ => Some(Self::pin(self.pin_version(phone))),
                };
                What::Take { id, pin }
            }
        };
        Operation { phone, what }
    }

    /// A device keeps its signature and repeats it. Some lose it, and sign again.
    fn finish(&mut self, phone: &Phone, id: TransactionId) -> What {
        let key = (phone.id(), id);
        if !self.signed.contains_key(&key) || self.prng.one_in(8) {
            let value = phone.sign_rightly(&self.model.transaction(id).spec);
            self.signed.insert(key, value.into());
        }
        let value = Rc::clone(&self.signed[&key]);
        let spec = &self.model.transaction(id).spec;
        let identity = phone.identity(spec.usage()).id;
        let form = spec.formats.all()[0];
        let mode = if self.prng.one_in(3) { FinishMode::AtOnce } else { FinishMode::Taken };
        What::Finish { id, value, identity, form, mode, is_forged: false }
    }

    /// A signature that is valid for something else, or not at all.
    fn forged(&mut self, phone: &Phone, id: TransactionId) -> What {
        let spec = &self.model.transaction(id).spec;
        if spec.formats.accept(SignatureFormat::Raw) && self.prng.one_in(2) {
            return self.forged_raw(phone, id);
        }
        let content = phone.identity(Usage::Content).id;
        let digest = phone.identity(Usage::Digest).id;
        let others = POPULATION.test_tenants.iter().flat_map(|test_tenant| &test_tenant.phones);
        let others: Vec<_> = others.filter(|other| other.id() != phone.id()).collect();
        let other = *self.prng.pick(&others);
        let kept: Vec<_> = self.signed.iter().filter(|((_, of), _)| *of != id).collect();
        let (value, identity): (Vec<u8>, IdentityId) = match self.prng.roll(6) {
            0 if !kept.is_empty() => (self.prng.pick(&kept).1.to_vec(), content),
            1 => (other.sign(spec), content),
            2 => (other.sign(spec), other.identity(Usage::Content).id),
            3 => (phone.sign_as(Usage::Digest, spec), digest),
            4 => (phone.sign_as(Usage::Digest, spec), content),
            _ => {
                let mut value = phone.sign(spec);
                *value.last_mut().expect("a signature has bytes") ^= 1;
                (value, content)
            }
        };
        let (form, mode) = (SignatureFormat::Cms, FinishMode::Taken);
        What::Finish { id, value: value.into(), identity, form, mode, is_forged: true }
    }

    /// A raw signature that is invalid, by the wrong identity, or over the wrong content.
    fn forged_raw(&mut self, phone: &Phone, id: TransactionId) -> What {
        let spec = &self.model.transaction(id).spec;
        let right = spec.usage();
        let wrong = if right == Usage::Content { Usage::Digest } else { Usage::Content };
        let others = POPULATION.test_tenants.iter().flat_map(|test_tenant| &test_tenant.phones);
        let others: Vec<_> = others.filter(|other| other.id() != phone.id()).collect();
        let other = *self.prng.pick(&others);
        let own = phone.identity(right).id;
        let (value, identity) = match self.prng.roll(6) {
            0 => (other.sign_raw_as(right, spec), own),
            1 => (other.sign_raw_as(right, spec), other.identity(right).id),
            2 => (phone.sign_raw_as(wrong, spec), own),
            3 => (phone.sign_raw_as(wrong, spec), phone.identity(wrong).id),
            4 => (phone.sign_digest_as(right, &RAW.hash().of(b"something else")), own),
            _ => {
                let mut value = phone.sign_raw_as(right, spec);
                value.push(0);
                (value, own)
            }
        };
        let (form, mode) = (SignatureFormat::Raw, FinishMode::AtOnce);
        What::Finish { id, value: value.into(), identity, form, mode, is_forged: true }
    }
}
