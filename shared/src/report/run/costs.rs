//! What the images of a run take and cost, with upper bounds called so: for the page, the mail and the terminal.

use std::collections::HashMap;

use super::*;
use crate::domain::enforcement::storage::{MonthlyCost, Prices, StorageBytes};
use crate::domain::image::layers::LayerBytes;
use crate::domain::text::quantity::{dollars, grouped};

/// Values of the cost tag that a report lists; repositories with other values are one row.
pub const COST_TAGS: usize = 50;
/// Values of the cost tag that a mail or a terminal lists.
const COST_TAGS_IN_TEXT: usize = 10;
/// Maximum number of values of the cost tag in memory. Tags are for people to write, and could be different for each repository.
const MAX_VALUES: usize = 10_000;

/// The repositories with one value of the cost tag.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TagCost {
    /// The value of the tag; absent for repositories without the tag, and for all other values together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether these are all other values together.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_rest: bool,
    /// The number of repositories.
    pub repositories: u64,
    /// Their bytes.
    #[serde(flatten)]
    pub storage: StorageBytes,
    /// Their cost.
    pub monthly_cost: MonthlyCost,
}

impl TagCost {
    /// The name of the row, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        match (&self.value, self.is_rest) {
            (Some(value), _) => value,
            (None, true) => "other values",
            (None, false) => "without the tag",
        }
    }

    fn extend(&mut self, other: &Self) {
        self.repositories += other.repositories;
        self.storage.extend(other.storage);
    }
}

/// Adds up repositories by the value of their cost tag.
#[derive(Debug, Default)]
pub(super) struct ByTag {
    values: HashMap<String, TagCost>,
    untagged: TagCost,
    rest: TagCost,
}

impl ByTag {
    pub(super) fn take(&mut self, outcome: &Outcome) {
        if outcome.status == Status::Unmatched && outcome.survey.is_none() {
            return;
        }
        let one = TagCost { repositories: 1, storage: storage_of(outcome), ..TagCost::default() };
        let is_full = self.values.len() >= MAX_VALUES;
        let sum = match &outcome.cost_tag {
            None => &mut self.untagged,
            Some(value) if is_full && !self.values.contains_key(value) => &mut self.rest,
            Some(value) => self.values.entry(value.clone()).or_default(),
        };
        sum.extend(&one);
    }

    /// The rows, the largest first; none if no repository has the tag.
    pub(super) fn rows(self) -> Vec<TagCost> {
        let Self { values, untagged, mut rest } = self;
        if values.is_empty() {
            return Vec::new();
        }
        let mut rows: Vec<TagCost> =
            values.into_iter().map(|(value, sum)| TagCost { value: Some(value), ..sum }).collect();
        rows.sort_by(|one, two| {
            let size = |row: &TagCost| std::cmp::Reverse(row.storage.total().bytes);
            size(one).cmp(&size(two)).then_with(|| one.value.cmp(&two.value))
        });
        for row in rows.split_off(rows.len().min(COST_TAGS)) {
            rest.extend(&row);
        }
        let others = [TagCost { is_rest: true, ..rest }, untagged];
        rows.extend(others.into_iter().filter(|row| row.repositories > 0));
        rows
    }
}

/// What the images of a repository take: by layers, or where nobody looked at them the sums of the images' sizes.
pub(super) fn storage_of(outcome: &Outcome) -> StorageBytes {
    outcome.storage.as_ref().map_or_else(|| StorageBytes::of_sizes(outcome), |storage| storage.bytes)
}

impl Totals {
    /// Counts what the images cost, and what is saved.
    pub(super) fn set_costs(&mut self, prices: Prices) {
        let storage = self.storage;
        let cost = prices.cost(storage.standard, storage.archive);
        let gone = if self.deleted.is_zero() { storage.expiring } else { storage.freed };
        let saving = prices.of(gone);
        let archiving = prices.archiving_saves(storage.archive, storage.transitioning);
        self.estimated_monthly_cost = cost.usd;
        self.cost_is_upper_bound = cost.is_upper_bound;
        self.estimated_monthly_saving = saving.usd;
        self.saving_is_upper_bound = saving.is_upper_bound;
        self.estimated_monthly_archive_saving = archiving.usd;
    }

    /// The cost of all images a month.
    #[must_use]
    pub const fn monthly_cost(&self) -> MonthlyCost {
        MonthlyCost { usd: self.estimated_monthly_cost, is_upper_bound: self.cost_is_upper_bound }
    }

    /// The saving a month, by what was deleted, or would be.
    #[must_use]
    pub const fn monthly_saving(&self) -> MonthlyCost {
        MonthlyCost { usd: self.estimated_monthly_saving, is_upper_bound: self.saving_is_upper_bound }
    }
}

impl RunReport {
    /// Sets the prices, and counts costs by them. `tag` is the key of the resource tag by which they are added up; empty for none.
    pub fn set_costs(&mut self, prices: Prices, tag: &str) {
        self.prices = prices;
        self.cost_tag = (!tag.is_empty()).then(|| tag.to_owned());
        self.totals.set_costs(prices);
        for totals in self.policies.values_mut() {
            totals.set_costs(prices);
        }
        for row in &mut self.costs_by_tag {
            row.monthly_cost = prices.cost(row.storage.standard, row.storage.archive);
        }
    }
}

/// Bytes, for people: `1.5 GB`, or `at most 1.5 GB`.
pub(in crate::report) fn size(layers: LayerBytes) -> String {
    bounded(layers.is_upper_bound, bytes(layers.bytes))
}

/// Money, for people: `$12.00`, or `at most $12.00`.
pub(in crate::report) fn money(cost: MonthlyCost) -> String {
    bounded(cost.is_upper_bound, dollars(cost.usd))
}

fn bounded(is_upper_bound: bool, text: String) -> String {
    if is_upper_bound { format!("at most {text}") } else { text }
}

/// What images take, cost and save, as facts with labels; none for a run that only protects.
pub(in crate::report) fn cost_facts(report: &RunReport) -> Vec<(&'static str, String)> {
    let (totals, storage) = (&report.totals, &report.totals.storage);
    if report.run.protect_only || storage.total().bytes == 0 {
        return Vec::new();
    }
    let with = |layers: LayerBytes, cost: MonthlyCost, did: &str| {
        format!("{}, {did}{} a month", size(layers), money(cost))
    };
    let prices = report.prices;
    let mut facts = vec![("Storage", with(storage.total(), totals.monthly_cost(), ""))];
    if storage.archive.bytes > 0 {
        facts.push(("In the archive", size(storage.archive)));
    }
    match report.run.dry_run {
        true => facts.push(("Would free", with(storage.expiring, prices.of(storage.expiring), "saves "))),
        false => facts.push(("Freed", with(storage.freed, prices.of(storage.freed), "saves "))),
    }
    if storage.transitioning.bytes > 0 {
        let moved = size(storage.transitioning);
        let saves = match prices.archiving_saves(storage.archive, storage.transitioning) {
            saves if saves.usd > 0.0 => format!("saves {} a month", money(saves)),
            _ => "saves nothing: up to 150 TB the archive costs as much as the standard storage class"
                .to_owned(),
        };
        facts.push(("To the archive", format!("{moved}, {saves}")));
    }
    if totals.upper_bounds > 0 {
        facts.push(("Upper bounds", why_upper_bounds(report)));
    } else if let Some(problem) = &report.storage_problem {
        facts.push(("Layers", format!("could not all be remembered, and are read again: {problem}")));
    }
    facts
}

/// Why figures are upper bounds.
fn why_upper_bounds(report: &RunReport) -> String {
    let totals = &report.totals;
    let of = repositories(totals.upper_bounds);
    if let Some(problem) = &report.storage_problem {
        return format!("in {of} not all layers are known, and they count for each image: {problem}");
    }
    match totals.unread_images {
        0 => format!("in {of} layers were not looked at, and count for each image that has them"),
        images => format!(
            "in {of} the layers of {} are not known yet, and count for each image; each run reads some more",
            count(images, "image")
        ),
    }
}

/// Costs by the cost tag as lines, the largest first.
pub(in crate::report) fn cost_lines(report: &RunReport) -> Vec<String> {
    let Some(tag) = &report.cost_tag else { return Vec::new() };
    if let Some(problem) = &report.unread_cost_tags {
        return vec![format!("What repositories cost by their tag {tag} is not known: {problem}")];
    }
    let rows = &report.costs_by_tag;
    let lines = rows.iter().take(COST_TAGS_IN_TEXT).map(|row| {
        format!(
            "{tag} {}: {}, {} a month, in {}",
            row.name(),
            size(row.storage.total()),
            money(row.monthly_cost),
            repositories(row.repositories)
        )
    });
    let more = rows.len().saturating_sub(COST_TAGS_IN_TEXT);
    let more = (more > 0).then(|| format!("{} more values of {tag} are in the report", grouped(more as u64)));
    lines.chain(more).collect()
}

/// What a repository takes, and what is freed of it, in a sentence; none if nobody looked at its layers.
#[cfg(feature = "html")]
pub(in crate::report) fn storage_sentence(outcome: &Outcome) -> Option<String> {
    let storage = outcome.storage.as_ref()?;
    let all = storage.bytes.total();
    let mut text = format!("{} in layers", size(all));
    let sum = outcome.images.image_size_in_bytes;
    if sum != all.bytes {
        text += &format!(" ({} as a sum over images)", bytes(sum));
    }
    if storage.bytes.expiring.bytes > 0 {
        text += &format!("; what expires frees {}", size(storage.bytes.expiring));
    }
    if storage.bytes.freed.bytes > 0 {
        text += &format!("; this run freed {}", size(storage.bytes.freed));
    }
    if storage.unread_images > 0 {
        text += &format!("; the layers of {} are not known", count(storage.unread_images, "image"));
    }
    if let Some(problem) = &storage.problem {
        text += &format!(": {problem}");
    }
    Some(text + ".")
}
