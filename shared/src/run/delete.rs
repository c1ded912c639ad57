//! Deletes what a plan takes from a repository, image by image: only what is still as it was when the plan was made and still
//! not in use, only after it is written down, and only what the plan names.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant as Moment;

use super::Stop;
use super::journal::{self, Line};
use super::outcome::{Fate, Held, Outcome, Status};
use super::survey::Planned;
use super::work::Worker;
use crate::aws::Failure;
use crate::aws::ecr::{BATCH, EcrWrite};
use crate::image::deletion::ImageId;
use crate::image::{Image, ImageIndex};
use crate::lifecycle::PolicySource;
use crate::lifecycle::shield::is_shielded;
use crate::plan::{Obstacle, plan};

/// With less time than this no batch of images is begun: four calls, and writing down what was done.
const LEAST: Duration = Duration::from_secs(10);

/// What happened in a repository so far.
struct Deleting<'a> {
    planned: &'a Planned<'a>,
    outcome: &'a mut Outcome,
    /// Images that were to go and stayed: what they list, and what is about them, stays with them.
    stayed: HashSet<ImageIndex>,
}

impl Worker<'_> {
    /// Executes a plan. The outcome has what was done, however it ends.
    pub(super) async fn delete(
        &self,
        ecr: &EcrWrite,
        planned: &Planned<'_>,
        outcome: &mut Outcome,
        begun: Moment,
    ) -> Result<(), Stop> {
        let name = &planned.surveyed.name;
        let native = self.clients.call(self.clients.ecr.lifecycle_policy(name.as_str())).await?;
        if let Some(text) = native {
            let is_own =
                PolicySource::parse(&text).is_ok_and(|source| source.policy().is_some_and(is_shielded));
            outcome.drift.push(if is_own {
                "ECR still applies the policy that was attached when the book said `apply: attach`; delete it".to_owned()
            } else {
                "the repository has a lifecycle policy of its own, which ECR applies beside the book's and which knows \
                 nothing of use; delete it, or write `apply: attach`"
                    .to_owned()
            });
        }
        let mut deleting = Deleting { planned, outcome, stayed: HashSet::new() };
        for step in planned.plan.steps(&planned.surveyed.images) {
            let step: Vec<ImageIndex> =
                step.into_iter().filter(|&place| !deleting.stays_with_another(place)).collect();
            for batch in step.chunks(BATCH) {
                self.delete_batch(ecr, &mut deleting, batch, begun).await?;
            }
        }
        self.archive_all(ecr, &mut deleting, begun).await?;
        deleting.finish();
        Ok(())
    }

    async fn delete_batch(
        &self,
        ecr: &EcrWrite,
        deleting: &mut Deleting<'_>,
        batch: &[ImageIndex],
        begun: Moment,
    ) -> Result<(), Stop> {
        if !self.clients.deadline.has(LEAST) {
            return Err(Stop::Time(self.clients.ecr.trouble().explain()));
        }
        let planned = deleting.planned;
        let name = &planned.surveyed.name;
        let batch = self.still_unused(deleting, batch, begun, |plan| &plan.deletions).await?;
        let batch = self.unchanged(deleting, &batch).await?;
        if batch.is_empty() {
            return Ok(());
        }
        let ids: Vec<ImageId> = batch.iter().filter_map(|&place| deleting.id(place)).collect();
        let manifests = self.clients.call(self.clients.ecr.manifests(name, &ids)).await?.found;
        let manifests: HashMap<&str, &str> =
            manifests.iter().map(|manifest| (&*manifest.digest, &*manifest.text)).collect();
        let lines: Vec<Line<'_>> =
            batch.iter().filter_map(|&place| self.line(planned, place, &manifests)).collect();
        // What cannot be written down is not deleted.
        if lines.len() != batch.len() {
            return Err(Stop::Aws(crate::aws::AwsError::odd("PutObject", "an image cannot be described")));
        }
        let (key, text) = journal::entry(self.run, name.as_str(), &lines);
        let written = self.clients.s3.write(self.clients.bucket, &key, &text, "application/jsonl");
        self.clients.call(written).await?;
        if !deleting.outcome.journal.contains(&key) {
            deleting.outcome.journal.push(key);
        }
        self.has_changed.set(true);
        let answer = self.clients.call(ecr.delete_images(name, &ids)).await;
        let (deleted, refused) = match answer {
            Ok(answer) => answer,
            Err(stop) => {
                for &place in &batch {
                    deleting.stay(place, Fate::Unknown, stop.to_string());
                }
                return Err(stop);
            }
        };
        let deleted: HashSet<&str> = deleted.iter().filter_map(|id| id.image_digest.as_deref()).collect();
        let refused: HashMap<&str, (&str, &str)> = refused
            .iter()
            .filter_map(|refused| {
                let digest = refused.image_id.image_digest.as_deref()?;
                Some((digest, (&*refused.failure_code, &*refused.failure_reason)))
            })
            .collect();
        for place in batch {
            let Some(image) = deleting.image(place) else { continue };
            match refused.get(&*image.digest) {
                // Somebody else was quicker.
                Some(("ImageNotFound", _)) => {}
                Some(("ImageReferencedByManifestList", reason)) => {
                    deleting.stay(
                        place,
                        Fate::HeldBack,
                        format!("it was listed since the plan was made: {reason}"),
                    );
                }
                Some((code, reason)) => deleting.fail(place, format!("{code}: {reason}")),
                None if deleted.contains(&*image.digest) => deleting.went(place, Fate::Deleted),
                None => deleting.fail(place, "ECR does not say whether it is deleted".to_owned()),
            }
        }
        Ok(())
    }

    async fn archive_all(
        &self,
        ecr: &EcrWrite,
        deleting: &mut Deleting<'_>,
        begun: Moment,
    ) -> Result<(), Stop> {
        let planned = deleting.planned;
        for batch in planned.plan.archivals.chunks(BATCH) {
            let batch = self.still_unused(deleting, batch, begun, |plan| &plan.archivals).await?;
            let batch = self.unchanged(deleting, &batch).await?;
            for place in batch {
                if !self.clients.deadline.has(LEAST) {
                    return Err(Stop::Time(self.clients.ecr.trouble().explain()));
                }
                let Some(image) = deleting.image(place) else { continue };
                self.has_changed.set(true);
                let archived = ecr.archive(&planned.surveyed.name, &image.digest);
                match self.clients.call(archived).await {
                    Ok(()) => deleting.went(place, Fate::Archived),
                    Err(stop @ Stop::Time(_)) => return Err(stop),
                    Err(stop) => deleting.fail(place, stop.to_string()),
                }
            }
        }
        Ok(())
    }

    /// What of a batch the plan still takes, given what is in use now.
    async fn still_unused(
        &self,
        deleting: &mut Deleting<'_>,
        batch: &[ImageIndex],
        begun: Moment,
        part: impl Fn(&crate::plan::Plan) -> &Vec<ImageIndex>,
    ) -> Result<Vec<ImageIndex>, Stop> {
        let planned = deleting.planned;
        let observation = self.fresh(begun).await?;
        let usage = &observation.usage;
        let gaps: Vec<String> =
            usage.gaps_of(planned.surveyed.name.as_str()).map(ToString::to_string).collect();
        if !gaps.is_empty() {
            let held = gaps.into_iter().map(|gap| Held::from(&Obstacle::Usage(gap)));
            for held in held {
                if !deleting.outcome.obstacles.contains(&held) {
                    deleting.outcome.obstacles.push(held);
                }
            }
            for &place in batch {
                deleting.stay(place, Fate::HeldBack, "what is in use is not known completely".to_owned());
            }
            return Ok(Vec::new());
        }
        let used = planned.surveyed.used(usage);
        let again = plan(planned.entry, &planned.surveyed.images, &used, planned.now);
        let taken: HashSet<ImageIndex> = part(&again).iter().copied().collect();
        let mut still = Vec::with_capacity(batch.len());
        for &place in batch {
            if taken.contains(&place) {
                still.push(place);
            } else {
                let why = used.reason(place).unwrap_or("something that it belongs to is");
                deleting.stay(place, Fate::InUse, format!("in use since the plan was made: {why}"));
            }
        }
        Ok(still)
    }

    /// What of a batch is as it was when the plan was made: with the same tags, and not pulled since.
    async fn unchanged(
        &self,
        deleting: &mut Deleting<'_>,
        batch: &[ImageIndex],
    ) -> Result<Vec<ImageIndex>, Stop> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<ImageId> = batch.iter().filter_map(|&place| deleting.id(place)).collect();
        let name = &deleting.planned.surveyed.name;
        let described = match self.clients.call(self.clients.ecr.images_by_digest(name, &ids)).await {
            Ok(described) => described,
            // Which of them ECR does not tell. The next run reads the repository anew.
            Err(Stop::Aws(error)) if error.failure == Failure::NotFound => {
                for &place in batch {
                    let why = "images disappeared while the run was under way; the next run looks again";
                    deleting.stay(place, Fate::HeldBack, why.to_owned());
                }
                return Ok(Vec::new());
            }
            Err(stop) => return Err(stop),
        };
        let described: HashMap<&str, &Image> =
            described.iter().map(|image| (&*image.digest, image)).collect();
        let mut unchanged = Vec::with_capacity(batch.len());
        for &place in batch {
            let Some(image) = deleting.image(place) else { continue };
            let why = match described.get(&*image.digest) {
                None => Some("ECR does not describe it any more"),
                Some(now) if sorted(&now.tags) != sorted(&image.tags) => Some("its tags have changed"),
                Some(now) if now.last_pulled_at > image.last_pulled_at => Some("it was pulled"),
                Some(now) if now.status != image.status => Some("its status has changed"),
                Some(_) => None,
            };
            match why {
                None => unchanged.push(place),
                Some(why) => {
                    deleting.stay(place, Fate::HeldBack, format!("{why} since the plan was made"));
                }
            }
        }
        Ok(unchanged)
    }

    fn line<'b>(
        &'b self,
        planned: &'b Planned<'_>,
        place: ImageIndex,
        manifests: &HashMap<&str, &'b str>,
    ) -> Option<Line<'b>> {
        let image = planned.surveyed.images.images().get(place as usize)?;
        let (priority, action) = planned.rule(place)?;
        Some(Line {
            run_id: &self.run.run_id,
            at: self.clients.now(),
            registry_id: &planned.surveyed.registry_id,
            repository_name: planned.surveyed.name.as_str(),
            image_digest: &image.digest,
            image_tags: Line::tags(image),
            image_pushed_at: image.pushed_at,
            image_size_in_bytes: image.size_in_bytes,
            image_manifest: manifests.get(&*image.digest).copied(),
            action,
            policy: &planned.entry.name,
            book_version: self.run.book_version.as_deref(),
            applied_rule_priority: priority,
            reason: planned.reason(place),
        })
    }
}

impl<'a> Deleting<'a> {
    fn image(&self, place: ImageIndex) -> Option<&'a Image> {
        self.planned.surveyed.images.images().get(place as usize)
    }

    fn id(&self, place: ImageIndex) -> Option<ImageId> {
        self.image(place).map(|image| ImageId::Digest(image.digest.to_string()))
    }

    /// Whether something stayed that lists the image, or that it is about.
    fn stays_with_another(&mut self, place: ImageIndex) -> bool {
        let mut holders = self.planned.surveyed.images.holders_of(place);
        let holder = holders.find(|holder| self.stayed.contains(holder));
        let Some(holder) = holder.and_then(|holder| self.image(holder)) else { return false };
        self.stay(place, Fate::HeldBack, format!("{}, which it belongs to, is still there", holder.digest));
        true
    }

    fn stay(&mut self, place: ImageIndex, fate: Fate, why: String) {
        self.stayed.insert(place);
        if let Some(told) = self.planned.tell(place, fate, Some(why)) {
            self.outcome.tell(told);
        }
        if let Some(image) = self.image(place)
            && fate == Fate::InUse
        {
            self.outcome.held_by_use.add(image);
        }
    }

    fn fail(&mut self, place: ImageIndex, why: String) {
        if let Some(image) = self.image(place) {
            self.outcome.failed.add(image);
        }
        self.stay(place, Fate::Failed, why);
    }

    fn went(&mut self, place: ImageIndex, fate: Fate) {
        let Some(image) = self.image(place) else { return };
        match fate {
            Fate::Archived => self.outcome.archived.add(image),
            _ => self.outcome.deleted.add(image),
        }
        if let Some(told) = self.planned.tell(place, fate, None) {
            self.outcome.tell(told);
        }
    }

    fn finish(&mut self) {
        self.outcome.status = if !self.outcome.failed.is_zero() {
            Status::Partial
        } else if !self.outcome.obstacles.is_empty() {
            Status::Held
        } else {
            Status::Done
        };
    }
}

fn sorted(tags: &[Box<str>]) -> Vec<&str> {
    let mut tags: Vec<&str> = tags.iter().map(|tag| &**tag).collect();
    tags.sort_unstable();
    tags
}
