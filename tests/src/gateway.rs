//! An API Gateway HTTP API with a Lambda integration, payload format 2.0.

use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use crate::http::{self, Request, Response};
use crate::runtime_api::Function;

/// The principal that signs the requests.
pub const CALLER: &str = "arn:aws:sts::123456789012:assumed-role/ops/ana";

/// The event of a request.
///
/// # Panics
///
/// When the body is not UTF-8.
pub fn event(request: &Request) -> Value {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut parameters = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decoded(name, true), decoded(value, true));
        // The gateway joins the values of a parameter that is there more than once.
        let joined = match parameters.get(&name).and_then(Value::as_str) {
            Some(before) => format!("{before},{value}"),
            None => value,
        };
        parameters.insert(name, joined.into());
    }
    let path = decoded(path, false);
    let headers: Map<String, Value> =
        request.headers.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let http = json!({
        "method": request.method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "test",
    });
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "headers": headers,
        "requestContext": {
            "accountId": "123456789012", "apiId": "api", "authorizer": { "iam": { "userArn": CALLER } }, "domainName": "api.execute-api.eu-west-1.amazonaws.com",
            "domainPrefix": "api", "http": http, "requestId": "request", "routeKey": "$default", "stage": "$default",
            "time": "23/Nov/2026:00:00:00 +0000", "timeEpoch": 1_795_392_000_000_u64,
        },
        "isBase64Encoded": false,
    });
    if !parameters.is_empty() {
        event["queryStringParameters"] = parameters.into();
    }
    match std::str::from_utf8(&request.body) {
        Ok("") => {}
        Ok(text) => event["body"] = text.into(),
        Err(_) => {
            event["body"] = base64(&request.body).into();
            event["isBase64Encoded"] = true.into();
        }
    }
    event
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: Value,
    /// The body; null when it is empty.
    pub body: Value,
}

impl Answer {
    /// Asserts that this is a problem of a kind; gives its detail.
    ///
    /// # Panics
    ///
    /// When it is something else.
    #[track_caller]
    pub fn problem(&self, status: u16, kind: &str) -> String {
        let detail = self.body["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.body["status"], status);
        assert_eq!(self.body["type"], format!("urn:ecr-steward:problem:{kind}"), "{detail}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert!(!self.body["title"].as_str().unwrap().is_empty() && !detail.is_empty());
        detail
    }
}

/// Asks a function; a null is no body.
///
/// # Panics
///
/// When the answer is none of HTTP.
pub fn ask(function: &Function, method: &str, target: &str, body: &Value) -> Answer {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request =
        Request { method: method.to_owned(), target: target.to_owned(), body, ..Request::default() };
    let answer = function.invoke(event(&request).to_string()).response();
    Answer {
        status: u16::try_from(answer["statusCode"].as_u64().unwrap()).unwrap(),
        headers: answer["headers"].clone(),
        body: answer["body"].as_str().map_or(Value::Null, |body| serde_json::from_str(body).unwrap()),
    }
}

/// The escapes of a URL resolved, as the gateway does it.
fn decoded(text: &str, is_query: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let escaped = (byte == b'%').then(|| {
            let mut ahead = rest.clone();
            let digits = [ahead.next()?, ahead.next()?];
            let value = u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
            rest = ahead;
            Some(value)
        });
        bytes.push(match (escaped.flatten(), byte) {
            (Some(value), _) => value,
            (None, b'+') if is_query => b' ',
            (None, byte) => byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().chain([&0, &0]).take(3).fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte));
        for position in 0..4 {
            let index = bits >> (18 - 6 * position) & 63;
            text.push(if position <= chunk.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}

/// The response that a function's answer is.
///
/// # Panics
///
/// When it is none.
pub fn response(answer: &Value) -> Response {
    let headers = answer["headers"].as_object().into_iter().flatten();
    Response {
        status: u16::try_from(answer["statusCode"].as_u64().unwrap()).unwrap(),
        headers: headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect(),
        body: answer["body"].as_str().unwrap_or_default().as_bytes().to_vec(),
    }
}

/// Starts a gateway before functions, each for the paths with a prefix, and returns its address. It refuses unsigned requests,
/// and accepts any signature.
pub fn serve(functions: Vec<(&'static str, Function)>) -> String {
    let functions: Vec<(&str, Mutex<Function>)> =
        functions.into_iter().map(|(paths, function)| (paths, Mutex::new(function))).collect();
    http::serve(move |request, stream| {
        let refuse = |status: u16, body: &str| {
            let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
            Response { status, headers, body: body.as_bytes().to_vec() }
        };
        if !request.header("authorization").is_some_and(|value| value.starts_with("AWS4-HMAC-SHA256 ")) {
            return refuse(403, r#"{"message":"Forbidden"}"#).write(stream);
        }
        let Some((_, function)) = functions.iter().find(|(paths, _)| request.target.starts_with(paths))
        else {
            return refuse(404, r#"{"message":"Not Found"}"#).write(stream);
        };
        let answer = {
            let function = function.lock().unwrap_or_else(PoisonError::into_inner);
            function.invoke(event(&request).to_string()).response()
        };
        response(&answer).write(stream)
    })
}
