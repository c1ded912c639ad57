//! Reads typed fields out of a [`Node`], noting everything that is wrong on the way instead of stopping at the
//! first. Knows JSON shapes, not what a policy means.

use std::collections::HashMap;

use crate::domain::repository::Name;
use crate::domain::text::finding::{Code, Finding, join_pointer, quoted, shown_number};
use crate::domain::text::syntax::{self, Node};

/// The message for a body that names another repository than the path of its request.
pub(crate) const OTHER_NAME: &str = "this is another name than the path has; leave it out";

/// A field of an object. `Invalid` fields have been reported already, so that later checks do not report them again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field<T> {
    /// The field is not there.
    Missing,
    /// The field is present and invalid. A finding reports it already.
    Invalid,
    /// The field's value.
    Value(T),
}

impl<T> Field<T> {
    /// The value, when there is a good one.
    pub(crate) fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Missing | Self::Invalid => None,
        }
    }

    /// The value of a field that may be left out; `None` when it is broken.
    pub(crate) fn optional(self) -> Option<Option<T>> {
        match self {
            Self::Missing => Some(None),
            Self::Invalid => None,
            Self::Value(value) => Some(Some(value)),
        }
    }

    /// Whether the field is present, valid or not.
    pub(crate) const fn is_present(&self) -> bool {
        !matches!(self, Self::Missing)
    }

    pub(crate) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Field<U> {
        match self {
            Self::Missing => Field::Missing,
            Self::Invalid => Field::Invalid,
            Self::Value(value) => Field::Value(convert(value)),
        }
    }
}

/// Whose names and types a document has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldCasing {
    /// An API's, or a file's: `repositoryName`.
    Api,
    /// CloudFormation's: `RepositoryName`, and booleans in quotes.
    CloudFormation,
}

impl FieldCasing {
    /// A field under its API name.
    pub(crate) fn of(self, name: &'static str) -> String {
        match (self, name) {
            (Self::Api, _) => name.to_owned(),
            (Self::CloudFormation, "filterType") => "ImageTagMutabilityExclusionFilterType".to_owned(),
            (Self::CloudFormation, "filter") => "ImageTagMutabilityExclusionFilterValue".to_owned(),
            (Self::CloudFormation, _) => {
                let mut characters = name.chars();
                let first = characters.next().map(|first| first.to_ascii_uppercase());
                first.into_iter().chain(characters).collect()
            }
        }
    }
}

/// The fields of one object, and its JSON pointer.
pub(crate) struct Fields<'a> {
    pub(crate) pointer: String,
    entries: &'a [(String, Node)],
}

impl Fields<'_> {
    /// The JSON pointer of the field `name`.
    pub(crate) fn at(&self, name: &str) -> String {
        join_pointer(&self.pointer, name)
    }

    /// Whether the field is present and not null.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, value)| key == name && *value != Node::Null)
    }

    /// Whether the field is present and null, which a finding reports.
    pub(crate) fn is_null(&self, name: &str) -> bool {
        self.entries.iter().any(|(key, value)| key == name && *value == Node::Null)
    }
}

/// Collects the findings of one document.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// The findings so far.
    pub(crate) findings: Vec<Finding>,
    /// Whether booleans may be strings, as CloudFormation sends them.
    pub(crate) quoted_scalars: bool,
    /// The repository that the path of a request names: a body need not name it, and must not name another one.
    pub(crate) repository_of_path: Option<Name>,
}

impl Reader {
    /// Reads the body of a request, whose path may name the repository.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub(crate) fn parse_body<T>(
        repository_of_path: Option<Name>,
        text: &str,
        read: impl FnOnce(&Node, &mut Self) -> Option<T>,
    ) -> Result<T, Vec<Finding>> {
        let node = syntax::parse_json(text).map_err(|finding| vec![finding])?;
        let mut reader = Self { repository_of_path, ..Self::default() };
        match read(&node, &mut reader) {
            Some(request) if reader.findings.is_empty() => Ok(request),
            _ => Err(reader.findings),
        }
    }

    /// Adds a finding.
    pub(crate) fn report(&mut self, code: Code, pointer: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding::new(code, pointer, message));
    }

    /// The fields of `node`, none but `known` ones and each once.
    pub(crate) fn fields<'a>(&mut self, node: &'a Node, pointer: &str, known: &[&str]) -> Option<Fields<'a>> {
        let Node::Object(entries) = node else {
            self.wrong_type(node, pointer, "an object");
            return None;
        };
        let mut times_seen = HashMap::with_capacity(entries.len());
        for (key, _) in entries {
            let times: &mut u32 = times_seen.entry(key.as_str()).or_default();
            *times += 1;
            let at = || join_pointer(pointer, key);
            match times {
                1 if known.contains(&key.as_str()) => {}
                1 => self.report(Code::UnknownField, at(), unknown_field(key, known)),
                2 => self.report(
                    Code::DuplicateKey,
                    at(),
                    format!("{} is there more than once; keep one", quoted(key)),
                ),
                _ => {}
            }
        }
        Some(Fields { pointer: pointer.to_owned(), entries })
    }

    /// The field `name`; a null is a finding, and nothing else follows from it.
    pub(crate) fn field<'a>(&mut self, fields: &Fields<'a>, name: &str) -> Field<&'a Node> {
        match fields.entries.iter().find(|(key, _)| key == name) {
            None => Field::Missing,
            Some((_, Node::Null)) => {
                let pointer = fields.at(name);
                // Some fields are looked at more than once.
                if !self
                    .findings
                    .iter()
                    .any(|known| known.code == Code::NullValue && known.pointer == pointer)
                {
                    let message = format!("`{name}` is null; give it a value or leave it out");
                    self.report(Code::NullValue, pointer, message);
                }
                Field::Missing
            }
            Some((_, node)) => Field::Value(node),
        }
    }

    /// A finding when the field is not there.
    pub(crate) fn require<T>(&mut self, field: &Field<T>, fields: &Fields<'_>, name: &str, hint: &str) {
        if !field.is_present() && !fields.is_null(name) {
            self.report(
                Code::MissingField,
                fields.pointer.clone(),
                format!("`{name}` is missing; add {hint}"),
            );
        }
    }

    /// A string.
    pub(crate) fn text(&mut self, fields: &Fields<'_>, name: &str) -> Field<String> {
        match self.field(fields, name) {
            Field::Value(Node::Text(text)) => Field::Value(text.clone()),
            field => self.type_mismatch(field, fields, name, "a string"),
        }
    }

    /// The repository of a request: the one that the field names, or the one of the request's path.
    pub(crate) fn repository(&mut self, fields: &Fields<'_>, name: &str, hint: &str) -> Option<Name> {
        let text = self.text(fields, name);
        let of_path = self.repository_of_path.clone();
        if of_path.is_none() {
            self.require(&text, fields, name, hint);
        }
        let found = match text {
            Field::Missing => return of_path,
            Field::Invalid => return None,
            // A name that begins with the host of a registry is a valid one, and never meant.
            Field::Value(text) => match Name::meant(&text) {
                Some(meant) => {
                    let message =
                        format!("{} is more than the name of a repository; write {meant}", quoted(&text));
                    Err(Finding::new(Code::InvalidName, fields.at(name), message))
                }
                None => Name::parse_at(&text, fields.at(name)),
            },
        };
        let named = found.map_err(|finding| self.findings.push(finding)).ok()?;
        if of_path.is_some_and(|of_path| of_path != named) {
            self.report(Code::NameConflict, fields.at(name), OTHER_NAME);
            return None;
        }
        Some(named)
    }

    /// A boolean, or `"true"` and `"false"` where scalars may be quoted.
    pub(crate) fn boolean(&mut self, fields: &Fields<'_>, name: &str) -> Field<bool> {
        match self.field(fields, name) {
            Field::Value(Node::Bool(value)) => Field::Value(*value),
            Field::Value(Node::Text(text)) if self.quoted_scalars && is_boolean(text) => {
                Field::Value(text.eq_ignore_ascii_case("true"))
            }
            field => self.type_mismatch(field, fields, name, "true or false"),
        }
    }

    /// A boolean, or this word instead of one: `None`.
    pub(crate) fn boolean_or(&mut self, fields: &Fields<'_>, name: &str, word: &str) -> Field<Option<bool>> {
        match self.field(fields, name) {
            Field::Value(Node::Bool(value)) => Field::Value(Some(*value)),
            Field::Value(Node::Text(text)) if text == word => Field::Value(None),
            Field::Value(Node::Text(text)) if self.quoted_scalars && is_boolean(text) => {
                Field::Value(Some(text.eq_ignore_ascii_case("true")))
            }
            field => self.type_mismatch(field, fields, name, &format!("true, false or {word}")),
        }
    }

    /// A whole number of one or more.
    pub(crate) fn positive_integer(&mut self, fields: &Fields<'_>, name: &str) -> Field<u64> {
        let field = self.field(fields, name);
        let written = match field {
            Field::Value(Node::Whole(number)) if *number >= 1 => return Field::Value(*number),
            Field::Value(Node::Whole(number)) => number.to_string(),
            Field::Value(Node::Number(number)) => shown_number(*number),
            field => return self.type_mismatch(field, fields, name, "a whole number of 1 or more"),
        };
        let message = if matches!(field, Field::Value(Node::Number(number)) if *number > 9e15 && number.fract() == 0.0)
        {
            format!("`{name}` is {written}, too large to be kept exactly; write a smaller number")
        } else {
            format!("`{name}` is {written}; write a whole number of 1 or more")
        };
        self.report(Code::NumberOutOfRange, fields.at(name), message);
        Field::Invalid
    }

    /// One of a field's words.
    pub(crate) fn one_of<T: Copy>(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        words: &[(&str, T)],
    ) -> Field<T> {
        let Field::Value(text) = self.text(fields, name) else {
            return if fields.has(name) { Field::Invalid } else { Field::Missing };
        };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Field::Value(*value);
        }
        let expected: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        self.report(
            Code::UnknownValue,
            fields.at(name),
            format!("`{name}` is {}; write {}", quoted(&text), alternatives(&expected)),
        );
        Field::Invalid
    }

    /// A list of one or more strings, none of them empty.
    pub(crate) fn string_list(&mut self, fields: &Fields<'_>, name: &str) -> Field<Vec<String>> {
        let items = match self.field(fields, name) {
            Field::Value(Node::List(items)) => items,
            field => return self.type_mismatch(field, fields, name, "a list of strings"),
        };
        let pointer = fields.at(name);
        if items.is_empty() {
            self.report(Code::EmptyList, pointer, format!("`{name}` is empty; name at least one"));
            return Field::Invalid;
        }
        let before = self.findings.len();
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let at = format!("{pointer}/{index}");
            match item {
                Node::Text(text) if text.is_empty() => {
                    self.report(Code::EmptyString, at, format!("an empty string in `{name}`; remove it"));
                }
                Node::Text(text) => texts.push(text.clone()),
                Node::Null => self.report(Code::NullValue, at, format!("null in `{name}`; remove it")),
                other => self.wrong_type(other, &at, "a string"),
            }
        }
        if self.findings.len() > before { Field::Invalid } else { Field::Value(texts) }
    }

    pub(crate) fn list<'a>(&mut self, fields: &Fields<'a>, name: &str) -> Field<&'a [Node]> {
        match self.field(fields, name) {
            Field::Value(Node::List(items)) => Field::Value(items),
            field => self.type_mismatch(field, fields, name, "a list"),
        }
    }

    fn type_mismatch<T>(
        &mut self,
        field: Field<&Node>,
        fields: &Fields<'_>,
        name: &str,
        expected: &str,
    ) -> Field<T> {
        match field {
            Field::Missing => Field::Missing,
            Field::Invalid => Field::Invalid,
            Field::Value(node) => {
                self.wrong_type(node, &fields.at(name), expected);
                Field::Invalid
            }
        }
    }

    /// Adds a finding about a value of another type, with what to change where that is plain.
    pub(crate) fn wrong_type(&mut self, node: &Node, pointer: &str, expected: &str) {
        let hint = match node {
            Node::Whole(_) | Node::Number(_) | Node::Bool(_) if expected == "a string" => {
                "; put it in quotes"
            }
            Node::Text(text) if expected.starts_with("a whole number") && text.parse::<u64>().is_ok() => {
                "; write it without quotes"
            }
            Node::Text(_) if expected.starts_with("a whole number") => "; write digits",
            Node::Text(text) if expected.starts_with("true") && is_boolean(text) => {
                "; write it in small letters and without quotes"
            }
            Node::Text(text) if expected.starts_with("true") && is_yes_or_no(text) => {
                "; YAML has true and false for yes and no"
            }
            Node::Text(_) if expected.starts_with("a list") => "; put it in brackets",
            _ => "",
        };
        self.report(Code::WrongType, pointer, format!("{} where {expected} is needed{hint}", node.kind()));
    }
}

impl Reader {
    /// All findings in the order of the document's rules. Findings about the whole document come first.
    pub(crate) fn into_findings(mut self) -> Vec<Finding> {
        let place = |finding: &Finding| -> Option<usize> {
            finding.pointer.split_once("/rules/")?.1.split('/').next()?.parse().ok()
        };
        self.findings.sort_by_key(place);
        self.findings
    }

    /// Whether the document is an object. If it is not, that is the only finding.
    pub(crate) fn expect_policy_object(&mut self, node: &Node) -> bool {
        match node {
            Node::Object(_) => return true,
            Node::Null => self.report(
                Code::WrongType,
                "",
                "there is no policy in it; write one, or `{}` for the default policy",
            ),
            other => self.wrong_type(other, "", "a policy, an object with `rules`,"),
        }
        false
    }
}

/// Whether a text is a boolean. CloudFormation sends quoted booleans of a template as they are written, also `"True"`.
fn is_boolean(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
}

fn is_yes_or_no(text: &str) -> bool {
    ["yes", "no", "on", "off", "y", "n"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// "a", "a or b", "a, b or c".
pub(crate) fn alternatives(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

fn unknown_field(key: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&key.to_lowercase(), &candidate.to_lowercase()), candidate)
        })
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min();
    match near {
        Some((_, candidate)) => format!("{} is not a field here; did you mean `{candidate}`?", quoted(key)),
        None => {
            let names: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            format!("{} is not a field here; there are {}", quoted(key), names.join(", "))
        }
    }
}
