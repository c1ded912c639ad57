//! What the images of repositories take and cost: layers counted once, upper bounds called so, and which manifests a run reads for it.
//!
//! Nothing here decides about images: figures may be missing or upper bounds, and a run goes on.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::domain::enforcement::outcome::{ImageResult, Outcome};
use crate::domain::image::layers::{LayerBytes, Layers, Location, StoredBytes};
use crate::domain::image::{ImageIndex, RepositoryImages};

/// Bytes of a gigabyte as AWS bills it.
const GIGABYTE: f64 = 1_073_741_824.0;
/// The archive costs less only beyond this many bytes in an account and Region, 150 terabytes. (Amazon ECR pricing, by the AWS price
/// list of March 2026: USD 0.10 for a gigabyte a month up to there, 0.07 beyond.)
pub const ARCHIVE_TIER_BYTES: u64 = 150 * 1024 * 1024 * 1024 * 1024;

/// The bytes of repositories, of what is deleted from them and of what is archived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct StorageBytes {
    /// The images in the standard storage class, before the run changed anything.
    pub standard: LayerBytes,
    /// The images in the archive, before the run changed anything.
    pub archive: LayerBytes,
    /// What deleting all that policies expire frees: layers that no other image of the repository has.
    pub expiring: LayerBytes,
    /// What the run's deletions freed.
    pub freed: LayerBytes,
    /// What leaves the standard storage class by all that policies archive.
    pub transitioning: LayerBytes,
}

impl StorageBytes {
    /// Adds those of another repository.
    pub const fn extend(&mut self, other: Self) {
        self.standard.extend(other.standard);
        self.archive.extend(other.archive);
        self.expiring.extend(other.expiring);
        self.freed.extend(other.freed);
        self.transitioning.extend(other.transitioning);
    }

    /// In both storage classes together.
    #[must_use]
    pub const fn total(&self) -> LayerBytes {
        self.standard.and(self.archive)
    }

    /// Those of an outcome whose layers nobody looked at: sums of sizes of images, in the standard storage class.
    #[must_use]
    pub const fn of_sizes(outcome: &Outcome) -> Self {
        Self {
            standard: LayerBytes::at_most(outcome.images.image_size_in_bytes),
            archive: LayerBytes { bytes: 0, is_upper_bound: false },
            expiring: LayerBytes::at_most(outcome.expiring.image_size_in_bytes),
            freed: LayerBytes::at_most(outcome.deleted.image_size_in_bytes),
            transitioning: LayerBytes::at_most(outcome.transitioning.image_size_in_bytes),
        }
    }
}

/// What the images of a repository take, as far as their layers are known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Storage {
    /// The bytes.
    #[serde(flatten)]
    pub bytes: StorageBytes,
    /// The number of images whose layers are not known, and that count with their sizes.
    pub unread_images: u64,
    /// Why layers could not be read; none if they could, or the run's budget did not reach so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Storage {
    /// Adds what an earlier invocation found and did in the same repository.
    pub fn follow(&mut self, before: Self) {
        let after = self.bytes;
        // What is gone counts where it was found.
        self.bytes = StorageBytes {
            standard: before.bytes.standard,
            archive: before.bytes.archive,
            expiring: after.expiring.and(before.bytes.freed),
            freed: after.freed.and(before.bytes.freed),
            transitioning: before.bytes.transitioning,
        };
        self.unread_images = self.unread_images.max(before.unread_images);
        self.problem = self.problem.take().or(before.problem);
    }

    /// Records that an image is back that was deleted: what was freed is less than it seemed.
    pub const fn put_back(&mut self) {
        self.bytes.freed.is_upper_bound = self.bytes.freed.bytes > 0;
    }
}

/// The storage of a repository before a run changes anything, to compare with what it did.
#[derive(Debug, Clone)]
pub struct Measured {
    layers: Layers,
    images: RepositoryImages,
    storage: Storage,
}

impl Measured {
    /// Measures images and what a plan does to them. `problem` is why layers could not be read.
    #[must_use]
    pub fn new(
        layers: Layers,
        images: RepositoryImages,
        deletions: &[ImageIndex],
        archivals: &[ImageIndex],
        problem: Option<String>,
    ) -> Self {
        let planned: HashMap<ImageIndex, ImageResult> = (deletions.iter())
            .map(|place| (*place, ImageResult::Deleted))
            .chain(archivals.iter().map(|place| (*place, ImageResult::Archived)))
            .collect();
        let StoredBytes { standard, archive } =
            layers.stored(images.images(), |_, image| Location::of(image));
        let unread_images = layers.unknown(images.images());
        let bytes = StorageBytes { standard, archive, ..StorageBytes::default() };
        let storage = Storage { bytes, unread_images, problem };
        let mut measured = Self { layers, images, storage };
        let (expiring, transitioning) = measured.difference(&planned);
        measured.storage.bytes.expiring = expiring;
        measured.storage.bytes.transitioning = transitioning;
        measured
    }

    /// The storage, with what was freed by what happened to images.
    #[must_use]
    pub fn after(self, done: &HashMap<ImageIndex, ImageResult>) -> Storage {
        let (freed, _) = self.difference(done);
        let mut storage = self.storage;
        storage.bytes.freed = freed;
        storage
    }

    /// What these deletions free, and what leaves the standard storage class by these archivals after them.
    fn difference(&self, done: &HashMap<ImageIndex, ImageResult>) -> (LayerBytes, LayerBytes) {
        if done.is_empty() {
            return Default::default();
        }
        let result = |at: usize| u32::try_from(at).ok().and_then(|at| done.get(&at));
        let images = self.images.images();
        let deleted = self.layers.stored(images, |at, image| match result(at) {
            Some(ImageResult::Deleted) => Location::Gone,
            _ => Location::of(image),
        });
        let moved = self.layers.stored(images, |at, image| match result(at) {
            Some(ImageResult::Deleted) => Location::Gone,
            Some(ImageResult::Archived) => Location::Archive,
            _ => Location::of(image),
        });
        (self.storage.bytes.total().without(deleted.total()), deleted.standard.without(moved.standard))
    }
}

/// The prices by which a report counts, in US dollars for a gigabyte (2³⁰ bytes) a month.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Prices {
    /// The standard storage class, and the first 150 terabytes of the archive.
    pub standard: f64,
    /// The archive, beyond 150 terabytes.
    pub archive: f64,
}

impl Default for Prices {
    /// Those of us-east-1 in March 2026. (Amazon ECR pricing.)
    fn default() -> Self {
        Self { standard: 0.10, archive: 0.07 }
    }
}

/// A sum of money a month, in US dollars, rounded to cents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct MonthlyCost {
    /// US dollars.
    pub usd: f64,
    /// Whether it may be less, since layers may be counted more than once.
    pub is_upper_bound: bool,
}

impl Prices {
    /// What bytes in each storage class cost a month.
    #[must_use]
    pub fn cost(&self, standard: LayerBytes, archive: LayerBytes) -> MonthlyCost {
        let first = archive.bytes.min(ARCHIVE_TIER_BYTES);
        let beyond = archive.bytes - first;
        let usd = gigabytes(standard.bytes.saturating_add(first)) * self.standard
            + gigabytes(beyond) * self.archive;
        MonthlyCost { usd: cents(usd), is_upper_bound: standard.is_upper_bound || archive.is_upper_bound }
    }

    /// What bytes cost a month in the standard storage class.
    #[must_use]
    pub fn of(&self, bytes: LayerBytes) -> MonthlyCost {
        self.cost(bytes, LayerBytes::default())
    }

    /// What archiving saves a month: nothing as long as the archive has less than 150 terabytes. An upper bound, since it is not
    /// documented how layers are billed that images in both classes have.
    #[must_use]
    pub fn archiving_saves(&self, archive: LayerBytes, moved: LayerBytes) -> MonthlyCost {
        let after = archive.bytes.saturating_add(moved.bytes);
        let beyond = after.saturating_sub(ARCHIVE_TIER_BYTES.max(archive.bytes));
        let usd = cents(gigabytes(beyond) * (self.standard - self.archive));
        MonthlyCost { usd, is_upper_bound: usd > 0.0 }
    }
}

fn gigabytes(bytes: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "cents are shown")]
    let bytes = bytes as f64;
    bytes / GIGABYTE
}

fn cents(usd: f64) -> f64 {
    (usd * 100.0).round() / 100.0
}

/// What a run knew of a repository: the sum of the sizes of its images, and the number of those whose layers are not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread(pub u64, pub u64);

/// What the last run over the registry knew of each repository.
pub type KnownStorage = BTreeMap<String, Unread>;

/// Images whose manifests one call reads.
const IMAGES_OF_A_CALL: u64 = 100;

/// The calls that a run may make to read manifests for their layers alone: the largest repositories come first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadBudget {
    calls: HashMap<String, u32>,
    spare: u32,
}

impl ReadBudget {
    /// Shares out a number of calls: to repositories with unread images, the largest first, those for all of these; then one to each
    /// other, the largest first, for what was pushed since.
    #[must_use]
    pub fn new(budget: u32, known: &KnownStorage) -> Self {
        let mut largest: Vec<(&String, &Unread)> = known.iter().collect();
        largest.sort_by(|(name, Unread(bytes, unread)), (other, Unread(other_bytes, other_unread))| {
            let rank = (*unread == 0).cmp(&(*other_unread == 0));
            rank.then_with(|| other_bytes.cmp(bytes)).then_with(|| name.cmp(other))
        });
        let mut spare = budget;
        let mut calls = HashMap::new();
        for (name, Unread(_, unread)) in largest {
            let wanted = unread.div_ceil(IMAGES_OF_A_CALL).max(1);
            let share = u32::try_from(wanted).unwrap_or(u32::MAX).min(spare);
            spare -= share;
            calls.insert(name.clone(), share);
        }
        Self { calls, spare }
    }

    /// The same budget, of which another invocation left this many calls for repositories that no run knows.
    #[must_use]
    pub fn with_spare(mut self, spare: Option<u32>) -> Self {
        self.spare = spare.unwrap_or(self.spare).min(self.spare);
        self
    }

    /// The calls that are left for repositories that no run knows.
    #[must_use]
    pub const fn spare(&self) -> u32 {
        self.spare
    }

    /// The calls for a repository. One that no run knows gets one call, while there is one.
    pub fn take(&mut self, repository_name: &str) -> u32 {
        if let Some(calls) = self.calls.get(repository_name) {
            return *calls;
        }
        let one = self.spare.min(1);
        self.spare -= one;
        one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERABYTE: u64 = 1 << 40;

    fn exactly(bytes: u64) -> LayerBytes {
        LayerBytes { bytes, is_upper_bound: false }
    }

    #[test]
    fn archiving_saves_nothing_below_150_terabytes() {
        let prices = Prices::default();
        let none = MonthlyCost::default();
        assert_eq!(prices.archiving_saves(exactly(0), exactly(150 * TERABYTE)), none);
        let one = prices.archiving_saves(exactly(150 * TERABYTE), exactly(TERABYTE));
        assert_eq!(one, MonthlyCost { usd: 30.72, is_upper_bound: true });
        assert_eq!(
            prices.archiving_saves(exactly(149 * TERABYTE), exactly(2 * TERABYTE)),
            one,
            "one is beyond"
        );
        assert_eq!(prices.archiving_saves(exactly(200 * TERABYTE), exactly(TERABYTE)), one);
        let before = prices.cost(exactly(TERABYTE), exactly(150 * TERABYTE)).usd;
        let after = prices.cost(exactly(0), exactly(151 * TERABYTE)).usd;
        assert!((before - after - one.usd).abs() < 0.01, "{before} - {after}");
    }

    #[test]
    fn a_price_is_for_a_gigabyte_a_month() {
        let prices = Prices { standard: 0.12, archive: 0.05 };
        assert_eq!(prices.of(exactly(100 << 30)), MonthlyCost { usd: 12.0, is_upper_bound: false });
        assert!(prices.of(LayerBytes::at_most(1 << 30)).is_upper_bound);
    }

    #[test]
    fn the_largest_repositories_are_read_first() {
        let known = KnownStorage::from([
            ("small".to_owned(), Unread(1, 50)),
            ("large".to_owned(), Unread(900, 250)),
            ("known".to_owned(), Unread(500, 0)),
        ]);
        let mut budget = ReadBudget::new(5, &known);
        let shares = ["large", "known", "small", "new", "newer"].map(|name| budget.take(name));
        assert_eq!(shares, [3, 1, 1, 0, 0], "nothing is left for what no run knows");
        let mut budget = ReadBudget::new(4, &known);
        let shares = ["large", "known", "small"].map(|name| budget.take(name));
        assert_eq!(shares, [3, 0, 1], "what is all read waits");
        let mut budget = ReadBudget::new(6, &known);
        assert_eq!(["new", "newer"].map(|name| budget.take(name)), [1, 0]);
        let mut next = ReadBudget::new(6, &known).with_spare(Some(budget.spare()));
        assert_eq!(next.take("newest"), 0, "the invocation before spent it");
        let mut none = ReadBudget::new(0, &known);
        assert_eq!(["large", "new"].map(|name| none.take(name)), [0, 0]);
    }

    #[test]
    fn what_two_invocations_freed_is_added_up() {
        let storage = |standard, expiring, freed| Storage {
            bytes: StorageBytes {
                standard: exactly(standard),
                expiring: exactly(expiring),
                freed: exactly(freed),
                ..StorageBytes::default()
            },
            ..Storage::default()
        };
        let mut after = storage(80, 10, 10);
        after.follow(storage(100, 30, 20));
        assert_eq!(after, storage(100, 30, 30));
        after.put_back();
        assert!(after.bytes.freed.is_upper_bound);
    }
}
