//! Who calls: an application with a token that is good for the call, or a device with a proof of
//! its own.

use axum::extract::Request;
use countersign_core::id::TenantName;
use countersign_wire::jws;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::context::TrustedX;
use super::problem::ProcessError;
use countersign_channel::AuthenticatedDevice;
use countersign_http::caller::{Caller, bearer};

/// Either of them.
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
    /// The application that calls, if its token has this scope.
    pub(super) async fn application(
        &self,
        headers: &HeaderMap,
        scope: &str,
    ) -> Result<Caller, ProcessError> {
        let caller = self.holder(headers).await?;
        permit(&caller, scope)?;
        Ok(caller)
    }

    /// The device that calls, and its body, which its proof covers.
    pub(super) async fn device(
        &self,
        request: Request,
    ) -> Result<AuthenticatedDevice, ProcessError> {
        if !request.headers().contains_key(AUTHORIZATION) {
            return Err(ProcessError::NoToken);
        }
        Ok(self.devices.prove_any(request).await?)
    }

    /// Whichever it is, the application's token whatever it is good for.
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

/// Whether an application's token has this scope.
pub(super) fn permit(caller: &Caller, scope: &str) -> Result<(), ProcessError> {
    let has = caller.scope.split(' ').any(|own| own == scope);
    if has { Ok(()) } else { Err(ProcessError::OtherScope(scope.to_owned())) }
}
