//! Authentication: an application by a token with the call's scope, or a device by a token of its
//! own.

use axum::extract::Request;
use countersign_core::id::TenantName;
use countersign_wire::jws;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::context::TrustedX;
use super::problem::ProcessError;
use countersign_channel::AuthenticatedDevice;
use countersign_http::caller::{Caller, bearer};

/// An application or a device.
pub(super) enum Either {
    Application(Caller),
    Device(AuthenticatedDevice),
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
    /// Authenticates the application, whose token must have this scope.
    pub(super) async fn application(
        &self,
        headers: &HeaderMap,
        scope: &str,
    ) -> Result<Caller, ProcessError> {
        let caller = self.holder(headers).await?;
        permit(&caller, scope)?;
        Ok(caller)
    }

    /// Authenticates the device; its token covers the body.
    pub(super) async fn device(
        &self,
        request: Request,
    ) -> Result<AuthenticatedDevice, ProcessError> {
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

    async fn holder(&self, headers: &HeaderMap) -> Result<Caller, ProcessError> {
        let token = bearer(headers).ok_or(ProcessError::NoToken)?;
        Ok(self.authenticator.authenticate_token(token).await?)
    }
}

/// Checks that an application's token has this scope.
pub(super) fn permit(caller: &Caller, scope: &str) -> Result<(), ProcessError> {
    let has = caller.scope.split(' ').any(|own| own == scope);
    if has { Ok(()) } else { Err(ProcessError::OtherScope(scope.to_owned())) }
}
