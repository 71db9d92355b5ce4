//! Authentication: an application with the call's role by a token with the call's scope, or a
//! device by a token of its own.

use axum::extract::Request;
use countersign_config::Scopes;
use countersign_core::id::TenantName;
use countersign_core::role::Role;
use countersign_wire::jws;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::context::TrustedX;
use super::problem::ProcessError;
use countersign_channel::AuthenticatedCall;
use countersign_http::caller::{Caller, bearer};

/// An application or a device.
pub(super) enum Either {
    Application(Caller),
    Device(AuthenticatedCall),
}

impl Either {
    pub(super) fn tenant(&self) -> &TenantName {
        match self {
            Self::Application(caller) => &caller.tenant,
            Self::Device(device_auth) => &device_auth.tenant,
        }
    }
}

impl TrustedX {
    /// Authenticates the application, whose token must have this scope. It needs the scope's role
    /// as well, because its roles may have changed since the token was issued.
    pub(super) async fn application(
        &self,
        headers: &HeaderMap,
        scope: &str,
    ) -> Result<Caller, ProcessError> {
        let caller = self.holder(headers).await?;
        self.permit(&caller, scope)?;
        Ok(caller)
    }

    /// Authenticates the device; its token covers the body.
    pub(super) async fn device(&self, request: Request) -> Result<AuthenticatedCall, ProcessError> {
        if !request.headers().contains_key(AUTHORIZATION) {
            return Err(ProcessError::NoToken);
        }
        Ok(self.devices.prove_any(request).await?)
    }

    /// Authenticates either; an application's token may have any scope.
    pub(super) async fn either(&self, request: Request) -> Result<Either, ProcessError> {
        let by_device = |token| jws::device_of_call(token).is_ok();
        if bearer(request.headers()).is_some_and(by_device) {
            return self.device(request).await.map(Either::Device);
        }
        self.holder(request.headers()).await.map(Either::Application)
    }

    /// Checks that an application's token has this scope, and the application its role.
    pub(super) fn permit(&self, caller: &Caller, scope: &str) -> Result<(), ProcessError> {
        if !caller.scope.split(' ').any(|own| own == scope) {
            return Err(ProcessError::OtherScope(scope.to_owned()));
        }
        Ok(caller.check(role_of(&self.rules.scopes, scope))?)
    }

    async fn holder(&self, headers: &HeaderMap) -> Result<Caller, ProcessError> {
        let token = bearer(headers).ok_or(ProcessError::NoToken)?;
        Ok(self.authenticator.authenticate_token(token).await?)
    }
}

/// The role without which a scope allows nothing. Signing identities tell of users and their
/// devices.
pub(super) fn role_of(scopes: &Scopes, scope: &str) -> Role {
    match scope {
        scope if scope == scopes.sign => Role::Ask,
        scope if scope == scopes.register => Role::Enrol,
        _ => Role::People,
    }
}
