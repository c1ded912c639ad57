//! Faults on demand: calls that fail, hang, are cut off, or have their effect without an answer.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Answered, Registry};
use crate::cloud::Cloud;
use crate::http::Response;

/// The status of a response that is to be cut off; ECR has none such.
pub(super) const CUT: u16 = 299;

/// A fault of a call.
#[derive(Debug, Clone)]
pub enum Fault {
    /// `ThrottlingException`.
    Throttled,
    /// `ServerException`.
    ServerError,
    /// A 503 with a page instead of JSON, as a load balancer answers.
    Unavailable,
    /// `AccessDeniedException`.
    Denied,
    /// An error of this type and message.
    Error(&'static str, &'static str),
    /// No answer, ever.
    Hang,
    /// Half of the answer, then the end of the connection.
    Cut,
    /// The answer, so much later.
    Slow(Duration),
    /// The call has its effect, and this is the answer.
    AfterEffect(Box<Fault>),
    /// The call succeeds, and then the world is changed by this function.
    Then(fn(&mut Registry, &mut Cloud)),
    /// `BatchDeleteImage` and `BatchGetImage` fail for images whose digest or tag contains this text, with `KmsError`.
    ForImages(&'static str),
    /// The answer leaves out images whose digest contains this text, and of other lists what contains it.
    Silent(&'static str),
}

#[derive(Debug)]
pub(super) struct PlannedFault {
    pub(super) operation: &'static str,
    pub(super) fault: Fault,
    /// The number of calls that succeed before.
    pub(super) after: usize,
    /// The number of calls that fail; `None` for all.
    pub(super) left: Option<usize>,
    /// A text that the path of the call, or of ECR's the request, has to contain; empty for every call.
    pub(super) path: &'static str,
}

/// Carries an answer over a connection.
pub(super) fn carry(response: Option<Response>, stream: &mut TcpStream) -> std::io::Result<()> {
    match response {
        None => {
            // Until the client has had enough.
            std::thread::sleep(Duration::from_secs(60));
            Err(std::io::ErrorKind::TimedOut.into())
        }
        // A response that is cut off says how long it would have been.
        Some(response) if response.status == CUT => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", response.body.len());
            let half = response.body.get(..response.body.len() / 2).unwrap_or_default();
            stream.write_all(&[head.as_bytes(), half].concat())?;
            Err(std::io::ErrorKind::ConnectionAborted.into())
        }
        Some(response) => response.write(stream),
    }
}

pub(super) fn respond(answered: Answered) -> Response {
    let (status, body) = match answered {
        Ok(body) => (200, body),
        Err((kind, message)) => {
            let status = if kind == "ServerException" { 500 } else { 400 };
            (status, json!({ "__type": kind, "message": message }))
        }
    };
    let headers = vec![
        ("Content-Type".to_owned(), "application/x-amz-json-1.1".to_owned()),
        ("x-amzn-RequestId".to_owned(), "stub".to_owned()),
    ];
    Response { status, headers, body: body.to_string().into_bytes() }
}

/// The statuses of errors in REST APIs, where others have codes.
pub(super) fn in_rest(operation: &str, fault: &Fault, mut answer: Response) -> Response {
    match fault {
        Fault::Throttled | Fault::Denied | Fault::ServerError if operation.contains("Object") => {
            let (status, code) = match fault {
                Fault::Throttled => (503, "SlowDown"),
                Fault::Denied => (403, "AccessDenied"),
                _ => (500, "InternalError"),
            };
            // An answer to HEAD has no content.
            let body = format!("<Error><Code>{code}</Code><Message>{code} of the stub</Message></Error>");
            let body = if operation == "HeadObject" { Vec::new() } else { body.into_bytes() };
            let headers = vec![("Content-Type".to_owned(), "application/xml".to_owned())];
            answer = Response { status, headers, body };
        }
        Fault::Throttled => {
            answer.status = 503;
            answer.headers.push(("x-amzn-ErrorType".to_owned(), "TooManyRequestsException".to_owned()));
        }
        Fault::Denied => {
            answer.status = 403;
            answer.headers.push(("x-amzn-ErrorType".to_owned(), "AccessDeniedException".to_owned()));
        }
        _ => {}
    }
    answer
}

/// The answer with a fault; `None` for no answer.
pub(super) fn faulty(fault: &Fault, answer: Response) -> Option<Response> {
    match fault {
        Fault::Throttled => Some(respond(Err(("ThrottlingException", "Rate exceeded".to_owned())))),
        Fault::ServerError => Some(respond(Err(("ServerException", "Service failure".to_owned())))),
        Fault::Denied => Some(respond(Err((
            "AccessDeniedException",
            "User: arn:aws:sts::123456789012:assumed-role/stub is not authorized".to_owned(),
        )))),
        Fault::Error(kind, message) => Some(respond(Err((kind, (*message).to_owned())))),
        Fault::Unavailable => Some(Response {
            status: 503,
            headers: vec![("Content-Type".to_owned(), "text/html".to_owned())],
            body: b"<html>Service Unavailable</html>".to_vec(),
        }),
        Fault::Cut => Some(Response { status: CUT, ..answer }),
        Fault::Hang => None,
        Fault::Slow(pause) => {
            std::thread::sleep(*pause);
            Some(answer)
        }
        Fault::AfterEffect(fault) => faulty(fault, answer),
        Fault::ForImages(_) | Fault::Silent(_) | Fault::Then(_) => Some(answer),
    }
}

/// An answer without its images whose digest contains a text, and without what contains it in any other list.
pub(super) fn without(mut answer: Value, text: &str) -> Value {
    for (name, list) in answer.as_object_mut().into_iter().flatten() {
        let Some(list) = list.as_array_mut() else { continue };
        list.retain(|element| match name.as_str() {
            "images" => !element["imageId"]["imageDigest"].to_string().contains(text),
            _ => !element.to_string().contains(text),
        });
    }
    answer
}
