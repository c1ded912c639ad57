//! Recognizes files of another kind than the expected one: output of the AWS CLI, a template, a program, a web page. The message
//! then names what the file is and what to do, instead of its first unexpected character.

use std::fmt;

use crate::domain::text::finding::{Code, Finding, quoted};
use crate::domain::text::plain_words::line_of;
use crate::domain::text::syntax::Node;

/// The kind of document that is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A lifecycle policy.
    Policy,
    /// A listing of images.
    Images,
    /// A list of images in use.
    InUse,
}

/// What a text is instead of the expected document, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognized {
    what: String,
    remedy: String,
}

impl fmt::Display for Recognized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is {}; {}", self.what, self.remedy)
    }
}

impl Recognized {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }

    /// The finding about a document that is this.
    pub(crate) fn finding(&self) -> Finding {
        Finding::new(Code::WrongDocument, "", self.to_string())
    }
}

const JSON_OUTPUT: &str = "have the AWS CLI print JSON: add `--output json`";
const POLICY_TEXT: &str = "write the policy itself into a file: what `LifecyclePolicyText` or `policy` holds there, which \
                           `aws ecr get-lifecycle-policy` prints once it is deployed";

/// The remedy where a policy was found and something else is wanted, or the other way round.
const fn place_of_policy(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Policy => "write the policy itself",
        Wanted::Images => {
            "name it with `--policy`; here the images belong, as `aws ecr describe-images` prints them"
        }
        Wanted::InUse => "name it with `--policy`; here belongs a JSON array of image references",
    }
}

const fn place_of_images(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Policy => "`preview` takes it with `--images`; here a lifecycle policy belongs",
        Wanted::Images => "write it as it was printed",
        Wanted::InUse => "name it with `--images`; here belongs a JSON array of image references",
    }
}

/// Characters that no editor shows: zero-width spaces and joiners, marks of direction, a soft hyphen.
const INVISIBLE: [char; 8] =
    ['\u{ad}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{2060}', '\u{feff}'];

/// Recognizes a text that is neither JSON nor one of this project's YAML files.
pub(crate) fn text(text: &str, wanted: Wanted) -> Option<Recognized> {
    let text = text.trim_start();
    if let Some(invisible) = text.chars().next().filter(|first| INVISIBLE.contains(first)) {
        let what = format!("text that begins with an invisible character, U+{:04X}", u32::from(invisible));
        return Some(Recognized::new(
            what,
            "remove it, or copy the text again without what stands before it",
        ));
    }
    let first = text.lines().next().unwrap_or_default().trim_end();
    let lower = first.to_ascii_lowercase();
    let begins = |beginnings: &[&str]| beginnings.iter().any(|beginning| first.starts_with(beginning));
    let has_line =
        |beginnings: &[&str]| text.lines().any(|line| beginnings.iter().any(|start| line.starts_with(start)));
    if has_line(&["<<<<<<< ", ">>>>>>> "]) {
        return Some(Recognized::new(
            "a file with a merge conflict",
            "settle the lines between `<<<<<<<` and `>>>>>>>`",
        ));
    }
    if begins(&["version https://git-lfs.github.com"]) {
        return Some(Recognized::new("a pointer of Git LFS", "fetch the file itself: git lfs pull"));
    }
    if lower.starts_with("<!doctype html") || lower.starts_with("<html") {
        return Some(Recognized::new("a web page", "download the file itself, not the page that shows it"));
    }
    if begins(&["<?xml", "<Error", "<ErrorResponse"]) {
        return Some(Recognized::new(
            "XML",
            "write it as JSON; if it is an error of AWS, it says what went wrong",
        ));
    }
    if begins(&[
        "An error occurred (",
        "aws: error",
        "aws: [ERROR]",
        "usage: aws",
        "Unable to locate credentials",
        "Error: ",
        "error: ",
        "Error from server",
    ]) || lower.starts_with("could not connect to the endpoint")
        || lower.starts_with("error loading sso token")
    {
        let what = format!("an error message, {}", quoted(first));
        return Some(Recognized::new(what, "run the command again once it works"));
    }
    let is_rule = |line: &str| line.len() > 9 && line.bytes().all(|b| matches!(b, b'-' | b'+' | b'|' | b'='));
    if is_rule(first) {
        return Some(Recognized::new("a table of the AWS CLI", JSON_OUTPUT));
    }
    if first
        .split_once('\t')
        .is_some_and(|(word, _)| word.len() > 3 && word.bytes().all(|byte| byte.is_ascii_uppercase()))
        || (first.contains('\t') && (first.contains("sha256:") || first.contains("{\"rules\"")))
            && !first.starts_with(['{', '['])
    {
        return Some(Recognized::new("text output of the AWS CLI", JSON_OUTPUT));
    }
    // NAME  READY  STATUS, or with the namespace first.
    let mut headings = first.split_whitespace();
    if begins(&["NAME ", "NAMESPACE "])
        && first.contains("  ")
        && headings.all(|heading| heading.bytes().all(|b| b.is_ascii_uppercase() || b"-()".contains(&b)))
    {
        return Some(Recognized::new("a table of kubectl", "have kubectl print JSON: add `--output json`"));
    }
    if begins(&["eyJ", "ewog", "ewoJ", "cnVsZXM6"])
        && text
            .split_whitespace()
            .all(|line| line.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=-_".contains(&b)))
    {
        return Some(Recognized::new("text encoded as base64", "decode it first: base64 -d FILE"));
    }
    if begins(&["AWSTemplateFormatVersion:"]) || (has_line(&["Resources:"]) && text.contains("Type: AWS::")) {
        let remedy = if wanted == Wanted::Policy { POLICY_TEXT } else { "name another file" };
        return Some(Recognized::new("a CloudFormation template", remedy));
    }
    if wanted != Wanted::Policy && (has_line(&["apiVersion:"]) && has_line(&["kind:"])) {
        let remedy = match wanted {
            Wanted::InUse => "have kubectl print JSON: kubectl get pods --all-namespaces --output json",
            _ => {
                "name what clusters run with `--in-use`; here the images belong, as `aws ecr describe-images` prints them"
            }
        };
        return Some(Recognized::new("Kubernetes manifests in YAML", remedy));
    }
    if wanted != Wanted::Policy && has_line(&["services:"]) && text.contains("image:") {
        let remedy = match wanted {
            Wanted::InUse => {
                "write the images as a JSON array: docker compose config --images | jq -R . | jq -s ."
            }
            _ => "here the images belong, as `aws ecr describe-images` prints them",
        };
        return Some(Recognized::new("a file of Docker Compose", remedy));
    }
    if wanted != Wanted::Policy && has_line(&["policies:"]) {
        return Some(Recognized::new("a policies file", place_of_policy(wanted)));
    }
    if wanted != Wanted::Policy
        && begins(&[
            "imageDetails:",
            "- imageDetails:",
            "- imageDigest:",
            "- artifactMediaType:",
            "- imageManifestMediaType:",
            "- imagePushedAt:",
            "nextToken:",
        ])
    {
        return Some(Recognized::new("YAML output of the AWS CLI", JSON_OUTPUT));
    }
    if begins(&["-----BEGIN "]) {
        return Some(Recognized::new("a key or a certificate", "name another file"));
    }
    if let Some(program) = program(text, first) {
        return Some(Recognized::new(program, POLICY_TEXT));
    }
    if wanted == Wanted::Policy && begins(&["imageDetails:", "- imageDigest:"]) {
        return Some(Recognized::new("an image listing", place_of_images(wanted)));
    }
    if let Some(line) = before_json(text) {
        let what = format!("text before JSON, {}", quoted(first));
        let remedy = format!(
            "the JSON begins in line {line}: leave out what stands before it, as by sending standard output alone into the file"
        );
        return Some(Recognized::new(what, remedy));
    }
    if wanted == Wanted::InUse {
        let mut words = text.split_whitespace();
        let are_references =
            words.all(|word| word.parse::<crate::domain::image::reference::ImageReference>().is_ok());
        if are_references && !text.starts_with(['[', '{', '"']) {
            return Some(Recognized::new(
                "a list of image references without JSON around it",
                "make a JSON array of them: tr -s ' ' '\\n' < FILE | jq -R . | jq -s .",
            ));
        }
    }
    let is_section =
        |line: &str| line.starts_with('[') && line.ends_with(']') && !line.contains([',', '"', '{', ':']);
    if is_section(first) && text.lines().skip(1).any(|line| line.contains(" = ") && !line.contains(':')) {
        return Some(Recognized::new("TOML", "write it as YAML or JSON"));
    }
    if text.contains("{{") && text.contains("}}") {
        return Some(Recognized::new("a template with `{{ … }}`", "render it first"));
    }
    let is_header =
        first.split(',').all(|word| word.len() > 2 && word.bytes().all(|b| b.is_ascii_alphabetic()));
    let commas = first.matches(',').count();
    if (commas >= 2 || (commas == 1 && is_header)) && !first.contains(['{', '[', '"', ':']) {
        return Some(Recognized::new("a table of comma-separated values", "write it as JSON"));
    }
    None
}

/// The kind of program that a text is.
fn program(text: &str, first: &str) -> Option<&'static str> {
    const HCL: [&str; 8] =
        ["resource ", "data ", "variable ", "locals ", "module ", "terraform ", "provider ", "output "];
    let is_block =
        |line: &str| HCL.iter().any(|word| line.starts_with(word)) && line.trim_end().ends_with('{');
    if text.lines().any(is_block) {
        return Some("a Terraform source");
    }
    if text.lines().any(|line| line.trim_start().starts_with("jsonencode(") || line.contains("= jsonencode("))
    {
        return Some("a Terraform source");
    }
    let lines = || text.lines().take(60);
    let is_script = |line: &str| {
        (line.starts_with("import ")
            && (line.contains(" from ") || line.ends_with(';') || !line.contains(':')))
            || (line.starts_with("from ") && line.contains(" import "))
            || line.starts_with("const ")
            || line.starts_with("export ")
            || line.starts_with("using ")
            || (line.starts_with("package ") && !line.contains(':'))
            || line.starts_with("def ")
            || (line.starts_with("public ") && !line.contains(':'))
    };
    if lines().any(is_script) {
        let is_pulumi = text.contains("pulumi") || text.contains("awsx");
        let is_cdk = text.contains("aws-cdk") || text.contains("aws_cdk");
        return Some(match (is_pulumi, is_cdk) {
            (true, _) => "a Pulumi program",
            (_, true) => "a CDK program",
            _ => "a program",
        });
    }
    if first.starts_with("#!") {
        return Some("a script");
    }
    if first.starts_with("FROM ") {
        return Some("a Dockerfile");
    }
    None
}

/// The line, from 1, at which JSON begins after other text.
fn before_json(text: &str) -> Option<usize> {
    // A comma is left between values that stand one after another.
    if text.starts_with(['{', '[', '"', ',']) {
        return None;
    }
    let mut at = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        let start = at + line.len() - line.trim_start().len();
        at += line.len();
        if line.trim_start().starts_with(['{', '['])
            && let Some(rest) = text.get(start..)
            && serde_json::Deserializer::from_str(rest)
                .into_iter::<serde::de::IgnoredAny>()
                .next()
                .is_some_and(|value| value.is_ok())
        {
            return Some(number);
        }
        // A prompt ends where the JSON begins, on one line.
        if let Some((_, json)) = line.split_once(": {")
            && number == 1
            && !json.trim().is_empty()
            && line.starts_with("Enter ")
        {
            return Some(number);
        }
        if number > 50 {
            return None;
        }
    }
    None
}

/// Recognizes a value of another kind than the expected one.
pub(crate) fn node(node: &Node, wanted: Wanted) -> Option<Recognized> {
    match node {
        Node::List(items) => list(items, wanted),
        Node::Object(fields) => object(fields, wanted),
        Node::Text(text) if wanted == Wanted::Policy && !text.is_empty() => {
            let what = format!("a text, {}", quoted(text));
            Some(Recognized::new(what, "a policy is an object with `rules`"))
        }
        _ => None,
    }
}

fn list(items: &[Node], wanted: Wanted) -> Option<Recognized> {
    let first = items.first()?;
    match first {
        Node::List(_) if wanted != Wanted::InUse => Some(Recognized::new(
            "a list of rows that `--query` picked",
            "have the AWS CLI print whole objects: leave `--query` out",
        )),
        Node::Text(_) if wanted == Wanted::Images => Some(Recognized::new(
            "a list of texts",
            "the images are what `aws ecr describe-images` prints, without `--query`; references in use go with `--in-use`",
        )),
        Node::Text(_) if wanted == Wanted::Policy => {
            Some(Recognized::new("a list of texts", "a policy is an object with `rules`"))
        }
        Node::Object(fields) => {
            let has = |name: &str| has(fields, name);
            if wanted == Wanted::Policy && has("selection") && (has("action") || has("rulePriority")) {
                return Some(Recognized::new("a list of rules", "write {\"rules\": […]} around it"));
            }
            if wanted == Wanted::Policy && has("selection") {
                let remedy = "write `rules:` before it, or {\"rules\": […]} around it";
                return Some(Recognized::new("a list of rules", remedy));
            }
            if wanted == Wanted::Policy && has("rules") {
                let what = format!("a list of {} policies, as `jq -s` makes one", items.len());
                return Some(Recognized::new(what, "write each into a file of its own: jq '.[0]'"));
            }
            if has("imageDigest") && has("imageTag") && !has("imagePushedAt") {
                return Some(image_ids());
            }
            if has("imageDigest") && wanted != Wanted::Images {
                return Some(Recognized::new("an image listing", place_of_images(wanted)));
            }
            if has("repositoryArn") {
                return Some(repositories());
            }
            object(fields, wanted)
        }
        _ => None,
    }
}

fn image_ids() -> Recognized {
    Recognized::new(
        "what `aws ecr list-images` prints, which does not say when images were pushed",
        "list them with `aws ecr describe-images`",
    )
}

fn repositories() -> Recognized {
    Recognized::new(
        "a list of repositories, as `aws ecr describe-repositories` prints it",
        "list the images of each with `aws ecr describe-images --repository-name …`",
    )
}

/// Whether there is a field of this name. AWS's SDKs begin names with a capital letter.
fn has(fields: &[(String, Node)], name: &str) -> bool {
    fields.iter().any(|(key, _)| {
        key == name
            || (key.len() == name.len()
                && key.is_char_boundary(1)
                && name.is_char_boundary(1)
                && key.get(1..) == name.get(1..)
                && key.eq_ignore_ascii_case(name))
    })
}

fn object(fields: &[(String, Node)], wanted: Wanted) -> Option<Recognized> {
    let has = |name: &str| has(fields, name);
    let text_of = |name: &str| {
        fields.iter().find(|(key, _)| key == name).and_then(|(_, value)| match value {
            Node::Text(text) => Some(text.as_str()),
            _ => None,
        })
    };
    let is_resource = |kind: &str| {
        fields.iter().any(|(key, value)| {
            let Node::Object(resources) = value else { return false };
            key == "Resources"
                && resources.iter().any(|(_, resource)| {
                    matches!(resource, Node::Object(fields) if fields.iter().any(|(key, value)| {
                        key == "Type" && matches!(value, Node::Text(text) if text.starts_with(kind))
                    }))
                })
        })
    };
    let first_of = |name: &str| {
        fields.iter().find(|(key, _)| key == name).and_then(|(_, value)| match value {
            Node::List(items) => items.iter().find_map(|item| match item {
                Node::Object(fields) => Some(fields.as_slice()),
                _ => None,
            }),
            _ => None,
        })
    };
    if first_of("policies").is_some_and(|first| {
        first.iter().any(|(key, value)| {
            key == "resource"
                && matches!(value, Node::Text(text) if text.starts_with("aws.") || text.as_str() == "ecr")
        })
    }) {
        return Some(Recognized::new(
            "a file of Cloud Custodian",
            "write the `rules` of `set-lifecycle` into a file of their own, or a policies file with `ecr-steward suggest --all`",
        ));
    }
    if ["clusters", "task_definitions", "lambda_functions", "repositories"]
        .iter()
        .any(|name| first_of(name).is_some_and(|first| self::has(first, "name_pattern")))
    {
        return Some(Recognized::new(
            "a configuration of ecrm",
            "a policies file says the same in other words; `ecr-steward suggest --all` writes one to begin with",
        ));
    }
    if wanted == Wanted::InUse
        && fields.iter().any(|(key, value)| {
            key == "services"
                && matches!(value, Node::Object(services) if services.iter().any(|(_, service)| {
                    matches!(service, Node::Object(fields) if self::has(fields, "image") || self::has(fields, "build"))
                }))
        })
    {
        return Some(Recognized::new(
            "a file of Docker Compose",
            "write the images as a JSON array: docker compose config --images | jq -R . | jq -s .",
        ));
    }
    if has("awsTemplateFormatVersion") || is_resource("AWS::") || is_resource("Custom::") {
        return Some(Recognized::new("a CloudFormation template", POLICY_TEXT));
    }
    if has("terraform_version") || has("planned_values") || has("resource_changes") {
        return Some(Recognized::new("a state or a plan of Terraform", POLICY_TEXT));
    }
    if has("resource") && (has("provider") || has("terraform") || fields.len() == 1) {
        return Some(Recognized::new("a Terraform source in JSON", POLICY_TEXT));
    }
    if has("deployment") && has("version") {
        return Some(Recognized::new("a state of Pulumi", POLICY_TEXT));
    }
    if has("runtime") && has("name") {
        return Some(Recognized::new("a Pulumi project", POLICY_TEXT));
    }
    if let (Some(_), Some(kind)) = (text_of("apiVersion"), text_of("kind")) {
        let what = format!("a Kubernetes manifest of the kind {}", quoted(kind));
        let remedy = match wanted {
            Wanted::Policy => POLICY_TEXT,
            Wanted::Images => {
                "name what clusters run with `--in-use`; here the images belong, as `aws ecr describe-images` prints them"
            }
            Wanted::InUse => "name what `kubectl get pods --all-namespaces --output json` prints",
        };
        return Some(Recognized::new(what, remedy));
    }
    if has("RepoDigests") || has("RepoTags") {
        return Some(Recognized::new(
            "what `docker inspect` prints",
            "list what containers run: docker ps --format '{{json .Image}}' | jq -s .",
        ));
    }
    if has("Tags") && has("Repository") {
        return Some(Recognized::new(
            "a list of tags, as `skopeo list-tags` prints it",
            "list the images with `aws ecr describe-images`, which says when each was pushed",
        ));
    }
    if wanted == Wanted::Images && has("name") && has("tags") && fields.len() == 2 {
        return Some(Recognized::new(
            "a list of tags, as a registry's own API has it",
            "list the images with `aws ecr describe-images`, which says when each was pushed",
        ));
    }
    if wanted == Wanted::Images
        && let Some((key, _)) = fields
            .iter()
            .find(|(_, value)| matches!(value, Node::Object(inner) if self::has(inner, "imageDetails")))
    {
        return Some(Recognized::new(
            format!("an image listing inside of {}", quoted(key)),
            "take it out: jq '.[]'",
        ));
    }
    if has("bomFormat") || has("spdxVersion") {
        return Some(Recognized::new("an SBOM", "name another file"));
    }
    if has("Statement") {
        return Some(Recognized::new(
            "a policy of IAM, which says who may do what",
            "a lifecycle policy has `rules`; `aws ecr get-lifecycle-policy` prints one",
        ));
    }
    if has("schemaVersion") && (has("manifests") || has("layers") || has("fsLayers")) {
        return Some(Recognized::new("the manifest of an image", "name another file"));
    }
    if has("repositories") && fields.iter().any(|(_, value)| matches!(value, Node::List(items) if matches!(items.first(), Some(Node::Object(first)) if self::has(first, "repositoryArn") || self::has(first, "repositoryName")))) {
        return Some(repositories());
    }
    if has("imageIds") && !has("imageDetails") {
        return Some(image_ids());
    }
    if has("imageDetails") && wanted != Wanted::Images {
        return Some(Recognized::new("an image listing", place_of_images(wanted)));
    }
    if wanted != Wanted::Policy && (has("lifecyclePolicyText") || has("rules") || has("lifecyclePolicy")) {
        return Some(Recognized::new("a lifecycle policy", place_of_policy(wanted)));
    }
    if has("previewResults") {
        return Some(Recognized::new("a preview of a lifecycle policy", place_of_images(Wanted::Images)));
    }
    if has("policies") && wanted != Wanted::Policy {
        return Some(Recognized::new("a policies file", place_of_policy(wanted)));
    }
    if has("detail-type") || has("Records") {
        return Some(Recognized::new("an event", "name another file"));
    }
    if wanted == Wanted::InUse
        && (has("tasks") || has("taskDefinition") || has("services") || has("Functions"))
    {
        return Some(Recognized::new(
            "what the AWS CLI prints of ECS or Lambda",
            "`ecr-steward in-use` asks both, and prints the list that belongs here",
        ));
    }
    if has("__type") || has("Error") || ((has("message") || has("code")) && fields.len() <= 3) {
        let message = ["message", "Message", "__type", "code"].into_iter().find_map(text_of);
        let what = message
            .map_or("an error answer".to_owned(), |message| format!("an error answer, {}", quoted(message)));
        return Some(Recognized::new(what, "ask again once it works"));
    }
    None
}

/// Why bytes are no text that is read here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotText {
    /// The bytes are packed.
    #[error("it is packed by {by}; unpack it first: {command}")]
    Packed {
        /// The program that packed it.
        by: &'static str,
        /// The command that unpacks it.
        command: &'static str,
    },
    /// The bytes are of UTF-16 and do not say in which order.
    #[error("it is UTF-16 without a byte order mark; write it as UTF-8: iconv -f {name} -t UTF-8")]
    Utf16 {
        /// What iconv calls the order of the bytes.
        name: &'static str,
    },
    /// The bytes are those of a program, a picture or an archive.
    #[error("it is binary data and no text; name another file")]
    Binary,
    /// The bytes are of UTF-32.
    #[error("it is UTF-32; write it as UTF-8: iconv -f UTF-32 -t UTF-8")]
    Utf32,
    /// A byte is part of no character of UTF-8.
    #[error("line {line}, byte {byte}: it is not UTF-8 text{hint}", hint = nearby.hint())]
    NotUtf8 {
        /// The line, from 1.
        line: usize,
        /// The byte of the line, from 1.
        byte: usize,
        /// What the bytes nearby look like.
        nearby: Nearby,
    },
}

/// What bytes look like of which one is part of no character of UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nearby {
    /// Text with one byte for each character.
    Latin,
    /// Data, and no text: there are bytes that no text has.
    Binary,
    /// Half of a character of UTF-16.
    CutOff,
}

impl Nearby {
    const fn hint(self) -> &'static str {
        match self {
            Self::Latin => "; it looks like Latin-1 or Windows-1252: iconv -f WINDOWS-1252 -t UTF-8",
            Self::Binary => "; it looks like binary data: name another file",
            Self::CutOff => "",
        }
    }
}

/// Whether no text has this byte: control characters but for white space and the escape of terminals.
const fn is_binary(byte: u8) -> bool {
    byte < 9 || (byte > 13 && byte < 32 && byte != 27)
}

/// The text of bytes: UTF-8, or UTF-16 with a byte order mark, as Windows' tools write it. A mark is left out.
///
/// # Errors
///
/// What the bytes are instead, and how to make text of them.
pub fn decode(bytes: Vec<u8>) -> Result<String, NotText> {
    if let Encoding::Utf16(unit) = encoding(&bytes)? {
        return utf16(bytes.get(2..).unwrap_or_default(), unit);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(match text.strip_prefix('\u{feff}') {
            Some(text) => text.to_owned(),
            None => text,
        }),
        Err(error) => Err(not_utf8(error.as_bytes(), error.utf8_error().valid_up_to(), (1, 1))),
    }
}

/// The text of bytes that arrive in chunks; all together it is what [`decode`] makes of them.
#[derive(Debug, Default)]
pub struct TextDecoder {
    /// Bytes that are no text yet.
    pending: Vec<u8>,
    /// Whether the encoding is known. `None` before the first bytes.
    is_utf8: Option<bool>,
    /// The line of the first pending byte and its place in it, both from 0.
    place: (usize, usize),
}

impl TextDecoder {
    /// The text that is complete with these bytes. Of UTF-16 there is none before the end.
    ///
    /// # Errors
    ///
    /// As [`decode`].
    pub fn push(&mut self, bytes: &[u8]) -> Result<String, NotText> {
        self.pending.extend_from_slice(bytes);
        let is_utf8 = match self.is_utf8 {
            Some(known) => known,
            // Encodings differ in their first four bytes.
            None if self.pending.len() < 4 => return Ok(String::new()),
            None => {
                let is_utf8 = matches!(encoding(&self.pending)?, Encoding::Utf8);
                if is_utf8 && self.pending.starts_with("\u{feff}".as_bytes()) {
                    self.pending.drain(.."\u{feff}".len());
                }
                *self.is_utf8.insert(is_utf8)
            }
        };
        if !is_utf8 {
            return Ok(String::new());
        }
        let text = match std::str::from_utf8(&self.pending) {
            Ok(text) => text,
            // A character is cut off.
            Err(error) if error.error_len().is_none() => {
                let complete = self.pending.get(..error.valid_up_to()).unwrap_or_default();
                std::str::from_utf8(complete).unwrap_or_default()
            }
            Err(error) => {
                let (lines, bytes) = self.place;
                return Err(not_utf8(&self.pending, error.valid_up_to(), (lines + 1, bytes + 1)));
            }
        }
        .to_owned();
        self.pending.drain(..text.len());
        match text.rsplit_once('\n') {
            None => self.place.1 += text.len(),
            Some((before, last)) => {
                self.place.0 += 1 + before.bytes().filter(|byte| *byte == b'\n').count();
                self.place.1 = last.len();
            }
        }
        Ok(text)
    }

    /// The text that is left.
    ///
    /// # Errors
    ///
    /// As [`decode`].
    pub fn finish(self) -> Result<String, NotText> {
        match self.is_utf8 {
            Some(true) if self.pending.is_empty() => Ok(String::new()),
            Some(true) => Err(not_utf8(&self.pending, 0, (self.place.0 + 1, self.place.1 + 1))),
            Some(false) | None => decode(self.pending),
        }
    }
}

/// An encoding of text that is read.
enum Encoding {
    Utf8,
    /// With the order of the two bytes of a unit.
    Utf16(fn([u8; 2]) -> u16),
}

/// The encoding that the first bytes of a text are of.
const fn encoding(bytes: &[u8]) -> Result<Encoding, NotText> {
    let (by, command) = match bytes {
        [0x1f, 0x8b, ..] => ("gzip", "gunzip < FILE"),
        [b'P', b'K', 3, 4, ..] => ("zip", "unzip -p FILE"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("zstd", "zstd -dc FILE"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("xz", "xz -dc FILE"),
        [b'B', b'Z', b'h', ..] => ("bzip2", "bzip2 -dc FILE"),
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => return Err(NotText::Utf32),
        [first, 0, 0, 0, ..] | [0, 0, 0, first, ..] if first.is_ascii() && !is_binary(*first) => {
            return Err(NotText::Utf32);
        }
        [0xff, 0xfe, ..] => return Ok(Encoding::Utf16(u16::from_le_bytes)),
        [0xfe, 0xff, ..] => return Ok(Encoding::Utf16(u16::from_be_bytes)),
        [first, 0, ..] if first.is_ascii() && !is_binary(*first) => {
            return Err(NotText::Utf16 { name: "UTF-16LE" });
        }
        [0, first, ..] if first.is_ascii() && !is_binary(*first) => {
            return Err(NotText::Utf16 { name: "UTF-16BE" });
        }
        [first, ..] if is_binary(*first) => return Err(NotText::Binary),
        _ => return Ok(Encoding::Utf8),
    };
    Err(NotText::Packed { by, command })
}

/// The place of a byte that is part of no character, where the bytes begin at this line and byte of it.
fn not_utf8(bytes: &[u8], at: usize, (line, byte): (usize, usize)) -> NotText {
    let before = bytes.get(..at).unwrap_or_default();
    let lines = before.iter().filter(|byte| **byte == b'\n').count();
    let in_line = before.iter().rev().take_while(|byte| **byte != b'\n').count();
    let nearby = if bytes.iter().copied().any(is_binary) { Nearby::Binary } else { Nearby::Latin };
    NotText::NotUtf8 {
        line: line + lines,
        byte: if lines == 0 { byte + in_line } else { 1 + in_line },
        nearby,
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, NotText> {
    let units = bytes.chunks(2).map(|pair| match *pair {
        [one, two] => unit([one, two]),
        // Half of a character: it is not UTF-16, or cut off.
        _ => 0xd800,
    });
    let mut text = String::with_capacity(bytes.len() / 2);
    for character in char::decode_utf16(units) {
        let Ok(character) = character else {
            let line = 1 + text.matches('\n').count();
            return Err(NotText::NotUtf8 { line, byte: 1, nearby: Nearby::CutOff });
        };
        text.push(character);
    }
    Ok(text)
}

/// An excerpt of a line around a column, from 1 and in characters, and a mark below it: two lines.
#[must_use]
pub fn excerpt(text: &str, line: usize, column: usize) -> String {
    excerpt_of_line(line_of(text, line), line, column)
}

/// An excerpt of a line with this number around a column, from 1 and in characters, and a mark below it: two lines.
pub(crate) fn excerpt_of_line(source: &str, line: usize, column: usize) -> String {
    const BEFORE: usize = 40;
    const WIDTH: usize = 76;
    let source: Vec<char> =
        source.chars().map(|c| if c == '\t' || c.is_control() { ' ' } else { c }).collect();
    let at = column.saturating_sub(1).min(source.len());
    let is_long = source.len() > WIDTH;
    let start = if is_long { at.saturating_sub(BEFORE) } else { 0 };
    let shown: String = source.iter().skip(start).take(WIDTH).collect();
    let (left, right) =
        (if start > 0 { "…" } else { "" }, if start + WIDTH < source.len() { "…" } else { "" });
    let number = line.to_string();
    let blank = " ".repeat(number.len());
    let mark = " ".repeat(at - start + left.chars().count());
    format!("  {number} | {left}{}{right}\n  {blank} | {mark}^", shown.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_texts_are_read_and_packed_ones_are_named() {
        let little: Vec<u8> =
            [0xff, 0xfe].into_iter().chain("{ä}".encode_utf16().flat_map(u16::to_le_bytes)).collect();
        assert_eq!(decode(little).unwrap(), "{ä}");
        let big: Vec<u8> =
            [0xfe, 0xff].into_iter().chain("{ä}".encode_utf16().flat_map(u16::to_be_bytes)).collect();
        assert_eq!(decode(big).unwrap(), "{ä}");
        assert_eq!(decode("\u{feff}{}".into()).unwrap(), "{}");
        for (bytes, expected) in [
            (&b"\x1f\x8b\x08"[..], "packed by gzip"),
            (b"PK\x03\x04", "packed by zip"),
            (b"\x28\xb5\x2f\xfd", "packed by zstd"),
            (b"{\0\"\0", "UTF-16 without a byte order mark; write it as UTF-8: iconv -f UTF-16LE -t UTF-8"),
            (b"\0{\0\"", "UTF-16 without a byte order mark; write it as UTF-8: iconv -f UTF-16BE -t UTF-8"),
            (b"\x7fELF\x02\x01\x01\0\xff", "not UTF-8 text; it looks like binary data"),
            (b"\x89PNG\r\n\x1a\n", "line 1, byte 1: it is not UTF-8 text; it looks like binary data"),
            (b"\0\0\0\0", "binary data and no text"),
            (b"\0\x01\x02\x03", "binary data and no text"),
            (b"{\0\0\0}\0\0\0", "it is UTF-32"),
            (b"\xff\xfe\0\0{\0\0\0", "it is UTF-32"),
            (b"\0\0\xfe\xff\0\0\0{", "it is UTF-32"),
            (b"{\n\"a\": \"\xe4\"}", "line 2, byte 7: it is not UTF-8 text; it looks like Latin-1"),
            (b"\xff\xfe\x00\xd8", "not UTF-8"),
        ] {
            let error = decode(bytes.to_vec()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn text_in_chunks_is_decoded_as_all_of_it_is() {
        let units = |order: fn(u16) -> [u8; 2], mark: [u8; 2]| -> Vec<u8> {
            mark.into_iter().chain("{ä}".encode_utf16().flat_map(order)).collect()
        };
        for bytes in [
            "{\"a\": \"ä€😀\"}\n".as_bytes().to_vec(),
            "\u{feff}{}".as_bytes().to_vec(),
            units(u16::to_le_bytes, [0xff, 0xfe]),
            units(u16::to_be_bytes, [0xfe, 0xff]),
            b"\x1f\x8b\x08\0".to_vec(),
            b"{\0\"\0".to_vec(),
            b"{\n\n  \"a\": \"\xe4\"}\n".to_vec(),
            "{\n\"ä".as_bytes()[..4].to_vec(),
            b"{}".to_vec(),
            Vec::new(),
        ] {
            for size in [1, 2, 3, 100] {
                let mut decoder = TextDecoder::default();
                let pushed: Result<String, NotText> =
                    bytes.chunks(size).map(|chunk| decoder.push(chunk)).collect();
                let all = pushed.and_then(|text| Ok(text + &decoder.finish()?));
                // How much of it looks like text depends on how much is there.
                let comparable = |result: Result<String, NotText>| {
                    result.map_err(|error| error.to_string().split(';').next().unwrap_or_default().to_owned())
                };
                assert_eq!(comparable(all), comparable(decode(bytes.clone())), "{size}: {bytes:?}");
            }
        }
    }

    #[test]
    fn an_excerpt_marks_its_column_in_long_lines_too() {
        assert_eq!(excerpt("a\nbcd\n", 2, 3), "  2 | bcd\n    |   ^");
        let long = format!("{}X{}", "a".repeat(200), "b".repeat(200));
        let shown = excerpt(&long, 1, 201);
        let (line, mark) = shown.split_once('\n').unwrap();
        assert_eq!(line.chars().nth(mark.chars().count() - 1), Some('X'), "{shown}");
        assert!(line.chars().count() < 90);
    }
}
