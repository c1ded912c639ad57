//! The results of a repository's images, column by column: what is the same for many images is there once, and what has no pattern is
//! in hexadecimal digits of one width, which compression keeps in four bits each.
//!
//! | column | each image has |
//! | --- | --- |
//! | `imageDigests` | 64 digits: its digest without `sha256:` |
//! | `imagesPushedAt` | the time since the image before it |
//! | `imageSizesInBytes` | the size beyond the least one |
//! | `imageTags` | a text: its tags with spaces between |
//! | `reasons` | a text: why the rule selects it, or why it is kept |
//! | `kinds` | one of these: action, rule, result and detail |

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::domain::enforcement::outcome::{ImageOutcome, ImageResult};
use crate::domain::preview::model::ActionTaken;
use crate::domain::text::instant::Instant;

/// What digests begin with.
const SHA256: &str = "sha256:";
/// Digits of a digest.
const DIGEST_DIGITS: usize = 64;
/// Maximum number of digits of a number in a text: more may be no number.
const MAX_NUMBER_DIGITS: usize = 15;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// Why columns are not results of images.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidColumns {
    /// A column has another number of images than the digests, or a value that is none.
    #[error("resultsInColumns: {0} does not fit the digests")]
    Column(&'static str),
    /// The results would take too much memory.
    #[error("the results take too much memory")]
    TooLarge,
}

/// Results of images, column by column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Columns {
    // Those of digits stand together, so that they share a code.
    image_digests: String,
    images_pushed_at: Times,
    image_sizes_in_bytes: Numbers,
    image_tags: Texts,
    reasons: Texts,
    kinds: Kinds,
}

/// Times: the first one, and the steps from each to the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Times {
    /// In steps since the Unix epoch.
    first: i64,
    /// A step in microseconds: a second, unless a time is no whole one.
    step_in_micros: i64,
    steps: Numbers,
}

/// Numbers: how much each is more than the least one, in hexadecimal digits of one width.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Numbers {
    least: i64,
    width: usize,
    digits: String,
}

/// Texts of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Texts {
    /// The different texts.
    texts: Vec<String>,
    /// Which of them each image has, from 0. Absent where all have the only one, or each has its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    of_images: Vec<usize>,
    /// Texts in which a number differs from image to image. It is in the place of the marks `#`, with as many digits at least.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    numbers: BTreeMap<usize, Numbering>,
}

/// The number in the texts of images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Numbering {
    /// The whole days from the push of the image to this time.
    DaysAt(Instant),
    /// The difference to the image with this text before it, and at first to 0.
    Steps(Vec<i64>),
}

/// What is the same for many images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kinds {
    kinds: Vec<Kind>,
    /// Which of them each image has, from 0. Absent where all have the only one, or each has its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    of_images: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    action: ActionTaken,
    applied_rule_priority: u64,
    outcome: ImageResult,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// Which of a text's numbers differs from image to image.
#[derive(Clone, Copy)]
enum Which {
    First,
    Last,
}

impl Columns {
    /// The columns of results, and what [`Self::results`] subtracts for them; `None` where there are none, or they cannot be in columns,
    /// as digests that are not SHA-256.
    #[must_use]
    pub fn of(results: &[ImageOutcome]) -> Option<(Self, usize)> {
        if results.is_empty() {
            return None;
        }
        let mut image_digests = String::with_capacity(results.len() * DIGEST_DIGITS);
        for image in results {
            image_digests.push_str(image.image_digest.strip_prefix(SHA256)?);
        }
        let sizes: Option<Vec<i64>> =
            results.iter().map(|image| i64::try_from(image.image_size_in_bytes).ok()).collect();
        let tags: Vec<String> = results.iter().map(|image| image.image_tags.join(" ")).collect();
        let reasons: Vec<&str> = results.iter().map(|image| image.reason.as_str()).collect();
        let pushed_at: Vec<Instant> = results.iter().map(|image| image.image_pushed_at).collect();
        let columns = Self {
            image_digests,
            images_pushed_at: Times::of(&pushed_at),
            image_sizes_in_bytes: Numbers::of(&sizes?),
            image_tags: Texts::of(&tags, Which::Last, &pushed_at),
            reasons: Texts::of(&reasons, Which::First, &pushed_at),
            kinds: Kinds::of(results),
        };
        // Nothing is lost, whatever tags and digests a registry has.
        let mut unlimited = usize::MAX;
        let read = columns.results(&mut unlimited);
        read.is_ok_and(|read| read == results).then_some((columns, usize::MAX - unlimited))
    }

    /// The results. What they take is subtracted from `bytes_left`.
    ///
    /// # Errors
    ///
    /// If the columns do not fit each other, or the results take more than `bytes_left`.
    pub fn results(&self, bytes_left: &mut usize) -> Result<Vec<ImageOutcome>, InvalidColumns> {
        let wrong = InvalidColumns::Column;
        let (digests, rest) = self.image_digests.as_bytes().as_chunks::<DIGEST_DIGITS>();
        let count = digests.len();
        let pushed_at = self.images_pushed_at.read(count).ok_or(wrong("imagesPushedAt"))?;
        let sizes = self.image_sizes_in_bytes.read(count).ok_or(wrong("imageSizesInBytes"))?;
        let mut tags = self.image_tags.read(count).ok_or(wrong("imageTags"))?;
        let mut reasons = self.reasons.read(count).ok_or(wrong("reasons"))?;
        if !rest.is_empty() || !are_places(&self.kinds.of_images, self.kinds.kinds.len(), count) {
            return Err(wrong("kinds"));
        }
        let mut results = Vec::with_capacity(count);
        for (at, ((digest, pushed_at), size)) in digests.iter().zip(pushed_at).zip(sizes).enumerate() {
            let digest = std::str::from_utf8(digest).map_err(|_| wrong("imageDigests"))?;
            let place = place_of(&self.kinds.of_images, self.kinds.kinds.len(), at);
            let kind = self.kinds.kinds.get(place).ok_or(wrong("kinds"))?;
            let tags = tags.next(pushed_at).ok_or(wrong("imageTags"))?;
            let reason = reasons.next(pushed_at).ok_or(wrong("reasons"))?;
            let bytes = size_of::<ImageOutcome>()
                + DIGEST_DIGITS
                + tags.len()
                + reason.len()
                + kind.detail.as_ref().map_or(0, String::len);
            *bytes_left = bytes_left.checked_sub(bytes).ok_or(InvalidColumns::TooLarge)?;
            results.push(ImageOutcome {
                image_digest: format!("{SHA256}{digest}"),
                image_tags: tags.split(' ').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
                image_pushed_at: pushed_at,
                image_size_in_bytes: u64::try_from(size).map_err(|_| wrong("imageSizesInBytes"))?,
                action: kind.action,
                applied_rule_priority: kind.applied_rule_priority,
                reason,
                outcome: kind.outcome,
                detail: kind.detail.clone(),
            });
        }
        Ok(results)
    }
}

impl Times {
    fn of(times: &[Instant]) -> Self {
        let is_whole = times.iter().all(|time| time.micros() % MICROS_PER_SECOND == 0);
        let step_in_micros = if is_whole { MICROS_PER_SECOND } else { 1 };
        let ticks: Vec<i64> = times.iter().map(|time| time.micros() / step_in_micros).collect();
        let steps: Vec<i64> = ticks.iter().zip(ticks.iter().skip(1)).map(|(one, next)| next - one).collect();
        Self { first: ticks.first().copied().unwrap_or_default(), step_in_micros, steps: Numbers::of(&steps) }
    }

    fn read(&self, count: usize) -> Option<Vec<Instant>> {
        let mut at = self.first;
        let mut times = Vec::with_capacity(count);
        let steps = self.steps.read(count.checked_sub(1)?)?;
        for step in std::iter::once(0).chain(steps) {
            at = at.checked_add(step)?;
            times.push(Instant::from_micros(at.checked_mul(self.step_in_micros)?)?);
        }
        Some(times)
    }
}

impl Numbers {
    fn of(numbers: &[i64]) -> Self {
        let least = numbers.iter().copied().min().unwrap_or_default();
        let most = numbers.iter().copied().max().unwrap_or_default();
        // The difference of two numbers of 64 bits with a sign has 64 bits without one.
        let width = match most.wrapping_sub(least).cast_unsigned() {
            0 => 0,
            difference => usize::try_from(difference.ilog(16) + 1).unwrap_or(16),
        };
        let mut digits = String::with_capacity(numbers.len() * width);
        if width > 0 {
            for number in numbers {
                // A push to a string cannot fail.
                let _ = write!(digits, "{:0width$x}", number.wrapping_sub(least).cast_unsigned());
            }
        }
        Self { least, width, digits }
    }

    fn read(&self, count: usize) -> Option<Vec<i64>> {
        if self.digits.len() != count.checked_mul(self.width)? || !self.digits.is_ascii() {
            return None;
        }
        if self.width == 0 {
            return Some(vec![self.least; count]);
        }
        let numbers = self.digits.as_bytes().chunks_exact(self.width).map(|digits| {
            let number = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
            Some(self.least.wrapping_add(number.cast_signed()))
        });
        numbers.collect()
    }
}

/// Whether these are places among a number of things, one for each image. Without any, all images have the only thing, or each has
/// its own.
fn are_places(of_images: &[usize], things: usize, count: usize) -> bool {
    match of_images {
        [] => things == 1 || things == count,
        places => places.len() == count && places.iter().all(|place| *place < things),
    }
}

/// Which of the things an image has.
fn place_of(of_images: &[usize], things: usize, at: usize) -> usize {
    match of_images {
        [] if things == 1 => 0,
        [] => at,
        places => places.get(at).copied().unwrap_or_default(),
    }
}

/// The different ones among some things, in the order in which they come, and the place of each.
fn distinct<T: Ord + Clone>(all: impl Iterator<Item = T>) -> (Vec<T>, Vec<usize>) {
    let mut places: BTreeMap<T, usize> = BTreeMap::new();
    let mut different = Vec::new();
    let of_images = all
        .map(|one| {
            *places.entry(one.clone()).or_insert_with(|| {
                different.push(one);
                different.len() - 1
            })
        })
        .collect();
    (different, of_images)
}

impl Texts {
    fn of(all: &[impl AsRef<str>], which: Which, pushed_at: &[Instant]) -> Self {
        let marked: Vec<(String, Option<i64>)> =
            all.iter().map(|text| marked(text.as_ref(), which)).collect();
        let (texts, of_images) = distinct(marked.iter().map(|(text, _)| text.as_str()));
        // Where most texts have no other of their kind, a list of them as they are is the shortest.
        if texts.len() * 2 > all.len() {
            let texts = all.iter().map(|text| text.as_ref().to_owned()).collect();
            return Self { texts, of_images: Vec::new(), numbers: BTreeMap::new() };
        }
        let mut found: BTreeMap<usize, Vec<(i64, Instant)>> = BTreeMap::new();
        for ((place, (_, number)), pushed_at) in of_images.iter().zip(&marked).zip(pushed_at) {
            if let Some(number) = number {
                found.entry(*place).or_default().push((*number, *pushed_at));
            }
        }
        let numbers = found.into_iter().map(|(place, numbers)| (place, Numbering::of(&numbers))).collect();
        let texts: Vec<String> = texts.into_iter().map(str::to_owned).collect();
        let of_images = if texts.len() == 1 { Vec::new() } else { of_images };
        Self { texts, of_images, numbers }
    }

    fn read(&self, count: usize) -> Option<ReadTexts<'_>> {
        are_places(&self.of_images, self.texts.len(), count).then(|| ReadTexts {
            texts: self,
            at: 0,
            numbers: BTreeMap::new(),
        })
    }
}

/// The texts of images, one after another.
struct ReadTexts<'a> {
    texts: &'a Texts,
    at: usize,
    /// For each text how many images had it, and the number of the last one.
    numbers: BTreeMap<usize, (usize, i64)>,
}

impl ReadTexts<'_> {
    /// The text of the next image, which was pushed at this time.
    fn next(&mut self, pushed_at: Instant) -> Option<String> {
        let place = place_of(&self.texts.of_images, self.texts.texts.len(), self.at);
        self.at += 1;
        let text = self.texts.texts.get(place)?;
        let number = match self.texts.numbers.get(&place) {
            None => return Some(text.clone()),
            Some(Numbering::DaysAt(at)) => at.days_since(pushed_at),
            Some(Numbering::Steps(steps)) => {
                let (passed, last) = self.numbers.entry(place).or_default();
                *last = last.checked_add(*steps.get(*passed)?)?;
                *passed += 1;
                *last
            }
        };
        let (before, rest) = text.split_once('#')?;
        let after = rest.trim_start_matches('#');
        let width = 1 + rest.len() - after.len();
        if width > MAX_NUMBER_DIGITS {
            return None;
        }
        Some(format!("{before}{number:0width$}{after}"))
    }
}

impl Numbering {
    /// The numbers in texts, each with the time at which its image was pushed.
    fn of(numbers: &[(i64, Instant)]) -> Self {
        let ends = numbers.iter().map(|(days, pushed_at)| pushed_at.plus_days(u64::try_from(*days).ok()?));
        let latest = ends.collect::<Option<Vec<Instant>>>().and_then(|ends| ends.into_iter().max());
        if let Some(at) = latest
            && numbers.iter().all(|(days, pushed_at)| at.days_since(*pushed_at) == *days)
        {
            return Self::DaysAt(at);
        }
        let before = std::iter::once(0).chain(numbers.iter().map(|(number, _)| *number));
        Self::Steps(numbers.iter().zip(before).map(|((number, _), before)| number - before).collect())
    }
}

/// A text with marks in place of a number in it, and the number: one that stands by itself, not in a word.
fn marked(text: &str, which: Which) -> (String, Option<i64>) {
    let whole = || (text.to_owned(), None);
    // A mark of the text itself would be taken for a number's.
    if text.contains('#') {
        return whole();
    }
    let mut words = Vec::new();
    let mut begin = 0;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        if !c.is_alphanumeric() {
            words.extend(text.get(begin..at).map(|word| (begin, word)));
            begin = at + c.len_utf8();
        }
    }
    let is_number = |word: &str| {
        (1..=MAX_NUMBER_DIGITS).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut numbers = words.into_iter().filter(|(_, word)| is_number(word));
    let found = match which {
        Which::First => numbers.next(),
        Which::Last => numbers.next_back(),
    };
    let Some((begin, digits)) = found else { return whole() };
    let Ok(number) = digits.parse::<i64>() else { return whole() };
    // Zeros before it are kept by as many marks.
    let width = if digits.starts_with('0') { digits.len() } else { 1 };
    let (before, rest) = text.split_at(begin);
    (format!("{before}{}{}", "#".repeat(width), rest.split_at(digits.len()).1), Some(number))
}

impl Kinds {
    fn of(results: &[ImageOutcome]) -> Self {
        let mut kinds: Vec<Kind> = Vec::new();
        let mut of_images = Vec::with_capacity(results.len());
        for image in results {
            let kind = Kind {
                action: image.action,
                applied_rule_priority: image.applied_rule_priority,
                outcome: image.outcome,
                detail: image.detail.clone(),
            };
            // The kind of the image before is nearly always the one.
            let place = kinds.iter().rposition(|known| *known == kind);
            of_images.push(place.unwrap_or(kinds.len()));
            if place.is_none() {
                kinds.push(kind);
            }
        }
        if kinds.len() == 1 {
            of_images.clear();
        }
        Self { kinds, of_images }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_a_number_are_one() {
        let pushed = |day: i64| Instant::from_micros(day * 86_400_000_000 + 5).unwrap();
        let days: Vec<Instant> = [1, 3, 3, 8].map(pushed).to_vec();
        let read = |texts: &Texts| {
            let mut read = texts.read(4).unwrap();
            days.iter().map(|at| read.next(*at).unwrap()).collect::<Vec<_>>()
        };
        for (all, which, templates) in [
            (["v1.9", "v1.10", "v1.11", "v1.12"], Which::Last, vec!["v1.#"]),
            (["ci-0098", "ci-0099", "ci-0100", "ci-0101"], Which::Last, vec!["ci-####"]),
            (["", "", "a b-7", "a b-8"], Which::Last, vec!["", "a b-#"]),
            (["x", "x", "x", "x"], Which::First, vec!["x"]),
            (["# 1", "# 2", "# 3", "# 4"], Which::First, vec!["# 1", "# 2", "# 3", "# 4"]),
            (
                ["Rank 7 of 9", "Rank 8 of 9", "Rank 10 of 9", "Rank 9 of 9"],
                Which::First,
                vec!["Rank # of 9"],
            ),
        ] {
            let texts = Texts::of(&all, which, &days);
            assert_eq!(texts.texts, templates);
            assert_eq!(read(&texts), all);
        }
        let aged = ["9 days of 1", "7 days of 1", "7 days of 1", "2 days of 1"];
        let texts = Texts::of(&aged, Which::First, &days);
        assert!(matches!(texts.numbers.get(&0), Some(Numbering::DaysAt(_))), "{texts:?}");
        assert_eq!(read(&texts), aged);
    }

    #[test]
    fn numbers_have_as_many_digits_as_they_need() {
        for (numbers, digits) in [
            (vec![5, 5, 5], ""),
            (vec![1, 16, 17], "000f10"),
            (vec![i64::MIN, i64::MAX], "0000000000000000ffffffffffffffff"),
            (vec![-1, 0], "01"),
        ] {
            let written = Numbers::of(&numbers);
            assert_eq!(written.read(numbers.len()).as_ref(), Some(&numbers));
            assert_eq!(written.digits, digits);
        }
        assert_eq!(Numbers::of(&[3]).read(2), Some(vec![3, 3]));
        assert_eq!(Numbers { least: 0, width: 1, digits: "12".to_owned() }.read(3), None);
        assert_eq!(Numbers { least: 0, width: 1, digits: "1g".to_owned() }.read(2), None);
    }

    #[test]
    fn columns_that_do_not_fit_each_other_are_refused() {
        let text = |kinds: &str, tags: &str, digests: usize| {
            format!(
                r##"{{"imageDigests":"{}","imagesPushedAt":{{"first":1,"stepInMicros":1,"steps":{{"least":1,"width":0,"digits":""}}}},
                "imageSizesInBytes":{{"least":1,"width":0,"digits":""}},"imageTags":{tags},
                "reasons":{{"texts":["x"]}},"kinds":{kinds}}}"##,
                "0".repeat(digests)
            )
        };
        let kind = r#"{"action":{"type":"EXPIRE"},"appliedRulePriority":1,"outcome":"PLANNED"}"#;
        let (kinds, tags) = (format!(r#"{{"kinds":[{kind}]}}"#), r#"{"texts":["v1"]}"#);
        let read = |kinds: &str, tags: &str, digests: usize| {
            let columns: Columns = serde_json::from_str(&text(kinds, tags, digests)).unwrap();
            columns.results(&mut 10_000)
        };
        assert_eq!(read(&kinds, tags, 128).unwrap().len(), 2);
        assert!(read(&kinds, tags, 100).is_err());
        assert!(read(&kinds, r#"{"texts":["a","b","c"]}"#, 128).is_err());
        assert!(read(&kinds, r#"{"texts":["a","b"],"ofImages":[0,2]}"#, 128).is_err());
        assert!(read(&kinds, r##"{"texts":["a#"],"numbers":{"0":{"steps":[1]}}}"##, 128).is_err());
        assert!(read(&kinds, r#"{"texts":["a"],"numbers":{"0":{"steps":[1,1]}}}"#, 128).is_err());
        let marks =
            format!(r##"{{"texts":["{}"],"numbers":{{"0":{{"steps":[1,1]}}}}}}"##, "#".repeat(70_000));
        assert!(read(&kinds, &marks, 128).is_err());
        assert!(read(r#"{"kinds":[]}"#, tags, 128).is_err());
        assert_eq!(read(&kinds, tags, 64 * 1000), Err(InvalidColumns::TooLarge));
    }
}
