//! The HTTP API: its requests and answers. `infra/openapi.yaml` describes it for callers.
//!
//! Routing and parsing are pure; `serve` acts on the parsed request.

use serde::Serialize;

use crate::domain::enforcement::by_hand::UseCheck;
use crate::domain::enforcement::image_restore::RestoreRequest;
use crate::domain::image::deletion::DeletionRequest;
use crate::domain::repository::read::{self, SettingsPart};
use crate::domain::repository::{Name, Settings};
use crate::domain::text::finding::{Code, Finding};
use crate::domain::text::printable::{Notation, printable};
use crate::domain::text::reader::OTHER_NAME;

pub mod builds;
#[cfg(feature = "signed")]
mod failed;
#[cfg(feature = "gateway")]
pub mod gateway;
pub mod previews;
pub mod problem;
pub mod rejection;
#[cfg(feature = "lifecycle")]
pub mod serve;

pub use problem::{Kind, Problem};
pub use rejection::Rejection;

/// The largest answer that Lambda carries for API Gateway, in bytes, less room for the envelope.
const MAX_ANSWER_BYTES: usize = 5 * 1024 * 1024;

/// An HTTP request, as far as the API reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The path, its escapes resolved.
    pub path: &'a str,
    /// The query parameters, their escapes resolved.
    pub query: &'a [(String, String)],
    /// The body; empty for none.
    pub body: &'a [u8],
}

/// The parsed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `POST /repositories` and `POST /repositories/{name}`.
    CreateRepository(Name, Settings),
    /// `GET /repositories`.
    ListRepositories {
        /// Maximum number of results, 1 to 1000.
        max_results: Option<u16>,
        /// The token of the last page.
        next_token: Option<String>,
    },
    /// `GET /repositories/{name}`.
    GetRepository(Name),
    /// `PUT /repositories/{name}`.
    UpdateRepository(Name, Settings),
    /// `PATCH /repositories/{name}`.
    ChangeRepository(Name, Box<SettingsPart>),
    /// `DELETE /repositories/{name}`.
    DeleteRepository {
        /// Which one.
        name: Name,
        /// Whether a repository with images is deleted, too.
        force: bool,
        /// Whether images in use are kept.
        check: UseCheck,
    },
    /// `POST /images/delete` and `POST /deletions/{name}`.
    DeleteImages(DeletionRequest, UseCheck),
    /// `POST /images/restore` and `POST /restorations/{name}`.
    RestoreImages {
        /// Which images.
        request: RestoreRequest,
        /// Whether nothing is changed, and the answer says what would be.
        dry_run: bool,
    },
}

/// An HTTP response; all bodies are JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header fields besides the content type.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty for none.
    pub body: String,
}

impl Response {
    /// A response with a JSON body.
    #[must_use]
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        match serde_json::to_string(body) {
            Ok(text) if text.len() > MAX_ANSWER_BYTES => {
                let (bytes, max_bytes) = (text.len(), MAX_ANSWER_BYTES);
                Problem::from(Rejection::AnswerTooLarge { bytes, max_bytes }).into()
            }
            Ok(body) => {
                let body = printable(&body, Notation::Json).into_owned();
                Self { status, headers: vec![("content-type", "application/json".to_owned())], body }
            }
            Err(error) => Problem::from(Rejection::Unwritable(error.to_string())).into(),
        }
    }

    /// A response without a body.
    #[must_use]
    pub const fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }
}

/// Parses a request.
///
/// # Errors
///
/// The problem to answer with; nothing was done.
pub fn route(request: Request<'_>) -> Result<Call, Problem> {
    let path = written(request.path)?;
    let allowed: &'static [&'static str] = match path {
        "/repositories" => &["GET", "POST"],
        "/images/delete" | "/images/restore" => &["POST"],
        _ if path.starts_with("/deletions/") || path.starts_with("/restorations/") => &["POST"],
        _ if path.starts_with("/repositories/") => &["DELETE", "GET", "PATCH", "POST", "PUT"],
        _ => {
            let there_are = "/repositories, /repositories/{name}, /deletions/{name}, /restorations/{name}, /images/delete and /images/restore";
            return Err(Rejection::NoSuchPath { path, there_are }.into());
        }
    };
    if !allowed.contains(&request.method) {
        return Err(Rejection::Method { method: request.method, path, allowed }.into());
    }
    let delete_images = |name| {
        let [in_use] = parameters(request, ["inUse"])?;
        let check = use_check(in_use.as_deref())?;
        let request = DeletionRequest::parse_for(name, text(request)?).map_err(Problem::invalid)?;
        Ok(Call::DeleteImages(request, check))
    };
    let restore_images = |name| {
        let [dry_run] = parameters(request, ["dryRun"])?;
        let dry_run = flag("dryRun", dry_run.as_deref())?;
        let request = RestoreRequest::parse_for(name, text(request)?).map_err(Problem::invalid)?;
        Ok(Call::RestoreImages { request, dry_run })
    };
    if let Some(name) = path.strip_prefix("/deletions/") {
        return delete_images(Some(name_of_path(name)?));
    }
    if let Some(name) = path.strip_prefix("/restorations/") {
        return restore_images(Some(name_of_path(name)?));
    }
    if let Some(name) = path.strip_prefix("/repositories/") {
        let name = name_of_path(name)?;
        return match request.method {
            "GET" => parameters(request, []).map(|[]| Call::GetRepository(name)),
            "POST" | "PUT" => {
                let [] = parameters(request, [])?;
                let spec = read::body(text(request)?).map_err(Problem::invalid)?;
                check_name(spec.name.as_ref(), &name)?;
                Ok(match request.method {
                    "POST" => {
                        name.check_new("").map_err(|finding| Rejection::RepositoryName(finding.message))?;
                        Call::CreateRepository(name, spec.settings)
                    }
                    _ => Call::UpdateRepository(name, spec.settings),
                })
            }
            "PATCH" => {
                let [] = parameters(request, [])?;
                let part = read::part(text(request)?).map_err(Problem::invalid)?;
                check_name(part.name.as_ref(), &name)?;
                Ok(Call::ChangeRepository(name, Box::new(part)))
            }
            _ => {
                let [force, in_use] = parameters(request, ["force", "inUse"])?;
                let force = flag("force", force.as_deref())?;
                Ok(Call::DeleteRepository { name, force, check: use_check(in_use.as_deref())? })
            }
        };
    }
    match (path, request.method) {
        ("/repositories", "GET") => {
            let [max_results, next_token] = parameters(request, ["maxResults", "nextToken"])?;
            let max_results = max_results
                .map(|text| match text.parse() {
                    Ok(number @ 1..=1000) => Ok(number),
                    _ => {
                        let expected = "a whole number from 1 to 1000";
                        let (name, value) = ("maxResults", text.as_str());
                        Err(Problem::from(Rejection::ParameterValue { name, value, expected }))
                    }
                })
                .transpose()?;
            if next_token.as_deref() == Some("") {
                let expected = "the nextToken of the page before";
                return Err(Rejection::ParameterValue { name: "nextToken", value: "", expected }.into());
            }
            Ok(Call::ListRepositories { max_results, next_token })
        }
        ("/repositories", _) => {
            let [] = parameters(request, [])?;
            let spec = read::body(text(request)?).map_err(Problem::invalid)?;
            let Some(name) = spec.name else {
                let message = "`repositoryName` is missing; add the name of the repository";
                return Err(Problem::invalid(vec![Finding::new(Code::MissingField, "", message)]));
            };
            name.check_new("/repositoryName").map_err(|finding| Problem::invalid(vec![finding]))?;
            Ok(Call::CreateRepository(name, spec.settings))
        }
        ("/images/restore", _) => restore_images(None),
        _ => delete_images(None),
    }
}

/// A path, if it is spelled in the one way that IAM policies can name. A gateway resolves escapes before a function sees them,
/// after IAM has checked the path.
fn written(path: &str) -> Result<&str, Problem> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | ':');
    let is_part = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(is_plain);
    match path.strip_prefix('/') {
        Some(rest) if rest.split('/').all(is_part) => Ok(path),
        _ => Err(Rejection::PathSpelling(path).into()),
    }
}

/// The repository that the rest of a path names.
fn name_of_path(name: &str) -> Result<Name, Problem> {
    Name::parse_at(name, "").map_err(|finding| Rejection::RepositoryName(finding.message).into())
}

/// Refuses a body that names another repository than the path.
fn check_name(in_body: Option<&Name>, in_path: &Name) -> Result<(), Problem> {
    match in_body {
        Some(other) if other != in_path => {
            let finding = Finding::new(Code::NameConflict, "/repositoryName", OTHER_NAME);
            Err(Problem::invalid(vec![finding]))
        }
        _ => Ok(()),
    }
}

/// The query parameters of these names; another one is a mistake that must not pass for its absence.
fn parameters<const N: usize>(
    request: Request<'_>,
    names: [&'static str; N],
) -> Result<[Option<String>; N], Problem> {
    let mut values = [const { None }; N];
    for (key, value) in request.query {
        let Some(index) = names.iter().position(|name| name == key) else {
            return Err(Rejection::UnknownParameter { name: key, known: &names }.into());
        };
        if let Some(found) = values.get_mut(index)
            && found.replace(value.clone()).is_some()
        {
            return Err(Rejection::RepeatedParameter(key).into());
        }
    }
    Ok(values)
}

fn flag(name: &'static str, value: Option<&str>) -> Result<bool, Problem> {
    match value {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(value) => Err(Rejection::ParameterValue { name, value, expected: "true or false" }.into()),
    }
}

fn use_check(in_use: Option<&str>) -> Result<UseCheck, Problem> {
    Ok(if flag("inUse", in_use)? { UseCheck::Known } else { UseCheck::Look })
}

fn text(request: Request<'_>) -> Result<&str, Problem> {
    if request.body.is_empty() {
        return Err(Rejection::NoBody.into());
    }
    std::str::from_utf8(request.body).map_err(|error| Rejection::NotUtf8(error.valid_up_to()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed(method: &str, path: &str, query: &[(&str, &str)], body: &str) -> Result<Call, Problem> {
        let query: Vec<(String, String)> =
            query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        route(Request { method, path, query: &query, body: body.as_bytes() })
    }

    #[test]
    fn names_keep_their_slashes() {
        let call = routed("GET", "/repositories/team/shop/web", &[], "").unwrap();
        assert_eq!(call, Call::GetRepository(Name::parse("team/shop/web").unwrap()));
        let call = routed("DELETE", "/repositories/team/web", &[("force", "true")], "").unwrap();
        assert_eq!(
            call,
            Call::DeleteRepository {
                name: Name::parse("team/web").unwrap(),
                force: true,
                check: UseCheck::Look
            }
        );
    }

    #[test]
    fn a_path_is_spelled_in_one_way_only() {
        for path in [
            "/repositories/team/web/",
            "/repositories//team/web",
            "/repositories/team//web",
            "//repositories/team/web",
            "/repositories/team%2Fweb",
            "/repositories/t%65am/web",
            "/repositories/team/./web",
            "/repositories/other/../team/web",
            "/repositories/team/web;a=1",
            "/repositories/team/web?force=true",
            "/repositories/team\\web",
            "/repositories/team/web\0",
            "/repositories/",
            "repositories",
            "",
        ] {
            for method in ["GET", "PUT", "DELETE"] {
                assert_eq!(routed(method, path, &[], "{}").unwrap_err().kind, Kind::NoSuchPath, "{path}");
            }
            let builds = path.replace("repositories", "builds");
            let request = Request { method: "GET", path: &builds, query: &[], body: b"" };
            assert_eq!(builds::route(request).unwrap_err().kind, Kind::NoSuchPath, "{builds}");
            let previews = path.replace("repositories", "previews");
            let request = Request { method: "POST", path: &previews, query: &[], body: b"{}" };
            let now = crate::domain::text::instant::Instant::parse("2026-11-26T00:00:00Z").unwrap();
            assert_eq!(previews::route(request, now).unwrap_err().kind, Kind::NoSuchPath, "{previews}");
        }
    }

    #[test]
    fn the_body_of_a_request_whose_path_names_the_repository_names_no_other_one() {
        use crate::domain::preview::request::Asked;
        let now = crate::domain::text::instant::Instant::parse("2026-11-26T00:00:00Z").unwrap();
        let name = Name::parse("team/web").unwrap();
        let image = r#""imageIds": [{"imageTag": "a"}]"#;
        let source = r#""source": {"s3": {"key": "uploads/web.zip"}}"#;
        for (repository, is_right) in [
            ("", true),
            (r#""repositoryName": "team/web", "#, true),
            (r#""repositoryName": "prod/web", "#, false),
        ] {
            let body = |rest: &str| format!("{{{repository}{rest}}}").replace(", }", "}");
            let deletion = routed("POST", "/deletions/team/web", &[], &body(image));
            let restoration = routed("POST", "/restorations/team/web", &[("dryRun", "true")], &body(image));
            let created = routed("POST", "/repositories/team/web", &[], &body(""));
            let build = body(source);
            let build = builds::route(Request {
                method: "POST",
                path: "/builds/team/web",
                query: &[],
                body: build.as_bytes(),
            });
            let preview = body("");
            let preview = previews::route(
                Request { method: "POST", path: "/previews/team/web", query: &[], body: preview.as_bytes() },
                now,
            );
            if is_right {
                let Ok(Call::DeleteImages(deletion, UseCheck::Look)) = deletion else {
                    panic!("{deletion:?}")
                };
                assert_eq!(deletion.repository_name, name);
                let Ok(Call::RestoreImages { request, dry_run: true }) = restoration else {
                    panic!("{restoration:?}")
                };
                assert_eq!(request.repository_name, name);
                assert!(matches!(created, Ok(Call::CreateRepository(created, _)) if created == name));
                let Ok(builds::Call::Start(wanted)) = build else { panic!("{build:?}") };
                assert_eq!(wanted.definition.repository, name);
                let Ok(Asked::Live(live)) = preview else { panic!("{preview:?}") };
                assert_eq!(live.repository_name, name);
            } else {
                for problem in [
                    deletion.unwrap_err(),
                    restoration.unwrap_err(),
                    created.unwrap_err(),
                    build.unwrap_err(),
                    preview.unwrap_err(),
                ] {
                    assert_eq!(problem.kind.status(), 400);
                    assert!(problem.detail.contains("another name than the path has"), "{}", problem.detail);
                }
            }
        }
    }

    #[test]
    fn a_list_is_paged() {
        let call = routed("GET", "/repositories", &[("maxResults", "1000"), ("nextToken", "t")], "").unwrap();
        let expected = Call::ListRepositories { max_results: Some(1000), next_token: Some("t".to_owned()) };
        assert_eq!(call, expected);
    }

    #[test]
    fn what_is_wrong_with_a_request_is_a_problem() {
        let mut problems = String::new();
        for (method, path, query, body) in [
            ("GET", "/", &[][..], ""),
            ("GET", "/repository", &[], ""),
            ("PATCH", "/repositories/app", &[], ""),
            ("PUT", "/repositories", &[], ""),
            ("GET", "/repositories/App", &[], ""),
            ("GET", "/repositories//app", &[], ""),
            ("GET", "/repositories", &[("maxResults", "0")], ""),
            ("GET", "/repositories", &[("maxResults", "1"), ("maxResults", "2")], ""),
            ("GET", "/repositories", &[("nextToken", "")], ""),
            ("DELETE", "/repositories/app", &[("forse", "true")], ""),
            ("DELETE", "/repositories/app", &[("force", "yes")], ""),
            ("DELETE", "/repositories/app", &[("inUse", "yes")], ""),
            ("POST", "/repositories", &[], ""),
            ("POST", "/repositories", &[], "{}"),
            ("POST", "/repositories", &[("x", "")], "{}"),
            ("POST", "/repositories", &[], r#"{"repositoryName": "a", "lifecyclePolicy": {"rules": [{}]}}"#),
            ("PUT", "/repositories/app", &[], r#"{"repositoryName": "other"}"#),
            ("POST", "/images/delete", &[], "[]"),
            ("POST", "/images/restore", &[], r#"{"repositoryName": "app"}"#),
            ("POST", "/restorations/app", &[("dryRun", "yes")], "{}"),
            (
                "POST",
                "/restorations/app",
                &[],
                r#"{"runId": "../x", "since": "today", "imageIds": [{"imageTag": "-"}]}"#,
            ),
        ] {
            let problem = routed(method, path, query, body).unwrap_err();
            let response = Response::from(problem);
            problems +=
                &format!("{method} {path} {query:?} {body}\n  {} {}\n", response.status, response.body);
        }
        insta::assert_snapshot!(problems);
    }

    #[test]
    fn answers_have_nothing_that_a_terminal_obeys() {
        let hostile = "\u{9b}31m\u{7f}\u{202e}\u{1b}]0;x\u{7}";
        let body = serde_json::to_string(
            &[("repositoryName", hostile)].into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        );
        let problem = routed("POST", "/repositories", &[(hostile, hostile)], &body.unwrap()).unwrap_err();
        let problem = Response::from(Problem::new(problem.kind, hostile));
        for response in [problem, Response::json(200, &[hostile])] {
            assert!(
                !response.body.contains(crate::domain::text::printable::is_control),
                "{:?}",
                response.body
            );
            let read: serde_json::Value = serde_json::from_str(&response.body).unwrap();
            assert!(read["detail"] == hostile || read[0] == hostile, "it means the same: {read}");
        }
    }

    #[test]
    fn a_body_that_is_no_text_is_refused() {
        let request = Request { method: "POST", path: "/repositories", query: &[], body: b"\xff" };
        assert_eq!(route(request).unwrap_err().kind, Kind::InvalidRequest);
    }
}
