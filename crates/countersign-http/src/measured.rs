//! Metrics of HTTP requests: how many, with which status, and how long they took, by the template
//! of their route.
//!
//! The labels are bounded: templates are those of the router, and never an address that a caller
//! chose. The handles of a route are made at its first request.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use countersign_node::clock::Stopwatch;
use http::Method;
use metrics::{Counter, Histogram};
use parking_lot::RwLock;

/// The methods that have a label of their own.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"];
/// The label of any other method.
const OTHER_METHOD: &str = "other";

/// Counts and measures the requests to the router's routes, under the name of its dialect.
pub fn measured(router: Router, dialect: &'static str) -> Router {
    let routes = Arc::new(MeasuredRoutes { dialect, by_template: RwLock::default() });
    router.route_layer(from_fn_with_state(routes, measure))
}

struct MeasuredRoutes {
    dialect: &'static str,
    /// The metrics of each template, one place for each method, and one for all others.
    by_template: RwLock<HashMap<String, [Option<Arc<MeasuredRoute>>; METHODS.len() + 1]>>,
}

struct MeasuredRoute {
    dialect: &'static str,
    method: &'static str,
    template: String,
    seconds: Histogram,
    statuses: RwLock<Vec<(u16, Counter)>>,
}

async fn measure(
    State(routes): State<Arc<MeasuredRoutes>>,
    request: Request,
    next: Next,
) -> Response {
    let template = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let route = routes.route(template, request.method());
    let begun = Stopwatch::start();
    let response = next.run(request).await;
    route.seconds.record(begun.elapsed().as_secs_f64());
    route.count(response.status().as_u16());
    response
}

impl MeasuredRoutes {
    fn route(&self, template: &str, method: &Method) -> Arc<MeasuredRoute> {
        let place = METHODS.iter().position(|known| *known == method.as_str());
        let place = place.unwrap_or(METHODS.len());
        if let Some(places) = self.by_template.read().get(template)
            && let Some(route) = &places[place]
        {
            return Arc::clone(route);
        }
        let method = METHODS.get(place).copied().unwrap_or(OTHER_METHOD);
        let mut by_template = self.by_template.write();
        let places = by_template.entry(template.to_owned()).or_default();
        let route = places[place]
            .get_or_insert_with(|| Arc::new(MeasuredRoute::new(self.dialect, method, template)));
        Arc::clone(route)
    }
}

impl MeasuredRoute {
    fn new(dialect: &'static str, method: &'static str, template: &str) -> Self {
        let seconds = metrics::histogram!(
            "countersign_http_request_seconds",
            "dialect" => dialect, "method" => method, "route" => template.to_owned()
        );
        let (template, statuses) = (template.to_owned(), RwLock::default());
        Self { dialect, method, template, seconds, statuses }
    }

    fn count(&self, status: u16) {
        if let Some((_, counter)) = self.statuses.read().iter().find(|(known, _)| *known == status)
        {
            return counter.increment(1);
        }
        let counter = metrics::counter!(
            "countersign_http_requests_total",
            "dialect" => self.dialect, "method" => self.method, "route" => self.template.clone(),
            "status" => status.to_string()
        );
        counter.increment(1);
        self.statuses.write().push((status, counter));
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_route_is_known_by_its_template_and_other_methods_share_a_place() {
        let routes = Arc::new(MeasuredRoutes { dialect: "test", by_template: RwLock::default() });
        let router = Router::new()
            .route("/users/{user}", get(async || "here"))
            .route_layer(from_fn_with_state(Arc::clone(&routes), measure));
        for (method, path) in
            [("GET", "/users/jane"), ("GET", "/users/joe"), ("BREW", "/users/kim"), ("GET", "/x")]
        {
            let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            router.clone().oneshot(request).await.unwrap();
        }
        let by_template = routes.by_template.read();
        assert_eq!(by_template.keys().collect::<Vec<_>>(), ["/users/{user}"]);
        let methods = by_template["/users/{user}"].iter().flatten();
        assert_eq!(methods.map(|route| route.method).collect::<Vec<_>>(), ["GET", "other"]);
        let statuses = by_template["/users/{user}"][0].as_ref().unwrap().statuses.read();
        assert_eq!(statuses.iter().map(|(status, _)| *status).collect::<Vec<_>>(), [200]);
    }
}
