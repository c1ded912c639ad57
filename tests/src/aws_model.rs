//! Checks requests against AWS's own models of its services: types, required members, patterns, enumerations, lengths and ranges,
//! and their encoding in each protocol. `extract.py` makes `tests/aws_models/requests.json` from the models of botocore.
//!
//! Every request to a stub is checked here, those of the SDK's clients and those that are signed by hand, in tests of single
//! functions as in the simulation. The host is ignored, since stubs are not at AWS's. The service name of the signature tells the
//! service.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{LazyLock, OnceLock};

use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::http::Request;

static MODELS: LazyLock<Models> = LazyLock::new(|| {
    let file: File = serde_json::from_str(include_str!("../aws_models/requests.json")).unwrap();
    let shapes = file.services.values().flat_map(|service| service.shapes.values());
    let patterns = shapes.filter_map(|shape| shape.pattern.clone());
    let patterns = patterns.map(|pattern| (pattern, OnceLock::new())).collect();
    let services = file.services.into_values();
    Models { services: services.map(|service| (service.signing_name.clone(), service)).collect(), patterns }
});

#[derive(Debug)]
struct Models {
    /// The services by the names that requests are signed for.
    services: HashMap<String, Service>,
    /// Compiled when they are needed: some are large.
    patterns: HashMap<String, OnceLock<Regex>>,
}

/// The regular expression of a pattern in the models, which AWS matches against the whole value.
fn whole(pattern: &str) -> &'static Regex {
    MODELS.patterns[pattern].get_or_init(|| {
        // One looks back whether a hyphen is last, which these expressions cannot; so it takes a little more than AWS does.
        let pattern = pattern.replace("(?<!-)", "");
        RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(1 << 27).build().unwrap()
    })
}

#[derive(Debug, Deserialize)]
struct File {
    services: BTreeMap<String, Service>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Service {
    version: String,
    protocol: Protocol,
    signing_name: String,
    json_version: Option<String>,
    target_prefix: Option<String>,
    operations: BTreeMap<String, Operation>,
    shapes: HashMap<String, Shape>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Protocol {
    Json,
    Query,
    RestJson,
    RestXml,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    method: String,
    uri: String,
    input: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Shape {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    members: BTreeMap<String, Member>,
    member: Option<Member>,
    key: Option<Member>,
    value: Option<Member>,
    payload: Option<String>,
    #[serde(default, rename = "enum")]
    values: Vec<String>,
    pattern: Option<String>,
    min: Option<f64>,
    max: Option<f64>,
    #[serde(default)]
    union: bool,
    #[serde(default)]
    flattened: bool,
    #[serde(default, rename = "streaming")]
    _streaming: bool,
    #[serde(default, rename = "document")]
    document: bool,
    timestamp_format: Option<String>,
    #[serde(default, rename = "jsonvalue")]
    _jsonvalue: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Member {
    shape: String,
    location: Option<String>,
    location_name: Option<String>,
    #[serde(default)]
    flattened: bool,
    #[serde(rename = "timestampFormat")]
    _timestamp_format: Option<String>,
    #[serde(default, rename = "jsonvalue")]
    _jsonvalue: bool,
    #[serde(default, rename = "streaming")]
    _streaming: bool,
}

/// Something about a request that AWS would not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The service and the operation, as far as they are known.
    pub operation: String,
    /// The JSON pointer into the input of the operation; empty for the whole request.
    pub pointer: String,
    /// The problem.
    pub problem: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {}", self.operation, self.pointer, self.problem)
    }
}

/// Header fields of AWS's that belong to signatures and transport, not to the input of an operation.
const TRANSPORT: [&str; 7] = [
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-decoded-content-length",
    "x-amz-security-token",
    "x-amz-target",
    "x-amz-trailer",
    "x-amz-user-agent",
];

/// Header fields that mean something to an operation although they are not AWS's own.
const STANDARD: [&str; 5] =
    ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "range"];

/// Why AWS would refuse a request; usually empty.
///
/// # Panics
///
/// If the file of the models is not readable.
pub fn violations(request: &Request) -> Vec<Violation> {
    let mut check = Check { violations: Vec::new(), operation: request.target.clone() };
    check.request(request);
    check.violations
}

struct Check {
    violations: Vec<Violation>,
    operation: String,
}

impl Check {
    fn say(&mut self, pointer: &str, problem: impl Into<String>) {
        let (operation, pointer) = (self.operation.clone(), pointer.to_owned());
        self.violations.push(Violation { operation, pointer, problem: problem.into() });
    }

    fn request(&mut self, request: &Request) {
        let Some(signed_for) = self.signature(request) else { return };
        let Some(service) = MODELS.services.get(signed_for) else {
            let names: Vec<&String> = MODELS.services.keys().collect();
            return self.say("", format!("it is signed for {signed_for}, which is none of {names:?}"));
        };
        signed_for.clone_into(&mut self.operation);
        let input = match service.protocol {
            Protocol::Json => self.json(service, request),
            Protocol::Query => self.query(service, request),
            Protocol::RestJson | Protocol::RestXml => self.rest(service, request),
        };
        let Some((operation, input)) = input else { return };
        match &operation.input {
            Some(shape) => self.value(service, shape, &input, ""),
            None if input == json!({}) => {}
            None => self.say("", "the operation has no input"),
        }
    }

    /// The name that a request is signed for.
    fn signature<'a>(&mut self, request: &'a Request) -> Option<&'a str> {
        let authorization = request.header("authorization").unwrap_or_default();
        let part = |name: &str| {
            let (_, rest) = authorization.split_once(name)?;
            rest.split(',').next().map(str::trim)
        };
        let scope: Vec<&str> = part("Credential=").unwrap_or_default().split('/').collect();
        let (Some(signed), [_, date, _, service, "aws4_request"]) = (part("SignedHeaders="), &scope[..])
        else {
            self.say("", "it has no signature of version 4");
            return None;
        };
        let signed: Vec<&str> = signed.split(';').collect();
        let unsigned = request.headers.iter().map(|(name, _)| name.as_str());
        for name in unsigned.filter(|name| name.starts_with("x-amz-") && !signed.contains(name)) {
            self.say("", format!("the header field {name} is not signed"));
        }
        if !signed.contains(&"host") {
            self.say("", "the host is not signed");
        }
        if !request.header("x-amz-date").is_some_and(|time| time.starts_with(date)) {
            self.say("", "the signature is of another day than the request");
        }
        if *service == "s3" && request.header("x-amz-content-sha256").is_none() {
            self.say("", "Amazon S3 wants x-amz-content-sha256");
        }
        Some(service)
    }

    fn json<'a>(&mut self, service: &'a Service, request: &Request) -> Option<(&'a Operation, Value)> {
        let target = request.header("x-amz-target").unwrap_or_default();
        let (prefix, name) = target.rsplit_once('.').unwrap_or_default();
        let operation = self.operation(service, name)?;
        if Some(prefix) != service.target_prefix.as_deref() {
            self.say("", format!("the target is {target}, not of {:?}", service.target_prefix));
        }
        let wanted =
            format!("application/x-amz-json-{}", service.json_version.as_deref().unwrap_or_default());
        if request.header("content-type") != Some(&wanted) {
            self.say("", format!("the content type is {:?}, not {wanted}", request.header("content-type")));
        }
        if request.method != "POST" || request.target != "/" {
            self.say("", format!("{} {} instead of POST /", request.method, request.target));
        }
        Some((operation, self.body(request)?))
    }

    fn body(&mut self, request: &Request) -> Option<Value> {
        match serde_json::from_slice(&request.body) {
            Ok(input) => Some(input),
            Err(error) => {
                self.say("", format!("the body is no JSON: {error}"));
                None
            }
        }
    }

    fn operation<'a>(&mut self, service: &'a Service, name: &str) -> Option<&'a Operation> {
        self.operation = format!("{} {name}", service.signing_name);
        let operation = service.operations.get(name);
        if operation.is_none() {
            self.say("", "tests/aws_models/requests.json has no such operation: extract.py adds it");
        }
        operation
    }

    fn query<'a>(&mut self, service: &'a Service, request: &Request) -> Option<(&'a Operation, Value)> {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let mut fields = BTreeMap::new();
        for pair in body.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if fields.insert(decoded(name, true), decoded(value, true)).is_some() {
                self.say("", format!("the field {name} is there twice"));
            }
        }
        let operation = self.operation(service, &fields.remove("Action").unwrap_or_default())?;
        let version = fields.remove("Version");
        if version.as_ref() != Some(&service.version) {
            self.say("", format!("the version is {version:?}, not {}", service.version));
        }
        let content_type = request.header("content-type").unwrap_or_default();
        if !content_type.starts_with("application/x-www-form-urlencoded") {
            self.say("", format!("the content type is {content_type:?}"));
        }
        if request.method != "POST" || request.target != "/" {
            self.say("", format!("{} {} instead of POST /", request.method, request.target));
        }
        let input = match &operation.input {
            Some(shape) => from_fields(service, shape, false, "", &mut fields),
            None => None,
        };
        for name in fields.keys() {
            self.say("", format!("the operation has no field {name}"));
        }
        Some((operation, input.unwrap_or_else(|| json!({}))))
    }

    fn rest<'a>(&mut self, service: &'a Service, request: &Request) -> Option<(&'a Operation, Value)> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let query: Vec<(String, String)> = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decoded(name, false), decoded(value, false)))
            .collect();
        let fitting = service.operations.iter().filter_map(|(name, operation)| {
            let (template, fixed) = operation.uri.split_once('?').unwrap_or((&operation.uri, ""));
            let mut fixed = fixed.split('&').filter(|pair| !pair.is_empty());
            let labels = labels(template, path)?;
            let is_meant = operation.method == request.method
                && fixed.all(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    query.iter().any(|(key, given)| key == name && given == value)
                });
            is_meant.then_some((name, operation, labels))
        });
        // The one that fixes more of the path is meant.
        let found = fitting.max_by_key(|(_, operation, labels)| (operation.uri.len(), labels.len()));
        let Some((name, operation, labels)) = found else {
            self.say(
                "",
                format!("no operation in tests/aws_models/requests.json is {} {path}", request.method),
            );
            return None;
        };
        self.operation = format!("{} {name}", service.signing_name);
        let Some(shape) = operation.input.as_ref().and_then(|input| service.shapes.get(input)) else {
            return Some((operation, json!({})));
        };
        let mut input = Map::new();
        let mut query = query;
        query.retain(|(key, value)| {
            !(key == "x-id" && value == name || operation.uri.contains(&format!("?{key}")))
        });
        let mut headers: Vec<(&str, &str)> =
            request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for (name, member) in &shape.members {
            let on_wire = member.location_name.as_ref().unwrap_or(name);
            let given = match member.location.as_deref() {
                Some("uri") => {
                    labels.iter().find(|(label, _)| label == on_wire).map(|(_, value)| value.clone())
                }
                // A list's elements are there one after another.
                Some("querystring") if service.shapes[&member.shape].kind == "list" => {
                    let element = service.shapes[&member.shape].member.as_ref().unwrap();
                    let given = query.extract_if(.., |(key, _)| key == on_wire);
                    let all: Vec<Value> =
                        given.map(|(_, value)| read(service, &element.shape, value)).collect();
                    if !all.is_empty() {
                        input.insert(name.clone(), all.into());
                    }
                    None
                }
                Some("querystring") => {
                    let mut given = query.extract_if(.., |(key, _)| key == on_wire);
                    let first = given.next().map(|(_, value)| value);
                    if given.next().is_some() {
                        self.say(&format!("/{name}"), "it is in the query twice");
                    }
                    first
                }
                Some("header") => {
                    let mut given = headers.extract_if(.., |(key, _)| key.eq_ignore_ascii_case(on_wire));
                    given.next().map(|(_, value)| value.to_owned())
                }
                Some("headers") => {
                    let prefix = on_wire.to_ascii_lowercase();
                    let given = headers.extract_if(.., |(key, _)| key.starts_with(&prefix));
                    let all: Map<String, Value> =
                        given.map(|(key, value)| (key[prefix.len()..].to_owned(), value.into())).collect();
                    if !all.is_empty() {
                        input.insert(name.clone(), all.into());
                    }
                    None
                }
                _ => None,
            };
            if let Some(given) = given {
                input.insert(name.clone(), read(service, &member.shape, given));
            }
        }
        for (key, _) in &query {
            self.say("", format!("the operation has no parameter {key} in its query"));
        }
        let is_strange =
            |name: &str| name.starts_with("x-amz-") && !TRANSPORT.contains(&name) || STANDARD.contains(&name);
        for (name, _) in headers.iter().filter(|(name, _)| is_strange(name)) {
            self.say("", format!("the operation has no header field {name}"));
        }
        self.rest_body(service, shape, request, &mut input);
        Some((operation, input.into()))
    }

    /// The input in the body of a REST request.
    fn rest_body(
        &mut self,
        service: &Service,
        shape: &Shape,
        request: &Request,
        input: &mut Map<String, Value>,
    ) {
        let has_more = shape.members.values().any(|member| member.location.is_none());
        match &shape.payload {
            Some(payload) => {
                let kind = &service.shapes[&shape.members[payload].shape].kind;
                if !matches!(kind.as_str(), "blob" | "string") {
                    self.say(&format!("/{payload}"), "bodies with a structure are not known here yet");
                } else if !request.body.is_empty() {
                    input.insert(payload.clone(), String::from_utf8_lossy(&request.body).into());
                }
            }
            None if request.body.is_empty() => {}
            None if has_more && service.protocol == Protocol::RestJson => {
                if !request.header("content-type").unwrap_or_default().starts_with("application/json") {
                    self.say("", "the content type is not application/json");
                }
                if let Some(Value::Object(body)) = self.body(request) {
                    input.extend(body);
                }
            }
            None => self.say("", "the operation has no body"),
        }
    }

    fn value(&mut self, service: &Service, name: &str, value: &Value, pointer: &str) {
        let shape = &service.shapes[name];
        let inner = |key: &str| format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
        match (shape.kind.as_str(), value) {
            _ if shape.document => {}
            ("structure", Value::Object(members)) => {
                let is_named = |(_, member): &(&String, &Member), key: &str| {
                    member.location.is_none() && member.location_name.as_deref() == Some(key)
                };
                for (key, value) in members {
                    // Few have another name in a body than in the model.
                    let is_known = |member: &&Member| {
                        let on_wire = member.location_name.as_deref().filter(|_| member.location.is_none());
                        on_wire.is_none_or(|on_wire| on_wire == key)
                    };
                    let known = shape.members.get(key).filter(is_known).or_else(|| {
                        shape.members.iter().find(|member| is_named(member, key)).map(|(_, member)| member)
                    });
                    match known {
                        Some(member) => self.value(service, &member.shape, value, &inner(key)),
                        None => self.say(&inner(key), format!("{name} has no such member")),
                    }
                }
                for missing in shape.required.iter().filter(|required| {
                    let member = &shape.members[*required];
                    let on_wire = member.location_name.as_ref().filter(|_| member.location.is_none());
                    !members.contains_key(on_wire.unwrap_or(required))
                }) {
                    self.say(&inner(missing), "it is required");
                }
                if shape.union && members.len() != 1 {
                    self.say(pointer, format!("{} members of a union", members.len()));
                }
            }
            ("list", Value::Array(values)) => {
                self.range(shape, values.len() as f64, " members", pointer);
                let Some(member) = &shape.member else { return };
                for (index, value) in values.iter().enumerate() {
                    self.value(service, &member.shape, value, &inner(&index.to_string()));
                }
            }
            ("map", Value::Object(entries)) => {
                self.range(shape, entries.len() as f64, " entries", pointer);
                let (Some(key_shape), Some(value_shape)) = (&shape.key, &shape.value) else { return };
                for (key, value) in entries {
                    self.value(service, &key_shape.shape, &key.as_str().into(), &inner(key));
                    self.value(service, &value_shape.shape, value, &inner(key));
                }
            }
            ("string", Value::String(text)) => self.text(shape, text, pointer),
            ("integer" | "long", Value::Number(number)) if number.is_i64() || number.is_u64() => {
                self.range(shape, number.as_f64().unwrap_or_default(), "", pointer);
            }
            ("float" | "double", Value::Number(number)) => {
                self.range(shape, number.as_f64().unwrap_or_default(), "", pointer);
            }
            ("boolean", Value::Bool(_)) => {}
            // Seconds in JSON, a text in a header or a query.
            ("timestamp", Value::Number(_)) if shape.timestamp_format.is_none() => {}
            ("timestamp", Value::String(_)) if service.protocol != Protocol::Json => {}
            ("blob", Value::String(text)) => self.range(shape, text.len() as f64, " bytes", pointer),
            (kind, value) => self.say(pointer, format!("{value} is no {kind}")),
        }
    }

    fn text(&mut self, shape: &Shape, text: &str, pointer: &str) {
        self.range(shape, text.chars().count() as f64, " characters", pointer);
        if !shape.values.is_empty() && !shape.values.iter().any(|value| value == text) {
            self.say(pointer, format!("{text:?} is none of {:?}", shape.values));
        }
        if let Some(pattern) = &shape.pattern
            && !whole(pattern).is_match(text)
        {
            self.say(pointer, format!("{text:?} does not match {pattern}"));
        }
    }

    fn range(&mut self, shape: &Shape, number: f64, of: &str, pointer: &str) {
        if shape.min.is_some_and(|min| number < min) || shape.max.is_some_and(|max| number > max) {
            let (min, max) = (shape.min.unwrap_or_default(), shape.max.unwrap_or(f64::INFINITY));
            self.say(pointer, format!("{number}{of} instead of {min} to {max}"));
        }
    }
}

/// The labels of a path, if it is of a template.
fn labels(template: &str, path: &str) -> Option<Vec<(String, String)>> {
    let mut labels = Vec::new();
    let mut rest = path.trim_start_matches('/');
    for part in template.trim_matches('/').split('/') {
        let label = part.strip_prefix('{').and_then(|label| label.strip_suffix('}'));
        if let Some(label) = label.and_then(|label| label.strip_suffix('+')) {
            labels.push((label.to_owned(), decoded(std::mem::take(&mut rest), false)));
            continue;
        }
        let (segment, after) = rest.split_once('/').unwrap_or((rest, ""));
        match label {
            Some(label) => labels.push((label.to_owned(), decoded(segment, false))),
            None if segment == part => {}
            None => return None,
        }
        rest = after;
    }
    (rest.is_empty() && labels.iter().all(|(_, value)| !value.is_empty())).then_some(labels)
}

/// Parses a text by a shape. A text that does not match remains a text, which the shape refuses.
fn read(service: &Service, shape: &str, text: String) -> Value {
    match service.shapes[shape].kind.as_str() {
        "integer" | "long" => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
        "float" | "double" => text.parse::<f64>().map_or_else(|_| text.into(), Value::from),
        "boolean" => text.parse::<bool>().map_or_else(|_| text.into(), Value::from),
        "list" => text.split(',').map(str::trim).collect(),
        _ => text.into(),
    }
}

/// The members of a shape in the fields of a form, such as `Member.member.1.Name` or `Map.entry.1.key`; removes the fields that
/// it reads.
fn from_fields(
    service: &Service,
    name: &str,
    is_flattened: bool,
    at: &str,
    fields: &mut BTreeMap<String, String>,
) -> Option<Value> {
    let shape = &service.shapes[name];
    let below = |part: &str| if at.is_empty() { part.to_owned() } else { format!("{at}.{part}") };
    let numbered = |part: &str, number: usize| match is_flattened || shape.flattened {
        true => below(&number.to_string()),
        false => below(&format!("{part}.{number}")),
    };
    match shape.kind.as_str() {
        "structure" => {
            let mut members = Map::new();
            for (name, member) in &shape.members {
                let field = below(member.location_name.as_ref().unwrap_or(name));
                if let Some(value) = from_fields(service, &member.shape, member.flattened, &field, fields) {
                    members.insert(name.clone(), value);
                }
            }
            (!members.is_empty()).then(|| members.into())
        }
        "list" => {
            let member = shape.member.as_ref()?;
            let part = member.location_name.as_deref().unwrap_or("member");
            let values: Vec<Value> = (1..)
                .map_while(|number| {
                    from_fields(service, &member.shape, false, &numbered(part, number), fields)
                })
                .collect();
            (!values.is_empty()).then(|| values.into())
        }
        "map" => {
            let (key, value) = (shape.key.as_ref()?, shape.value.as_ref()?);
            let mut entries = Map::new();
            for number in 1.. {
                let at = numbered("entry", number);
                let key_field = format!("{at}.{}", key.location_name.as_deref().unwrap_or("key"));
                let value_field = format!("{at}.{}", value.location_name.as_deref().unwrap_or("value"));
                let Some(key) = fields.remove(&key_field) else { break };
                let value = from_fields(service, &value.shape, false, &value_field, fields);
                entries.insert(key, value.unwrap_or_default());
            }
            (!entries.is_empty()).then(|| entries.into())
        }
        _ => fields.remove(at).map(|text| read(service, name, text)),
    }
}

fn decoded(text: &str, is_form: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%')
            .then(|| after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok()))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        let (byte, after) = match escaped {
            Some(escaped) => (escaped, &after[2..]),
            None if byte == b'+' && is_form => (b' ', after),
            None => (byte, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "application/x-amz-json-1.1";
    const FORM: &str = "application/x-www-form-urlencoded";

    fn signed(service: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Request {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=key/20261126/eu-west-1/{service}/aws4_request, \
             SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-target, Signature=0"
        );
        let own = [
            ("authorization", authorization.as_str()),
            ("x-amz-date", "20261126T030000Z"),
            ("x-amz-content-sha256", "0"),
        ];
        let headers =
            own.iter().chain(headers).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Request {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: headers.collect(),
            body: body.into(),
        }
    }

    fn ecr(operation: &str, body: &str) -> Request {
        let target = format!("AmazonEC2ContainerRegistry_V20150921.{operation}");
        signed("ecr", "POST", "/", &[("content-type", JSON), ("x-amz-target", &target)], body)
    }

    fn message(request: &Request) -> String {
        violations(request).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_aws_would_accept_is_accepted() {
        let name = "x-amz-invocation-type";
        for request in [
            ecr(
                "DescribeImages",
                r#"{"repositoryName":"shop/web","imageIds":[{"imageTag":"v1"}],"maxResults":1000}"#,
            ),
            signed("s3", "GET", "/bucket/a/b%20c.json?versionId=1&x-id=GetObject", &[], ""),
            signed("s3", "GET", "/bucket?list-type=2&prefix=a%2F", &[], ""),
            signed(
                "s3",
                "PUT",
                "/bucket/a",
                &[("if-none-match", "*"), ("content-type", "application/json")],
                "{}",
            ),
            signed("eks", "GET", "/clusters?maxResults=100", &[], ""),
            signed("lambda", "GET", "/2015-03-31/functions?FunctionVersion=ALL&MaxItems=50", &[], ""),
            signed(
                "sns",
                "POST",
                "/",
                &[("content-type", FORM)],
                "Action=Publish&Version=2010-03-31&TopicArn=arn&Message=a+b",
            ),
        ] {
            assert_eq!(message(&request), "");
        }
        let mut invoke =
            signed("lambda", "POST", "/2015-03-31/functions/one/invocations", &[(name, "Event")], "{}");
        invoke.headers[0].1 = invoke.headers[0].1.replace("x-amz-target", name);
        assert_eq!(message(&invoke), "");
    }

    #[test]
    fn what_aws_would_not_accept_is_reported_with_operation_and_pointer() {
        let publish = "Action=Publish&Version=2010-03-31&TopicArn=arn";
        for (request, problem) in [
            (ecr("DescribeImages", "{}"), r#"ecr DescribeImages: "/repositoryName": it is required"#),
            (
                ecr("DescribeImages", r#"{"repositoryName":"Shop"}"#),
                r#""/repositoryName": "Shop" does not match"#,
            ),
            (
                ecr("DescribeImages", r#"{"repositoryName":"a"}"#),
                r#""/repositoryName": 1 characters instead of 2 to 256"#,
            ),
            (
                ecr("DescribeImages", r#"{"repositoryName":"app","maxResults":"5"}"#),
                r#""/maxResults": "5" is no integer"#,
            ),
            (
                ecr("DescribeImages", r#"{"repositoryName":"app","maxResults":1001}"#),
                "1001 instead of 1 to 1000",
            ),
            (
                ecr("DescribeImages", r#"{"repositoryName":"app","sort":1}"#),
                r#""/sort": DescribeImagesRequest has no such"#,
            ),
            (
                ecr(
                    "DescribeImages",
                    r#"{"repositoryName":"app","imageIds":[{"imageTag":"a"},{"imageTag":7}]}"#,
                ),
                r#""/imageIds/1/imageTag": 7 is no string"#,
            ),
            (
                ecr(
                    "UpdateImageStorageClass",
                    r#"{"repositoryName":"app","imageId":{"imageTag":"a"},"targetStorageClass":"COLD"}"#,
                ),
                r#""/targetStorageClass": "COLD" is none of"#,
            ),
            (ecr("DropEverything", "{}"), "no such operation"),
            (
                signed(
                    "ecr",
                    "POST",
                    "/",
                    &[("x-amz-target", "AmazonEC2ContainerRegistry_V20150921.ListImages")],
                    r#"{"repositoryName":"app"}"#,
                ),
                "the content type is None",
            ),
            (
                signed("s3", "DELETE", "/bucket/a", &[("if-none-match", "*")], ""),
                "no header field if-none-match",
            ),
            (
                signed("s3", "PUT", "/bucket/a", &[("x-amz-colour", "red")], ""),
                "no header field x-amz-colour",
            ),
            (signed("s3", "PUT", "/bucket/a", &[("x-amz-colour", "red")], ""), "x-amz-colour is not signed"),
            (signed("s3", "GET", "/bucket?list-type=2&prefx=a", &[], ""), "no parameter prefx"),
            (signed("s3", "PATCH", "/bucket/a", &[], ""), "no operation in"),
            (
                signed("eks", "GET", "/clusters?maxResults=101", &[], ""),
                r#""/maxResults": 101 instead of 1 to 100"#,
            ),
            (
                signed("lambda", "GET", "/2015-03-31/functions?MaxItems=all", &[], ""),
                r#""/MaxItems": "all" is no integer"#,
            ),
            (signed("sns", "POST", "/", &[("content-type", FORM)], publish), r#""/Message": it is required"#),
            (
                signed(
                    "sns",
                    "POST",
                    "/",
                    &[("content-type", FORM)],
                    &format!("{publish}&Message=a&Topic=b"),
                ),
                "no field Topic",
            ),
            (signed("kms", "POST", "/", &[], ""), "signed for kms"),
            (Request::default(), "no signature"),
        ] {
            let message = message(&request);
            assert!(message.contains(problem), "{message:?} instead of {problem:?}");
        }
    }
}
