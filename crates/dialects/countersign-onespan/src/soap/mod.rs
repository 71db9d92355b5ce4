//! SOAP 1.1 for clients: starting a signature and waiting for it, creating a key for one that is
//! scanned, and the equivalents of the phones' REST calls.
//!
//! The caller is a client, which authenticates by HTTP Basic with its id and secret; its tenant is
//! its own. An invalid message gets a fault and HTTP 500 (SOAP 1.1, section 6.2); every performed
//! command gets HTTP 200 and a status.

mod attributes;
pub mod body;
mod command;
pub mod invalid;
mod logins;
mod render;
pub mod xml;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use countersign_core::role::Role;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Uri};
use quick_xml::escape::escape;

use self::body::SoapCall;
use self::render::Fault;
use crate::phone::Phones;
use countersign_http::body_limit;
use countersign_http::caller::{AuthError, Authenticator, Caller, basic};
use countersign_http::component::Component;
use countersign_http::listen::Peer;
use countersign_node::task::Shutdown;

/// The state that the commands share.
#[derive(Clone)]
pub struct Soap {
    /// Authenticates callers, and holds the engine.
    pub authenticator: Authenticator,
    /// The phones' calls, for their SOAP equivalents.
    pub phones: Phones,
    /// Says whether the process is draining.
    pub tasks: Shutdown,
    /// How long a suspended call waits.
    pub wait: Duration,
    /// The components that call without credentials.
    pub components: Arc<[Component]>,
    /// The server's address for clients, which the WSDL contains.
    pub address: Arc<str>,
}

/// The one route of all commands.
pub fn router(soap: Soap) -> Router {
    let methods = get(describe).post(call).fallback(async || Fault::method());
    Router::new()
        .route("/onespan/soap", methods.clone())
        .route("/onespan/soap/", methods)
        .with_state(soap)
}

/// `GET /onespan/soap?wsdl`: the WSDL, with this server's own address.
async fn describe(State(soap): State<Soap>, uri: Uri) -> Response {
    const DESCRIPTION: &str = include_str!("onespan.wsdl");
    if !uri.query().is_some_and(|query| query.eq_ignore_ascii_case("wsdl")) {
        return Fault::method().into_response();
    }
    let description = DESCRIPTION.replace("{{address}}", &escape(&*soap.address));
    let xml = (CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
    ([xml], description).into_response()
}

/// `POST /onespan/soap`: a command.
async fn call(State(soap): State<Soap>, request: Request) -> Result<Response, Fault> {
    let address = request.extensions().get::<Peer>();
    let address = address.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
    let caller = match basic(request.headers()) {
        // A component names itself in the body, which only its network may send.
        None if soap.components.iter().any(|one| one.calls_from(address)) => None,
        credentials => Some(soap.caller(credentials, address).await?),
    };
    if !is_xml(request.headers()) {
        return Err(Fault::not_xml());
    }
    let call = SoapCall::find(&body_limit::any(request).await?)?;
    let (caller, component) = if let Some(caller) = caller {
        let name = caller.name.clone();
        (caller, name)
    } else {
        let component = call.component().ok_or(AuthError::NotAuthenticated)?;
        let known = soap.authenticator.component(&soap.components, &component, address);
        let caller = known.await?;
        caller.check(Role::Ask)?;
        (caller, component)
    };
    let answer = command::perform(&soap, caller, &component, &call).await?;
    Ok(render::answer(&call, &answer))
}

/// RFC 2376 gives `application/xml` the same meaning as SOAP 1.1's `text/xml`, and some clients
/// send it.
fn is_xml(headers: &HeaderMap) -> bool {
    body_limit::is(headers, "text/xml") || body_limit::is(headers, "application/xml")
}

impl Soap {
    /// Authenticates the client by the id and secret of the request. Every command needs the role
    /// `ask`: it starts a transaction, or is about one of the client's own.
    async fn caller(
        &self,
        credentials: Option<(String, String)>,
        address: IpAddr,
    ) -> Result<Caller, AuthError> {
        let (id, secret) = credentials.ok_or(AuthError::NotAuthenticated)?;
        let caller = self.authenticator.client(&id, &secret, address).await?;
        caller.check(Role::Ask)?;
        Ok(caller)
    }
}
