//! Where a bucket's requests go, and the part of their head that never changes.

use oss_protocol::encoding::{encode_path_into, encode_query_into};
use oss_protocol::http1::{HttpError, write_header};
use oss_protocol::sign::Secret;
use oss_protocol::uri::{Endpoint, Scheme};

use super::Request;
use crate::config::ClientConfig;
use crate::http::dial::Origin;
use crate::sync::{Arc, Mutex};

/// Buckets remembered at most.
const MAX_ROUTES: usize = 256;

/// The way to one bucket, or to the service itself.
#[derive(Debug)]
pub(super) struct Route {
    bucket: Option<String>,
    /// What to connect to; shared by all buckets of one host.
    pub(super) origin: Arc<Origin>,
    /// Path before the key: `/`, or `/bucket/`.
    path: String,
    /// From the blank after the target to the end of the constant headers.
    constant: String,
    /// Value of `Proxy-Authorization`, where requests themselves go to a proxy.
    proxy_authorization: Option<Secret>,
}

/// The routes of one endpoint.
#[derive(Debug)]
pub(super) struct Routes {
    known: Mutex<Vec<Arc<Route>>>,
}

impl Routes {
    pub(super) fn new() -> Self {
        Routes { known: Mutex::default() }
    }

    /// The route of `bucket`, made at its first use.
    pub(super) fn of(&self, bucket: Option<&str>, config: &ClientConfig) -> Arc<Route> {
        let mut known = self.known.lock();
        if let Some(route) = known.iter().find(|route| route.bucket.as_deref() == bucket) {
            return Arc::clone(route);
        }
        let mut route = Route::new(bucket, config);
        if let Some(other) = known.iter().find(|other| other.origin == route.origin) {
            route.origin = Arc::clone(&other.origin);
        }
        let route = Arc::new(route);
        if known.len() >= MAX_ROUTES {
            known.remove(0);
        }
        known.push(Arc::clone(&route));
        route
    }
}

impl Route {
    fn new(bucket: Option<&str>, config: &ClientConfig) -> Self {
        let endpoint: &Endpoint = &config.endpoint;
        let target = endpoint.target(config.addressing, bucket, None);
        let constant = format!(
            " HTTP/1.1\r\nHost: {}\r\nUser-Agent: {}\r\nAccept-Encoding: identity\r\n",
            target.host_header, config.user_agent
        );
        let https = endpoint.scheme == Scheme::Https;
        let origin = Arc::new(Origin { https, host: target.connect_host, port: target.port });
        let mut route = Route {
            bucket: bucket.map(str::to_owned),
            origin,
            path: target.path,
            constant,
            proxy_authorization: None,
        };
        // An encrypted connection goes through the proxy; a request in clear goes to it (RFC 9112, 3.2.2).
        if let Some(proxy) = config.proxy.as_ref().filter(|_| !https) {
            route.path = format!("http://{}{}", target.host_header, route.path);
            route.proxy_authorization.clone_from(&proxy.authorization);
        }
        route
    }

    /// Begins the head of `request`: everything but the signature and the empty line.
    ///
    /// # Errors
    /// `Forbidden` if a header value holds a byte that could end its line.
    pub(super) fn begin_head(&self, request: &Request<'_>, out: &mut Vec<u8>) -> Result<(), HttpError> {
        out.clear();
        out.extend_from_slice(request.method.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.path.as_bytes());
        encode_path_into(out, request.key.unwrap_or("").as_bytes());
        for (index, (name, value)) in request.query.iter().enumerate() {
            out.push(if index == 0 { b'?' } else { b'&' });
            encode_query_into(out, name.as_bytes());
            if !value.is_empty() {
                out.push(b'=');
                encode_query_into(out, value.as_bytes());
            }
        }
        out.extend_from_slice(self.constant.as_bytes());
        if let Some(authorization) = &self.proxy_authorization {
            write_header(out, "Proxy-Authorization", authorization.expose())?;
        }
        for (name, value) in request.signed.iter().chain(request.plain) {
            write_header(out, name, value)?;
        }
        if matches!(request.method, "PUT" | "POST") {
            let length: usize = request.body.iter().map(|piece| piece.len()).sum();
            out.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use oss_protocol::operation::Operation;

    use super::*;

    fn head(endpoint: &str, request: &Request<'_>) -> String {
        let mut config = ClientConfig::new(Endpoint::parse(endpoint).expect("an endpoint"), "cn-local");
        config.user_agent = "test".to_owned();
        let mut out = Vec::new();
        Routes::new().of(request.bucket, &config).begin_head(request, &mut out).expect("clean headers");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_head_follows_the_addressing_style() {
        let get = Request::new(Operation::GetObject, "GET", Some("b"), Some("a b/ü?#%"));
        let path = "/a%20b/%C3%BC%3F%23%25 HTTP/1.1";
        let rest = "User-Agent: test\r\nAccept-Encoding: identity\r\n";
        assert_eq!(
            head("https://oss-cn-beijing.aliyuncs.com", &get),
            format!("GET {path}\r\nHost: b.oss-cn-beijing.aliyuncs.com\r\n{rest}")
        );
        assert_eq!(
            head("http://127.0.0.1:9000", &get),
            format!("GET /b{path}\r\nHost: 127.0.0.1:9000\r\n{rest}")
        );
    }

    #[test]
    fn a_request_in_clear_names_its_host_to_the_proxy() {
        let get = Request::new(Operation::GetObject, "GET", Some("b"), Some("k"));
        let proxied = |endpoint: &str| {
            let mut config = ClientConfig::new(Endpoint::parse(endpoint).expect("an endpoint"), "cn-local");
            config.proxy = Some(crate::config::Proxy::parse("http://u:p@proxy:3128").expect("a proxy"));
            let mut out = Vec::new();
            let routes = Routes::new();
            assert!(!format!("{routes:?}").contains("Basic"));
            routes.of(get.bucket, &config).begin_head(&get, &mut out).expect("clean headers");
            String::from_utf8(out).expect("text")
        };
        let clear = proxied("http://oss.example:8080");
        assert!(
            clear.starts_with("GET http://b.oss.example:8080/k HTTP/1.1\r\nHost: b.oss.example:8080\r\n")
        );
        assert!(clear.contains("\r\nProxy-Authorization: Basic dTpw\r\n"), "{clear}");
        assert!(!proxied("https://oss.example").contains("Proxy"), "the server behind it is not told");
    }

    #[test]
    fn queries_and_lengths_are_written() {
        let query = [("uploads", ""), ("prefix", "a/b c")];
        let body: [&[u8]; 2] = [b"ab", b"c"];
        let post = Request {
            query: &query,
            body: &body,
            ..Request::new(Operation::PutObject, "POST", Some("b"), None)
        };
        let head = head("http://127.0.0.1:9000", &post);
        assert!(head.starts_with("POST /b/?uploads&prefix=a%2Fb%20c HTTP/1.1\r\n"), "{head}");
        assert!(head.ends_with("Content-Length: 3\r\n"), "{head}");
    }

    #[test]
    fn a_header_cannot_smuggle_another() {
        let signed = [("x-oss-meta-a", "1\r\nx-oss-object-acl: public-read")];
        let put =
            Request { signed: &signed, ..Request::new(Operation::PutObject, "PUT", Some("b"), Some("k")) };
        let config = ClientConfig::new(Endpoint::parse("http://127.0.0.1").expect("an endpoint"), "cn-local");
        assert!(Routes::new().of(Some("b"), &config).begin_head(&put, &mut Vec::new()).is_err());
    }
}
