//! `ecr-steward images restore`: images come back that this stack deleted or archived.

use std::io::Write;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use shared::domain::enforcement::image_restore::{RestoreOutcome, RestoreRequest, Selection, is_run_id};
use shared::domain::image::deletion::{Deleted, ImageId, Refused};
use shared::domain::repository::Name;
use shared::domain::text::instant::Instant;
use shared::domain::text::printable::on_one_line;
use shared::domain::text::quantity::count;
use shared::workflows::enforcement::RunContext;
use shared::workflows::enforcement::restore_images::{
    ImageRestorer, RestoreFailure, RestoreReport, RestoredImage,
};

use crate::account::{self, Aws, Bucket};
use crate::explain::{Called, ImageError};
use crate::progress::Progress;
use crate::skipped::Skipped;
use crate::{Failure, Outcome, output, progress};

/// Restore images that this stack deleted or archived: a dry run, unless --apply is given
///
/// From the journal in the stack's bucket: manifests and tags are put back as long as ECR has their layers, which nobody promises
/// for how long; archived images are restored from the archive. With an image come its children and its referrers: signatures,
/// SBOMs, attestations. What is there already stays as it is, and a tag that names another image now stays there. Says what cannot
/// come back and why, and how to copy it from where the repository is replicated to.
///
/// What --apply restores is in the journal before. Restored images are the newest of their repository: what the policy does next is
/// said, too.
///
/// Exit code: 0, 1 if something does not come back, 2 if nothing could be done.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward images restore shop/web:v2.4.0                 # what would come back
  ecr-steward images restore shop/web:v2.4.0 --apply
  ecr-steward images restore shop/web --since 2026-11-26
  ecr-steward images restore --run terminal-1795651920123456-812   # all that the run deleted")]
pub(super) struct Restore {
    /// The image: REPOSITORY:TAG, of which the image comes back that lost the tag last, or REPOSITORY@sha256:…; with --run or
    /// --since also REPOSITORY, of which all come back.
    #[arg(value_name = "IMAGE", required_unless_present = "run")]
    image: Option<String>,

    #[command(flatten)]
    bucket: Bucket,

    /// What this run deleted or archived; `runs list` and `history` have its name.
    #[arg(long, value_name = "RUN_ID", value_parser = run_id)]
    run: Option<String>,

    /// What was deleted or archived since this time: a day, a time as 2026-11-26T03:00:00Z, or seconds since 1970; without it the
    /// last 90 days.
    #[arg(long, value_name = "TIME", value_parser = NonEmptyStringValueParser::new())]
    since: Option<String>,

    /// Restore the images.
    #[arg(long)]
    apply: bool,

    /// How to print; JSON has the answers of POST /images/restore.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: output::Format,
}

fn run_id(text: &str) -> Result<String, String> {
    match is_run_id(text) {
        true => Ok(text.to_owned()),
        false => Err("it is no name of a run; `ecr-steward runs list` has them".to_owned()),
    }
}

/// What the command line asks for: one repository, or all of a run.
struct Asked {
    repository: Option<Name>,
    selection: Selection,
    /// The account and the Region of the registry that it names, if it names one.
    registry: Option<(String, String)>,
}

impl Asked {
    fn parse(arguments: &Restore) -> Result<Self, Failure> {
        let wrong = |problem: String| Failure::Image(ImageError::Reference(problem));
        let since = arguments.since.as_deref().map(|text| Instant::parse_argument(text, Instant::now()));
        let since = since.transpose().map_err(|error| wrong(format!("--since: {error}")))?;
        let mut selection = Selection { image_ids: Vec::new(), run_id: arguments.run.clone(), since };
        let Some(text) = &arguments.image else {
            return Ok(Self { repository: None, selection, registry: None });
        };
        let last = text.rsplit('/').next().unwrap_or(text);
        if !last.contains([':', '@']) {
            if selection.run_id.is_none() && selection.since.is_none() {
                return Err(wrong(format!(
                    "`{text}` names no image; write {text}:TAG or {text}@sha256:…, or add --run or --since"
                )));
            }
            let repository = Name::parse(text)
                .map_err(|error| wrong(format!("`{text}` is no name of a repository: {error}")))?;
            return Ok(Self { repository: Some(repository), selection, registry: None });
        }
        let Called { repository, tag, digest, registry } = Called::parse(text)?;
        selection.image_ids.extend(match (digest, tag) {
            (Some(digest), _) => Some(ImageId::Digest(digest)),
            (None, tag) => tag.map(ImageId::Tag),
        });
        Ok(Self { repository: Some(repository), selection, registry })
    }
}

pub(super) fn run(arguments: &Restore, aws: &Aws) -> Result<Outcome, Failure> {
    aws.own_registry()?;
    let asked = Asked::parse(arguments)?;
    account::work(aws, &arguments.bucket.needed(), async |clients, connection| {
        check_registry(&clients, arguments, &asked).await?;
        // Only here there is something that can change an image.
        let ecr = arguments.apply.then(|| connection.ecr_protect());
        let now = clients.now();
        let mut by = account::actor();
        if arguments.apply {
            // Without permission to ask AWS for the caller, the user and host are recorded.
            by.principal = connection.sts().caller().await.ok().map(|caller| caller.arn);
        }
        let restorer = ImageRestorer {
            clients,
            ecr: ecr.as_ref(),
            // Two terminals at the same moment are different ones.
            run_id: format!("restore-{}-{}", now.micros(), std::process::id()),
            by,
        };
        progress::phase("reading the journal");
        let mut printer = Printer { format: arguments.output, reports: Vec::new(), bucket: clients.bucket };
        let mut skipped = Skipped::new(1);
        match (&asked.repository, &asked.selection.run_id) {
            (Some(repository), _) => {
                let selection = asked.selection.clone();
                let request = RestoreRequest { repository_name: repository.clone(), selection };
                printer.print(restorer.restore(&request).await?)?;
            }
            (None, Some(run_id)) => {
                let repositories = restorer.repositories_of_run(run_id).await?;
                skipped = Skipped::new(repositories.len());
                let progress = Progress::new("repositories", repositories.len());
                for (name, keys) in repositories {
                    progress.step(1);
                    let repository_name = match Name::parse(&name) {
                        Ok(repository_name) => repository_name,
                        Err(error) => {
                            output::note(&format!(
                                "ecr-steward: warning: {name}, which keys of the journal have, is no repository: {error}"
                            ));
                            continue;
                        }
                    };
                    let request = RestoreRequest { repository_name, selection: asked.selection.clone() };
                    let restored = restorer.restore_from(&request, keys).await.map_err(Failure::from);
                    let Some(report) = skipped.unless_failed(&name, restored)? else { continue };
                    progress::suspended(|| printer.print(report))?;
                }
            }
            (None, None) => return Err(account::AccountError::NothingNamed.into()),
        }
        let outcome = printer.end(arguments.apply)?;
        Ok(skipped.outcome(outcome))
    })
}

/// Refuses the registry of another account or Region.
async fn check_registry(clients: &RunContext<'_>, arguments: &Restore, asked: &Asked) -> Result<(), Failure> {
    let Some((account, region)) = &asked.registry else { return Ok(()) };
    let is_own = region == clients.region && clients.registry.describe().await?.registry_id == *account;
    if is_own {
        return Ok(());
    }
    let image = arguments.image.clone().unwrap_or_default();
    Err(ImageError::Elsewhere { image, registry: format!("{account} in {region}") }.into())
}

/// Prints reports as they come; JSON at the end.
struct Printer<'a> {
    format: output::Format,
    reports: Vec<RestoreReport>,
    bucket: &'a str,
}

impl Printer<'_> {
    fn print(&mut self, report: RestoreReport) -> std::io::Result<()> {
        if matches!(self.format, output::Format::Text) {
            let mut out = output::text();
            text(&mut out, &report, self.bucket)?;
            out.flush()?;
        }
        for warning in &report.warnings {
            output::note(&format!("ecr-steward: warning: {}: {warning}", report.repository_name));
        }
        self.reports.push(report);
        Ok(())
    }

    /// The last line, and how the command ends.
    fn end(self, is_applied: bool) -> Result<Outcome, Failure> {
        let changed = self.reports.iter().flat_map(|report| &report.images);
        let changed = changed.filter(|image| image.outcome != RestoreOutcome::Unchanged).count();
        let failed: usize = self.reports.iter().map(|report| report.failures.len()).sum();
        match self.format {
            output::Format::Json => output::value(&self.reports)?,
            output::Format::Text => {
                let not = match failed {
                    0 => String::new(),
                    1 => "; 1 image or tag does not come back".to_owned(),
                    failed => format!("; {failed} images or tags do not come back"),
                };
                let images = count(changed as u64, "image");
                output::sentence(&match (is_applied, changed) {
                    (_, 0) => format!("Nothing to restore{not}."),
                    (true, _) => format!("Restored {images}{not}."),
                    (false, _) => {
                        format!(
                            "Dry run: nothing was changed. {images} would come back{not}. Add --apply to do it."
                        )
                    }
                })?;
            }
        }
        Ok(if failed == 0 { Outcome::Success } else { Outcome::Different })
    }
}

/// A paragraph below the name of its repository.
fn line(out: &mut impl Write, text: &str) -> std::io::Result<()> {
    output::paragraph(out, "  ", &on_one_line(text), 4)
}

/// An image by the tags that were asked for, with its digest; by its digest where that was.
fn called(requested_tags: &[String], digest: &str) -> String {
    match requested_tags {
        [] => digest.to_owned(),
        tags => format!("{} ({digest})", tags.join(", ")),
    }
}

fn text(out: &mut impl Write, report: &RestoreReport, bucket: &str) -> std::io::Result<()> {
    writeln!(out, "{}", on_one_line(&report.repository_name))?;
    for RestoredImage { image_digest, requested_tags, image_tags, outcome, removed_at, removed_by_run_id } in
        &report.images
    {
        let what = match (outcome, report.dry_run) {
            (RestoreOutcome::Restored, true) => "would be put back",
            (RestoreOutcome::Restored, false) => "is back",
            (RestoreOutcome::Activating, true) => "would be restored from the archive",
            (RestoreOutcome::Activating, false) => {
                "is on its way out of the archive, which takes up to 20 minutes"
            }
            (RestoreOutcome::Tagged, true) => "would get its tags again",
            (RestoreOutcome::Tagged, false) => "has its tags again",
            (RestoreOutcome::Unchanged, _) => "is there",
        };
        let image = called(requested_tags, image_digest);
        let others: Vec<&str> =
            image_tags.iter().filter(|tag| !requested_tags.contains(tag)).map(String::as_str).collect();
        let tags = match (others.is_empty(), requested_tags.is_empty()) {
            (true, _) => String::new(),
            (false, true) => format!(" ({})", others.join(", ")),
            (false, false) => format!(", with {},", others.join(", ")),
        };
        let removed = match (removed_at, removed_by_run_id) {
            (Some(at), Some(run_id)) => format!("; removed {at} in the run {run_id}"),
            _ => String::new(),
        };
        line(out, &format!("{image}{tags} {what}{removed}"))?;
    }
    for RestoreFailure { refused: Refused { image_id, failure_reason, .. }, requested_tags } in
        &report.failures
    {
        let Deleted { image_digest, image_tag } = image_id;
        let what = match (image_digest, image_tag) {
            (Some(digest), Some(tag)) => format!("the tag {tag} of {digest}"),
            (Some(digest), None) => called(requested_tags, digest),
            (None, Some(tag)) => format!("the tag {tag}"),
            (None, None) => "an image".to_owned(),
        };
        line(out, &format!("{what} does not come back: {failure_reason}"))?;
    }
    for replica in &report.replicas {
        line(
            out,
            &format!(
                "The repository is replicated to {} in {}. If that registry has it:",
                replica.registry_id, replica.region
            ),
        )?;
        for command in &replica.commands {
            writeln!(out, "    {}", on_one_line(command))?;
        }
    }
    if let Some(key) = &report.journal {
        line(out, &format!("written down in s3://{bucket}/{key}"))?;
    }
    Ok(())
}
