//! An object with the outcomes of repositories: a line of JSON for each, compressed with gzip. This is the only place that knows how
//! outcomes are kept.
//!
//! In a line the results of images are in [`columns`]. Objects of earlier versions are not compressed, and have every result in full;
//! they are read as well.

use serde::{Deserialize, Serialize};
use zlib_rs::{DeflateConfig, InflateConfig, ReturnCode, Strategy};

use crate::domain::enforcement::outcome::Outcome;
use crate::domain::enforcement::run::LAST;

pub mod columns;

use columns::{Columns, InvalidColumns};

/// The file name's extension. AWS's tools, Athena among them, take an object with this end for lines that are compressed.
pub const EXTENSION: &str = ".jsonl.gz";
/// The extension that earlier versions gave.
const PLAIN_EXTENSION: &str = ".jsonl";
/// The content type of the object. Nobody decompresses it on the way: it says nothing of a content encoding.
pub const CONTENT_TYPE: &str = "application/gzip";

/// Maximum size of the text of one object, and of what its columns expand to, in bytes. A batch has a hundred repositories with a
/// thousand results each at most, which are 35 MB in full.
pub const MAX_TEXT_BYTES: usize = 64 * 1024 * 1024;

/// The first bytes of what gzip compresses. No JSON begins so.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Bytes behind the compressed text: its checksum, and its size in the last four.
const SIZE_BYTES: usize = 4;
/// A window of 32 KiB, and the header and trailer of gzip.
const WINDOW_BITS: i32 = 15 + 16;
/// The best level, 9, takes two thirds more instructions for the same bytes.
const LEVEL: i32 = 8;
/// What gzip adds to deflate beyond what zlib does, and the blocks of unusual settings.
const MORE_BYTES: usize = 1024;

/// Why an object is not one of outcomes, or cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOutcomes {
    /// It is compressed, and damaged.
    #[error("its compressed text is damaged")]
    Damaged,
    /// Its text, or what its results expand to, is too long.
    #[error("its text has more than {MAX_TEXT_BYTES} bytes")]
    TooLarge,
    /// It is no text.
    #[error("it is no UTF-8 text")]
    NoText,
    /// A line is not an outcome.
    #[error("line {line}: {problem}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// The problem.
        problem: String,
    },
    /// The outcome of the repository cannot be written as JSON.
    #[error("the outcome of {repository_name} cannot be written: {problem}")]
    NotWritten {
        /// The repository.
        repository_name: String,
        /// The problem.
        problem: String,
    },
    /// The text could not be compressed.
    #[error("the text could not be compressed")]
    NotCompressed,
}

/// The columns in a line, which are not a field of an outcome.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WithColumns {
    #[serde(skip_serializing_if = "Option::is_none")]
    results_in_columns: Option<Columns>,
}

/// Whether an object with this key is the last one of its batch.
#[must_use]
pub fn is_last(key: &str) -> bool {
    let name = key.strip_suffix(EXTENSION).or_else(|| key.strip_suffix(PLAIN_EXTENSION));
    name.is_some_and(|name| name.ends_with(LAST))
}

/// The object's content.
///
/// # Errors
///
/// If an outcome cannot be written.
pub fn write(outcomes: Vec<Outcome>) -> Result<Vec<u8>, InvalidOutcomes> {
    compress(text(outcomes)?.as_bytes())
}

/// The object's text, before it is compressed.
///
/// # Errors
///
/// If an outcome cannot be written.
pub fn text(outcomes: Vec<Outcome>) -> Result<String, InvalidOutcomes> {
    let mut text = String::new();
    for mut outcome in outcomes {
        let line = line(&mut outcome).map_err(|error| InvalidOutcomes::NotWritten {
            repository_name: outcome.repository_name,
            problem: error.to_string(),
        })?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

/// The outcomes of an object's content.
///
/// # Errors
///
/// If the content is damaged, too large, or something else.
pub fn read(content: &[u8]) -> Result<Vec<Outcome>, InvalidOutcomes> {
    let decompressed = if content.starts_with(&GZIP) { Some(decompress(content)?) } else { None };
    let text = decompressed.as_deref().unwrap_or(content);
    let text = std::str::from_utf8(text).map_err(|_| InvalidOutcomes::NoText)?;
    // However often a text is repeated by the columns of an object, it takes no more memory than this.
    let mut bytes_left = MAX_TEXT_BYTES;
    let mut outcomes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let invalid = |problem: String| InvalidOutcomes::Line { line: number, problem };
        let mut outcome: Outcome = serde_json::from_str(line).map_err(|error| invalid(error.to_string()))?;
        let more: WithColumns = serde_json::from_str(line).map_err(|error| invalid(error.to_string()))?;
        if let Some(columns) = more.results_in_columns {
            let results = columns.results(&mut bytes_left).map_err(|problem| match problem {
                InvalidColumns::TooLarge => InvalidOutcomes::TooLarge,
                problem => invalid(problem.to_string()),
            })?;
            outcome.results.extend(results);
        }
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// An outcome as a line, without its end. The outcome's results are not in it afterwards.
fn line(outcome: &mut Outcome) -> Result<String, serde_json::Error> {
    let Some(columns) = Columns::of(&outcome.results) else { return serde_json::to_string(outcome) };
    outcome.results = Vec::new();
    let mut line = serde_json::to_string(outcome)?;
    let columns = serde_json::to_string(&WithColumns { results_in_columns: Some(columns) })?;
    // The fields of the second object follow those of the first.
    if let (Some('}'), Some(fields)) = (line.pop(), columns.strip_prefix('{')) {
        line.push(',');
        line.push_str(fields);
    }
    Ok(line)
}

fn compress(text: &[u8]) -> Result<Vec<u8>, InvalidOutcomes> {
    let config = DeflateConfig {
        window_bits: WINDOW_BITS,
        level: LEVEL,
        // As many symbols of one kind as possible have a code of their own.
        mem_level: 9,
        // Short repetitions are by chance among hexadecimal digits, and cost more than the digits.
        strategy: Strategy::Filtered,
        ..DeflateConfig::default()
    };
    let mut compressed = vec![0; zlib_rs::compress_bound(text.len()) + text.len() / 8 + MORE_BYTES];
    let (written, result) = zlib_rs::compress_slice(&mut compressed, text, config);
    let length = written.len();
    if result != ReturnCode::Ok {
        return Err(InvalidOutcomes::NotCompressed);
    }
    compressed.truncate(length);
    Ok(compressed)
}

fn decompress(content: &[u8]) -> Result<Vec<u8>, InvalidOutcomes> {
    let size = content.last_chunk::<SIZE_BYTES>().ok_or(InvalidOutcomes::Damaged)?;
    let size = usize::try_from(u32::from_le_bytes(*size)).map_err(|_| InvalidOutcomes::TooLarge)?;
    if size > MAX_TEXT_BYTES {
        return Err(InvalidOutcomes::TooLarge);
    }
    let mut text = vec![0; size];
    let config = InflateConfig { window_bits: WINDOW_BITS };
    let (written, result) = zlib_rs::decompress_slice(&mut text, content, config);
    // A text of another size than the object says is never read beyond that size.
    if result != ReturnCode::Ok || written.len() != size {
        return Err(InvalidOutcomes::Damaged);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::domain::enforcement::outcome::{Amount, ImageOutcome, ImageResult, Status};
    use crate::domain::preview::model::{ActionKind, ActionTaken};
    use crate::domain::text::instant::Instant;

    /// Digits without any pattern.
    fn digest(number: u64) -> String {
        Sha256::digest(number.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn image(number: u64) -> ImageOutcome {
        let pushed_at = Instant::parse("2026-06-01T00:00:00Z").unwrap().micros();
        let pushed_at = Instant::from_micros(pushed_at + i64::try_from(number).unwrap() * 3_600_000_000);
        ImageOutcome {
            image_digest: format!("sha256:{}", digest(number)),
            image_tags: vec![format!("build-{number}")],
            image_pushed_at: pushed_at.unwrap(),
            image_size_in_bytes: 50_000_000 + number * 977,
            action: ActionTaken { kind: ActionKind::Expire, target_storage_class: None },
            applied_rule_priority: 1,
            reason: format!(
                "Pushed {} days ago; rule 1 expires images older than 14 days.",
                100 - number / 24
            ),
            outcome: ImageResult::Planned,
            detail: None,
        }
    }

    fn outcome(results: Vec<ImageOutcome>) -> Outcome {
        let amount = Amount { image_total_count: 2, image_size_in_bytes: 30 };
        Outcome {
            repository_name: "team/app".to_owned(),
            status: Status::Previewed,
            expiring: amount,
            results,
            ..Outcome::default()
        }
    }

    #[test]
    fn outcomes_are_read_as_they_were_written() {
        let mut strange = image(3);
        strange.image_digest = "sha512:1".to_owned();
        let outcomes = vec![
            outcome((0..54).map(image).collect()),
            outcome(Vec::new()),
            outcome(vec![image(7)]),
            outcome(vec![image(1), strange]),
        ];
        let written = write(outcomes.clone()).unwrap();
        assert_eq!(read(&written).unwrap(), outcomes);
        assert!(read(&write(Vec::new()).unwrap()).unwrap().is_empty());
    }

    #[test]
    fn what_an_earlier_version_wrote_is_read() {
        let outcomes = [outcome((0..5).map(image).collect()), outcome(Vec::new())];
        let lines: Vec<String> =
            outcomes.iter().map(|outcome| serde_json::to_string(outcome).unwrap()).collect();
        assert_eq!(read(lines.join("\n").as_bytes()).unwrap(), outcomes);
        assert!(is_last("runs/1/outcomes/a/00000-00100-1-last.jsonl"));
        assert!(is_last("runs/1/outcomes/a/00000-00100-1-last.jsonl.gz"));
        assert!(!is_last("runs/1/outcomes/a/00000-00100-1.jsonl.gz") && !is_last("a-last"));
    }

    #[test]
    fn the_result_of_an_image_takes_little_more_than_its_digest() {
        let written = write(vec![outcome((0..1000).map(image).collect())]).unwrap();
        // A digest alone has 32 bytes.
        assert!(written.len() < 1000 * 36, "{}", written.len());
    }

    #[test]
    fn an_object_that_is_damaged_or_a_bomb_is_refused() {
        let written = write(vec![outcome((0..54).map(image).collect())]).unwrap();
        for end in [0, 2, 10, 300, written.len() - 1] {
            assert!(read(&written[..end]).is_err() || end == 0, "{end}");
        }
        for at in (20..written.len()).step_by(97) {
            let mut damaged = written.clone();
            damaged[at] ^= 0x10;
            assert!(read(&damaged).is_err(), "{at}");
        }
        let bomb = compress(&vec![b' '; MAX_TEXT_BYTES + 1]).unwrap();
        assert!(bomb.len() < 100_000);
        assert_eq!(read(&bomb), Err(InvalidOutcomes::TooLarge));
        // One that says that it is small.
        let mut liar = bomb;
        let size = liar.len();
        liar[size - SIZE_BYTES..].copy_from_slice(&100_u32.to_le_bytes());
        assert_eq!(read(&liar), Err(InvalidOutcomes::Damaged));
    }

    #[test]
    fn a_text_that_columns_repeat_without_end_is_refused() {
        let mut images: Vec<ImageOutcome> = (0..1000).map(image).collect();
        let sentence = "x".repeat(100_000);
        for image in &mut images {
            image.reason.clone_from(&sentence);
        }
        let written = write(vec![outcome(images)]).unwrap();
        assert!(written.len() < 100_000);
        assert_eq!(read(&written), Err(InvalidOutcomes::TooLarge));
    }
}
