//! What is answered to a request: without connections.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};

use super::{metrics, page};
use crate::config::Stranger;
use crate::status::Status;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";

/// Said with every answer: nothing of it is for other pages, or for later.
const ALWAYS: [(HeaderName, &str); 5] = [
    (hyper::header::CACHE_CONTROL, "no-store"),
    (hyper::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (hyper::header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Page,
    Status(View),
}

/// What is to be told of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Itself.
    Json,
    Metrics,
    /// Whether it can be had at all.
    Health,
    /// Whether connections should come here.
    Readiness,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) kind: &'static str,
    pub(super) policy: &'static str,
    pub(super) body: String,
}

/// What a request is for, or what it is refused with.
pub(super) fn asked(method: &Method, path: &str) -> Result<Asked, Answer> {
    let asked = match path {
        "/" => Asked::Page,
        "/status" => Asked::Status(View::Json),
        "/metrics" => Asked::Status(View::Metrics),
        "/healthz" => Asked::Status(View::Health),
        "/readyz" => Asked::Status(View::Readiness),
        _ => {
            return Err(Answer::text(
                StatusCode::NOT_FOUND,
                "not found; there are /, /status, /metrics, /healthz and /readyz",
            ));
        }
    };
    if method != Method::GET && method != Method::HEAD {
        return Err(Answer::text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD"));
    }
    Ok(asked)
}

/// What is told of the status, if the primary said it.
pub(super) fn told(view: View, status: Option<&str>) -> Answer {
    let unavailable = |why: &str| Answer::text(StatusCode::SERVICE_UNAVAILABLE, why);
    let Some(text) = status else { return unavailable("the primary does not answer") };
    if view == View::Health {
        return Answer::text(StatusCode::OK, "ok");
    }
    if view == View::Json {
        return Answer::ok(JSON, text.into());
    }
    let status: Status = match serde_json::from_str(text) {
        Ok(status) => status,
        Err(error) => {
            let why = format!("the primary's status cannot be read: {error}");
            return Answer::text(StatusCode::INTERNAL_SERVER_ERROR, &why);
        }
    };
    match (view, status.unready()) {
        (View::Metrics, _) => Answer::ok(metrics::CONTENT_TYPE, metrics::render(&status)),
        (_, Some(why)) => unavailable(&why),
        (_, None) => Answer::text(StatusCode::OK, "ready"),
    }
}

impl Answer {
    fn ok(kind: &'static str, body: String) -> Self {
        Self { code: StatusCode::OK, kind, policy: NOTHING, body }
    }

    fn text(code: StatusCode, line: &str) -> Self {
        Self { code, kind: TEXT, policy: NOTHING, body: format!("{line}\n") }
    }

    pub(super) fn page() -> Self {
        Self { code: StatusCode::OK, kind: HTML, policy: page::POLICY, body: page::PAGE.into() }
    }

    pub(super) fn stranger(stranger: Stranger) -> Self {
        match stranger {
            Stranger::Unnamed => Self::text(
                StatusCode::BAD_REQUEST,
                "the request must name one host (the header Host)",
            ),
            Stranger::Other => Self::text(
                StatusCode::FORBIDDEN,
                "this server accepts IP addresses, localhost and the names that it was given as host, and \
                 no others: cluster run --http-host NAME allows one more",
            ),
        }
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(self.body));
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        for (name, value) in ALWAYS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        headers.insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        headers
            .insert(hyper::header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(self.policy));
        if self.code == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::FULL;

    #[test]
    fn paths_and_methods() {
        assert_eq!(asked(&Method::GET, "/").unwrap(), Asked::Page);
        assert_eq!(asked(&Method::HEAD, "/metrics").unwrap(), Asked::Status(View::Metrics));
        for path in ["/x", "/status/", "//", "/favicon.ico", "*", "/healthz/../status"] {
            assert_eq!(
                asked(&Method::GET, path).unwrap_err().code,
                StatusCode::NOT_FOUND,
                "{path}"
            );
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::CONNECT]
        {
            let refused = asked(&method, "/status").unwrap_err();
            assert_eq!(refused.code, StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(refused.into_response().headers()[ALLOW], "GET, HEAD");
        }
    }

    #[test]
    fn probes() {
        let probe = |view, status| {
            let answer = told(view, status);
            (answer.code.as_u16(), answer.body)
        };
        let starting = Some(r#"{"state":"starting","ready":false,"wanted":4,"workers":[]}"#);
        let draining = Some(r#"{"state":"draining","ready":false}"#);
        assert_eq!(probe(View::Health, Some(FULL)), (200, "ok\n".into()));
        assert_eq!(probe(View::Health, starting), (200, "ok\n".into()));
        assert_eq!(probe(View::Readiness, Some(FULL)), (200, "ready\n".into()));
        assert_eq!(
            probe(View::Readiness, starting),
            (503, "starting, 0 of 4 workers ready\n".into())
        );
        assert_eq!(probe(View::Readiness, draining).0, 503);
        for view in [View::Health, View::Readiness, View::Metrics, View::Json] {
            assert_eq!(probe(view, None), (503, "the primary does not answer\n".into()));
        }
        assert_eq!(probe(View::Readiness, Some("{")).0, 500);
        assert_eq!(probe(View::Json, Some(FULL)), (200, FULL.into()));
    }
}
