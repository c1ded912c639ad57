//! Files as they are named on the command line; `-` is standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use shared::domain::builds::build_config::BuildConfig;
use shared::domain::enforcement::policy_set::PolicySet;
use shared::domain::image::listing::{InvalidListing, Listing, ListingReader, UnreadableListing};
use shared::domain::text::locate::{Place, split_place};
use shared::domain::text::recognize::{NotText, TextDecoder, decode, excerpt};

/// No policy is anywhere near this size; a larger file is something else. ECR's own limit is 30,720 characters.
pub(crate) const MAX_POLICY_BYTES: u64 = 1024 * 1024;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InputError {
    #[error("{file}: {}", describe(.error))]
    Read { file: String, error: io::Error },
    #[error("{file}: is a directory; name a file")]
    Directory { file: String },
    #[error("{file}: is empty")]
    Empty { file: String },
    #[error("{file}: {problem}")]
    NotText { file: String, problem: NotText },
    #[error(
        "{file}: is an object in Amazon S3; copy it first, for instance to standard input: aws s3 cp {file} - | ecr-steward …"
    )]
    Remote { file: String },
    #[error("{file}: is larger than {limit} bytes, too large for a policy; is it the right file?")]
    TooLarge { file: String, limit: u64 },
    #[error("standard input can be read once; name a file for all but one of the arguments")]
    StandardInputTwice,
    /// The content is not of the kind that the argument asks for.
    #[error("{file}: {problem}")]
    Content { file: String, problem: String },
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "not readable: permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// The name of a file for messages.
pub(crate) fn name(path: &Path) -> String {
    if is_standard_input(path) { "standard input".to_owned() } else { path.display().to_string() }
}

pub(crate) fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The path of a name as the AWS CLI accepts it: `file://policy.json`.
fn without_scheme(path: &Path) -> &Path {
    let stripped =
        path.to_str().and_then(|text| text.strip_prefix("file://").or_else(|| text.strip_prefix("fileb://")));
    stripped.map_or(path, Path::new)
}

/// A message that begins with its place, as `FILE:LINE:COLUMN` and the rest with the line of the text and a mark below it.
pub(crate) fn at_its_place(file: &str, text: &str, problem: &str) -> InputError {
    with_excerpt(file, problem, |Place { line, column }| excerpt(text, line, column))
}

/// A message that begins with its place, as `FILE:LINE:COLUMN` and the rest with an excerpt of the text below it.
fn with_excerpt(file: &str, problem: &str, excerpt: impl FnOnce(Place) -> String) -> InputError {
    match split_place(problem) {
        None => InputError::Content { file: file.to_owned(), problem: problem.to_owned() },
        Some((place @ Place { line, column }, rest)) => InputError::Content {
            file: format!("{file}:{line}:{column}"),
            problem: format!("{rest}\n{}", excerpt(place)),
        },
    }
}

/// The bytes of a file.
fn open(path: &Path) -> Result<Box<dyn Read>, InputError> {
    let file = name(path);
    if file.starts_with("s3://") {
        return Err(InputError::Remote { file });
    }
    if is_standard_input(path) {
        return Ok(Box::new(io::stdin().lock()));
    }
    let failed = |error| InputError::Read { file: file.clone(), error };
    let opened = File::open(without_scheme(path)).map_err(failed)?;
    if opened.metadata().map_err(failed)?.is_dir() {
        return Err(InputError::Directory { file });
    }
    Ok(Box::new(opened))
}

/// Reads a whole file as text, of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<String, InputError> {
    let source = open(path)?;
    let file = name(path);
    let mut bytes = Vec::new();
    source
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| InputError::Read { file: file.clone(), error })?;
    if bytes.len() as u64 > limit {
        return Err(InputError::TooLarge { file, limit });
    }
    let text = decode(bytes).map_err(|problem| InputError::NotText { file: file.clone(), problem })?;
    if text.trim().is_empty() {
        return Err(InputError::Empty { file });
    }
    Ok(text)
}

/// Reads a listing of images. Listings are large: no more than a part of the text is in memory.
pub(crate) fn read_listing(path: &Path) -> Result<Listing, InputError> {
    let mut source = open(path)?;
    let file = name(path);
    let not_text = |problem| InputError::NotText { file: file.clone(), problem };
    let not_listing = |error: UnreadableListing| match error.problem {
        InvalidListing::Empty => InputError::Empty { file: file.clone() },
        problem => with_excerpt(&file, &problem.to_string(), |_| error.excerpt.unwrap_or_default()),
    };
    let (mut decoder, mut reader) = (TextDecoder::default(), ListingReader::default());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let bytes = match source.read(&mut buffer) {
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(InputError::Read { file, error }),
        };
        if bytes.is_empty() {
            break;
        }
        let text = decoder.push(bytes).map_err(not_text)?;
        reader.push(&text).map_err(not_listing)?;
    }
    reader.push(&decoder.finish().map_err(not_text)?).map_err(not_listing)?;
    reader.finish().map_err(not_listing)
}

/// The kind of a file that is not a policy, if it is one of the other known kinds.
pub(crate) fn other_kind(text: &str) -> Option<String> {
    if PolicySet::is_meant(text) {
        let advice = "`enforce --policies`, `explain --policies` and `check` read it; a policy is one of those that its entries have";
        return Some(format!("is a policies file, not a policy: {advice}"));
    }
    if BuildConfig::is_meant(text) {
        return Some("is a list of builds, not a policy: `check` reads it".to_owned());
    }
    let is_listing = Listing::parse(text).is_ok_and(|listing| !listing.repositories.is_empty());
    is_listing.then(|| "is a listing of images, not a policy: were --policy and --images swapped?".to_owned())
}
