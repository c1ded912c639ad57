//! An object with the outcomes of repositories: a line of JSON for each, compressed with gzip. This is the only place that knows how
//! outcomes are kept.
//!
//! In a line the results of images are in [`columns`]. Objects of earlier versions are not compressed, and have every result in full;
//! they are read as well.

use serde::{Deserialize, Serialize};
use zlib_rs::{DeflateConfig, Inflate, InflateFlush, ReturnCode, Status, Strategy};

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
const WINDOW_BITS: u8 = 15 + 16;
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

/// What a line with columns has in it: most have none, and need not be parsed once more.
const COLUMNS_FIELD: &str = "\"resultsInColumns\"";

/// Whether an object with this key is the last one of its batch.
#[must_use]
pub fn is_last(key: &str) -> bool {
    let name = key.strip_suffix(EXTENSION).or_else(|| key.strip_suffix(PLAIN_EXTENSION));
    name.is_some_and(|name| name.ends_with(LAST))
}

/// The object's content. Results beyond what [`read`] takes are counted, and not listed.
///
/// # Errors
///
/// If an outcome cannot be written, or is too large without its results.
pub fn write(outcomes: Vec<Outcome>) -> Result<Vec<u8>, InvalidOutcomes> {
    compress(text(outcomes)?.as_bytes())
}

/// The object's text, before it is compressed.
///
/// # Errors
///
/// If an outcome cannot be written, or is too large without its results.
pub fn text(mut outcomes: Vec<Outcome>) -> Result<String, InvalidOutcomes> {
    let mut most = outcomes.iter().map(|outcome| outcome.results.len()).max().unwrap_or_default();
    loop {
        match lines(&mut outcomes, most, MAX_TEXT_BYTES)? {
            Some(text) => return Ok(text),
            None if most == 0 => return Err(InvalidOutcomes::TooLarge),
            // Images with very many tags, or long errors.
            None => most /= 2,
        }
    }
}

/// The lines of outcomes, each with a number of results at most, beyond which they lose theirs. `None` if they, or what their columns
/// expand to, have more than some bytes.
fn lines(outcomes: &mut [Outcome], most: usize, bytes: usize) -> Result<Option<String>, InvalidOutcomes> {
    let (mut text, mut expanded) = (String::new(), 0_usize);
    for outcome in outcomes {
        let beyond = outcome.results.len().saturating_sub(most);
        outcome.results.truncate(most);
        outcome.results_not_shown = outcome.results_not_shown.saturating_add(beyond as u64);
        let (line, more) = line(outcome).map_err(|error| InvalidOutcomes::NotWritten {
            repository_name: outcome.repository_name.clone(),
            problem: error.to_string(),
        })?;
        text.push_str(&line);
        text.push('\n');
        expanded = expanded.saturating_add(more);
        if text.len().max(expanded) > bytes {
            return Ok(None);
        }
    }
    Ok(Some(text))
}

/// The outcomes of the content of the object with this key.
///
/// # Errors
///
/// If the content is damaged, too large, or something else.
pub fn read(key: &str, content: &[u8]) -> Result<Vec<Outcome>, InvalidOutcomes> {
    let is_compressed = key.ends_with(EXTENSION) || content.starts_with(&GZIP);
    let decompressed = if is_compressed { Some(decompress(content)?) } else { None };
    let text = decompressed.as_deref().unwrap_or(content);
    let text = std::str::from_utf8(text).map_err(|_| InvalidOutcomes::NoText)?;
    // However often a text is repeated by the columns of an object, it takes no more memory than this.
    let mut bytes_left = MAX_TEXT_BYTES;
    let mut outcomes = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let invalid = |problem: String| InvalidOutcomes::Line { line: number, problem };
        let mut outcome: Outcome = serde_json::from_str(line).map_err(|error| invalid(error.to_string()))?;
        if !line.contains(COLUMNS_FIELD) {
            outcomes.push(outcome);
            continue;
        }
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

/// An outcome as a line, without its end, and the bytes that its columns expand to.
fn line(outcome: &mut Outcome) -> Result<(String, usize), serde_json::Error> {
    let Some((columns, expanded)) = Columns::of(&outcome.results) else {
        return Ok((serde_json::to_string(outcome)?, 0));
    };
    let results = std::mem::take(&mut outcome.results);
    let head = serde_json::to_string(outcome);
    outcome.results = results;
    let mut line = head?;
    let columns = serde_json::to_string(&WithColumns { results_in_columns: Some(columns) })?;
    // The fields of the second object follow those of the first.
    if let (Some('}'), Some(fields)) = (line.pop(), columns.strip_prefix('{')) {
        line.push(',');
        line.push_str(fields);
    }
    Ok((line, expanded))
}

fn compress(text: &[u8]) -> Result<Vec<u8>, InvalidOutcomes> {
    let config = DeflateConfig {
        window_bits: i32::from(WINDOW_BITS),
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
    let mut inflate = Inflate::new(true, WINDOW_BITS);
    let status = inflate.decompress(content, &mut text, InflateFlush::Finish);
    // A text of another size than the object says is never read beyond that size, and nothing may follow it.
    let is_whole = status == Ok(Status::StreamEnd)
        && inflate.total_out() == size as u64
        && inflate.total_in() == content.len() as u64;
    if is_whole { Ok(text) } else { Err(InvalidOutcomes::Damaged) }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::domain::enforcement::outcome::{Amount, ImageOutcome, ImageResult, Status};
    use crate::domain::preview::model::{ActionKind, ActionTaken};
    use crate::domain::text::instant::Instant;

    const KEY: &str = "a.jsonl.gz";

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
        assert_eq!(read(KEY, &written).unwrap(), outcomes);
        assert!(read(KEY, &write(Vec::new()).unwrap()).unwrap().is_empty());
    }

    #[test]
    fn what_an_earlier_version_wrote_is_read() {
        let outcomes = [outcome((0..5).map(image).collect()), outcome(Vec::new())];
        let lines: Vec<String> =
            outcomes.iter().map(|outcome| serde_json::to_string(outcome).unwrap()).collect();
        assert_eq!(read("a.jsonl", lines.join("\n").as_bytes()).unwrap(), outcomes);
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
            assert!(read(KEY, &written[..end]).is_err(), "{end}");
        }
        for at in (20..written.len()).step_by(97) {
            let mut damaged = written.clone();
            damaged[at] ^= 0x10;
            assert!(read(KEY, &damaged).is_err(), "{at}");
        }
        let bomb = compress(&vec![b' '; MAX_TEXT_BYTES + 1]).unwrap();
        assert!(bomb.len() < 100_000);
        assert_eq!(read(KEY, &bomb), Err(InvalidOutcomes::TooLarge));
        // One that says that it is small.
        let mut liar = bomb;
        let size = liar.len();
        liar[size - SIZE_BYTES..].copy_from_slice(&100_u32.to_le_bytes());
        assert_eq!(read(KEY, &liar), Err(InvalidOutcomes::Damaged));
    }

    #[test]
    fn a_text_that_columns_repeat_without_end_is_refused() {
        let mut images: Vec<ImageOutcome> = (0..1000).map(image).collect();
        let sentence = "x".repeat(100_000);
        for image in &mut images {
            image.reason.clone_from(&sentence);
        }
        let repeated = outcome(images);
        let text = lines(&mut [repeated.clone()], usize::MAX, usize::MAX).unwrap().unwrap();
        let written = compress(text.as_bytes()).unwrap();
        assert!(written.len() < 100_000);
        assert_eq!(read(KEY, &written), Err(InvalidOutcomes::TooLarge));
        // It is written so that it is read: what is not listed is counted.
        let again = read(KEY, &write(vec![repeated, outcome(vec![image(1)])]).unwrap()).unwrap();
        let listed = again[0].results.len();
        assert!(listed > 200, "{listed}");
        assert_eq!(again[0].results_not_shown, 1000 - listed as u64);
        assert_eq!((again[0].expiring, again[1].results.len()), (outcome(Vec::new()).expiring, 1));
        // Without columns, too.
        let mut images: Vec<ImageOutcome> = (0..1000).map(image).collect();
        for image in &mut images {
            image.image_digest = "sha512:1".to_owned();
            image.image_tags = vec!["x".repeat(128); 1000];
        }
        let again = read(KEY, &write(vec![outcome(images)]).unwrap()).unwrap();
        assert!(again[0].results_not_shown > 0 && !again[0].results.is_empty());
    }

    #[test]
    fn all_images_that_an_outcome_lists_are_written() {
        // Of what is in use an outcome lists more than it does of the rest.
        let outcomes = vec![outcome((0..2000).map(image).collect())];
        assert_eq!(read(KEY, &write(outcomes.clone()).unwrap()).unwrap(), outcomes);
    }

    #[test]
    fn what_follows_the_text_makes_it_damaged() {
        let written = write(vec![outcome((0..54).map(image).collect())]).unwrap();
        for rest in [&b"x"[..], &written[written.len() - SIZE_BYTES..], &written] {
            assert!(read(KEY, &[&written, rest].concat()).is_err());
        }
    }

    #[test]
    fn whatever_is_missing_or_wrong_of_an_object_makes_it_invalid() {
        let mut rng = fastrand::Rng::with_seed(3);
        let outcomes: Vec<Outcome> =
            (0..5).map(|number| outcome((number..number * 7).map(image).collect())).collect();
        let written = write(outcomes.clone()).unwrap();
        for end in 0..written.len() {
            assert!(read(KEY, &written[..end]).is_err(), "{end}");
        }
        for _ in 0..2000 {
            let mut damaged = written.clone();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..damaged.len());
                damaged[at] = rng.u8(..);
            }
            // The time in the header is of no use, nor is the system that wrote it.
            assert!(read(KEY, &damaged).is_ok_and(|read| read == outcomes) || read(KEY, &damaged).is_err());
        }
        // In the text itself every line counts.
        let text = text(outcomes.clone()).unwrap();
        for _ in 0..2000 {
            let mut bytes = text.clone().into_bytes();
            let at = rng.usize(..bytes.len());
            bytes.truncate(at);
            // What an earlier version wrote, and S3 never cuts off.
            let read = read("a.jsonl", &bytes);
            let whole = bytes.iter().filter(|byte| **byte == b'\n').count();
            assert!(read.is_err() || read.is_ok_and(|read| read.len() >= whole), "{at}");
        }
    }

    /// A value at the edge of its type, or any.
    fn number(rng: &mut fastrand::Rng) -> u64 {
        let edges = [0, 1, 2, u64::MAX, i64::MAX.unsigned_abs(), i64::MAX.unsigned_abs() + 1, 1 << 53];
        if rng.bool() { edges[rng.usize(..edges.len())] } else { rng.u64(..) >> rng.u8(..64) }
    }

    fn hostile_text(rng: &mut fastrand::Rng) -> String {
        let parts = [
            "",
            " ",
            "  ",
            "#",
            "##",
            "v",
            "1",
            "007",
            "-",
            "-5",
            "é",
            "日本",
            "\u{2028}",
            "\n",
            "\r\n",
            "\"",
            "\\",
            "\0",
            "٣",
            "12345678901234567890",
            "9999999999999999",
            "sha256:",
            "resultsInColumns",
            "\"resultsInColumns\"",
            "{}",
            "a b",
        ];
        (0..rng.usize(..5)).map(|_| parts[rng.usize(..parts.len())]).collect()
    }

    fn hostile_digest(rng: &mut fastrand::Rng) -> String {
        let whole = format!("sha256:{}", digest(rng.u64(..3)));
        match rng.u8(..12) {
            0 => String::new(),
            1 => "sha256:".to_owned(),
            2 => format!("sha512:{}", digest(1).repeat(2)),
            3 => whole.to_uppercase(),
            4 => format!("{whole}0"),
            // Of two that have 128 digits together.
            5 => format!("sha256:{}", "a".repeat(32)),
            6 => format!("sha256:{}", "é".repeat(32)),
            7 => hostile_text(rng),
            _ => whole,
        }
    }

    fn hostile_image(rng: &mut fastrand::Rng, is_tame: bool) -> ImageOutcome {
        let times = [0, -1, 1, -1_000_000, 999_999, -62_135_596_800_000_000, 253_402_207_200_000_000];
        let micros = match rng.u8(..3) {
            0 => times[rng.usize(..times.len())],
            1 => rng.i64(-4_000_000_000..4_000_000_000) * 1_000_000,
            _ => rng.i64(-4_000_000_000_000_000..4_000_000_000_000_000),
        };
        let results = [ImageResult::Planned, ImageResult::InUse, ImageResult::Kept, ImageResult::Failed];
        let tame = image(rng.u64(..9));
        ImageOutcome {
            image_digest: if is_tame { tame.image_digest } else { hostile_digest(rng) },
            image_tags: (0..rng.usize(..3)).map(|_| hostile_text(rng)).collect(),
            image_pushed_at: Instant::from_micros(micros).unwrap(),
            image_size_in_bytes: if is_tame { number(rng) >> 1 } else { number(rng) },
            action: tame.action,
            applied_rule_priority: number(rng),
            reason: if rng.bool() { tame.reason } else { hostile_text(rng) },
            outcome: results[rng.usize(..results.len())],
            detail: rng.bool().then(|| hostile_text(rng)),
        }
    }

    #[test]
    fn any_outcome_is_read_as_it_was_written() {
        let mut in_columns = 0;
        for seed in 0..3000 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let is_tame = rng.bool();
            let outcomes: Vec<Outcome> = (0..rng.usize(..4))
                .map(|_| {
                    let results = (0..rng.usize(..12)).map(|_| hostile_image(&mut rng, is_tame)).collect();
                    let (error, results_not_shown) = (Some(hostile_text(&mut rng)), number(&mut rng));
                    let repository_name = hostile_text(&mut rng);
                    Outcome { repository_name, error, results_not_shown, ..outcome(results) }
                })
                .collect();
            let text = text(outcomes.clone()).unwrap();
            in_columns += text.matches("\"resultsInColumns\":{").count();
            let written = write(outcomes.clone()).unwrap();
            assert_eq!(read(KEY, &written).unwrap(), outcomes, "seed {seed}");
            // And as an earlier version did it.
            let lines: Vec<String> =
                outcomes.iter().map(|outcome| serde_json::to_string(outcome).unwrap()).collect();
            assert_eq!(read("a.jsonl", lines.join("\n").as_bytes()).unwrap(), outcomes, "seed {seed}");
        }
        assert!(in_columns > 300, "{in_columns}");
    }
}
