//! Why a request is rejected, as far as neither its body nor AWS is the reason.

use super::{Kind, Problem};
use crate::domain::repository::Name;
use crate::domain::text::finding::quoted;
use crate::domain::text::quantity::count;
use crate::domain::text::reader::alternatives;

/// Why a request is rejected: what is wrong with it, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection<'a> {
    /// The path has escapes, an empty part, `.` or `..`, which IAM policies cannot name.
    #[error(
        "there is nothing at {}; write the path without escapes, without a slash at its end, and with no part of it empty, `.` or `..`",
        quoted(.0)
    )]
    PathSpelling(&'a str),
    /// The path is none of the API's.
    #[error("there is nothing at {}; there are {there_are}", quoted(.path))]
    NoSuchPath {
        /// The path of the request.
        path: &'a str,
        /// The paths of this part of the API, to continue a sentence.
        there_are: &'static str,
    },
    /// The path is for other methods.
    #[error("{} is not for {path}; write {}", quoted(.method), alternatives(&names(.allowed)))]
    Method {
        /// The method of the request.
        method: &'a str,
        /// The path.
        path: &'a str,
        /// The methods that it is for.
        allowed: &'static [&'static str],
    },
    /// The path does not name a repository that can exist; the reason follows.
    #[error("the path: {0}")]
    RepositoryName(String),
    /// The path does not name a build.
    #[error("{} is no id of a build; write `project:…` as POST /builds answers it", quoted(.0))]
    BuildId(&'a str),
    /// A query parameter that this request does not have.
    #[error("{} is not a query parameter here; {}", quoted(.name), instead(.known))]
    UnknownParameter {
        /// The name of the parameter.
        name: &'a str,
        /// The names of those that the request has.
        known: &'a [&'static str],
    },
    /// A query parameter that is there twice.
    #[error("the query parameter {} is there twice; keep one", quoted(.0))]
    RepeatedParameter(&'a str),
    /// A query parameter with an invalid value.
    #[error("the query parameter `{name}` is {}; write {expected}", quoted(.value))]
    ParameterValue {
        /// The name of the parameter.
        name: &'static str,
        /// Its value.
        value: &'a str,
        /// The values that it can have.
        expected: &'static str,
    },
    /// There is no body.
    #[error("the request has no body; send a JSON object")]
    NoBody,
    /// The body is not UTF-8 from this byte on.
    #[error("the body is not UTF-8 from byte {0} on; send a JSON object")]
    NotUtf8(usize),
    /// The body is not encoded as the gateway says.
    #[error("the body is not base64: {0}")]
    NotBase64(String),
    /// The function is behind a gateway of this kind, which does not authorize requests as this API needs it.
    #[error(
        "the request comes by {0}, which is not served; put an HTTP API with payload format 2.0 and IAM authorization before the \
         function, as the stack does"
    )]
    OtherGateway(&'static str),
    /// The function was invoked with something else than a request of a gateway.
    #[error("the event is no request of an HTTP API: {0}")]
    NoRequest(String),
    /// There is no repository of this name.
    #[error("there is no repository {0} in this registry; POST /repositories creates one")]
    NoRepository(&'a Name),
    /// There is a repository of this name, with other settings.
    #[error(
        "{name} exists already, and differs: {difference}; nothing was changed. PUT /repositories/{name} makes it as asked for, as \
         far as it can be changed"
    )]
    RepositoryExists {
        /// The repository.
        name: &'a Name,
        /// How it differs.
        difference: String,
    },
    /// The encryption of the repository is another one.
    #[error(
        "{difference}; ECR sets the encryption when a repository is created and never after. Nothing was changed; leave \
         encryptionConfiguration as it is, or create another repository and copy the images"
    )]
    EncryptionFixed {
        /// How the repository differs.
        difference: String,
    },
    /// The repository has images.
    #[error(
        "{name} has {}, and is still there; delete them first, or add `?force=true` to delete them with it",
        count(*.images, "image")
    )]
    RepositoryNotEmpty {
        /// The repository.
        name: &'a Name,
        /// The number of its images.
        images: u64,
    },
    /// This stack has no build of this id.
    #[error("there is no build {0} of this stack; CodeBuild forgets builds after a year")]
    NoBuild(&'a str),
    /// The answer is larger than Lambda carries.
    #[error("the answer has {bytes} bytes, and Lambda carries {max_bytes}; ask for less at a time")]
    AnswerTooLarge {
        /// The size of the answer, in bytes.
        bytes: usize,
        /// The maximum size, in bytes.
        max_bytes: usize,
    },
    /// The answer is no JSON.
    #[error("the answer cannot be written: {0}")]
    Unwritable(String),
}

impl Rejection<'_> {
    /// The kind of problem that the answer names.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::PathSpelling(_) | Self::NoSuchPath { .. } => Kind::NoSuchPath,
            Self::Method { .. } => Kind::MethodNotAllowed,
            Self::RepositoryName(_)
            | Self::BuildId(_)
            | Self::UnknownParameter { .. }
            | Self::RepeatedParameter(_)
            | Self::ParameterValue { .. }
            | Self::NoBody
            | Self::NotUtf8(_)
            | Self::NotBase64(_)
            | Self::OtherGateway(_)
            | Self::NoRequest(_) => Kind::InvalidRequest,
            Self::NoRepository(_) => Kind::RepositoryNotFound,
            Self::RepositoryExists { .. } => Kind::RepositoryExists,
            Self::EncryptionFixed { .. } => Kind::EncryptionFixed,
            Self::RepositoryNotEmpty { .. } => Kind::RepositoryNotEmpty,
            Self::NoBuild(_) => Kind::BuildNotFound,
            Self::AnswerTooLarge { .. } => Kind::AnswerTooLarge,
            Self::Unwritable(_) => Kind::Internal,
        }
    }
}

impl From<Rejection<'_>> for Problem {
    fn from(rejection: Rejection<'_>) -> Self {
        let problem = Self::new(rejection.kind(), rejection.to_string());
        match rejection {
            Rejection::Method { allowed, .. } => problem.with_header("allow", allowed.join(", ")),
            _ => problem,
        }
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// What to write instead of an unknown query parameter.
fn instead(known: &[&str]) -> String {
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    match alternatives(&known).as_str() {
        "" => "leave it out".to_owned(),
        known => format!("write {known}, or leave it out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::http::Response;

    #[test]
    fn a_rejected_request_says_what_to_write_instead() {
        let rejection = Rejection::UnknownParameter { name: "in-use", known: &["force", "inUse"] };
        let detail = "`in-use` is not a query parameter here; write `force` or `inUse`, or leave it out";
        assert_eq!((rejection.to_string().as_str(), rejection.kind()), (detail, Kind::InvalidRequest));
        let rejection = Rejection::UnknownParameter { name: "force", known: &[] };
        assert_eq!(rejection.to_string(), "`force` is not a query parameter here; leave it out");
        let rejection = Rejection::Method { method: "PATCH", path: "/builds", allowed: &["POST"] };
        let response = Response::from(Problem::from(rejection));
        assert_eq!((response.status, &response.headers[0]), (405, &("allow", "POST".to_owned())));
    }
}
