//! HTTP/1.1 on a loopback port, as far as the stubs need it.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use aws_smithy_runtime_api::client::orchestrator::HttpRequest;

/// A request.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`, `PUT` ….
    pub method: String,
    /// The path and the query, as they were sent.
    pub target: String,
    /// The header fields, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads the next request of a connection; `None` at its end.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or what comes is not HTTP.
    pub fn read(reader: &mut impl BufRead) -> std::io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let mut request = Self { method: word(), target: without_id(&word()), ..Self::default() };
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            request.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        request.body = vec![0; length];
        reader.read_exact(&mut request.body)?;
        Ok(Some(request))
    }

    /// A header field, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

impl From<&HttpRequest> for Request {
    /// A request of the AWS SDK, which is still in memory.
    fn from(request: &HttpRequest) -> Self {
        // The endpoint is not part of the target.
        let target =
            request.uri().splitn(4, '/').nth(3).map_or_else(|| "/".to_owned(), |rest| format!("/{rest}"));
        Self {
            method: request.method().to_owned(),
            target: without_id(&target),
            headers: request
                .headers()
                .iter()
                .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
                .collect(),
            // A body that is no longer in memory is a mistake of the test's, not an empty one.
            body: request.body().bytes().expect("the body is in memory").to_vec(),
        }
    }
}

/// A target without `x-id`, which repeats the name of the operation, and which S3 ignores.
pub fn without_id(target: &str) -> String {
    let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
    let rest: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("x-id=")).collect();
    if rest.is_empty() { path.to_owned() } else { format!("{path}?{}", rest.join("&")) }
}

/// A response.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header fields besides the length.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// Writes the response.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub fn write(&self, writer: &mut impl Write) -> std::io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Status\r\n", self.status);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        // A response without content has no length either.
        if self.status != 204 {
            head += &format!("Content-Length: {}\r\n", self.body.len());
        }
        writer.write_all(&[head.as_bytes(), b"\r\n", &self.body].concat())
    }
}

/// Serves connections, each in a thread of its own, until the program ends; returns the address.
///
/// # Panics
///
/// If there is no free port.
pub fn serve(
    handle: impl Fn(Request, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let handle = Arc::new(handle);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = Arc::clone(&handle);
            // A client that disconnects is no error of the server.
            std::thread::spawn(move || connection(stream, &*handle));
        }
    });
    address
}

fn connection(
    mut stream: TcpStream,
    handle: &dyn Fn(Request, &mut TcpStream) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = Request::read(&mut reader)? {
        handle(request, &mut stream)?;
    }
    Ok(())
}
