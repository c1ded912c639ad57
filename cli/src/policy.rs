//! `ecr-steward policy`: the lifecycle policies that are attached to repositories.

use std::io::{self, Write};

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use shared::domain::lifecycle::LifecyclePolicy;
use shared::domain::repository::Name;
use shared::domain::text::printable::on_one_line;
use shared::workflows::enforcement::restore_policy::{self, JOURNAL_DAYS, Restoration};

use crate::account::{self, Aws, Bucket, Which};
use crate::{Failure, Outcome, complete, diff, output};

/// Look after the lifecycle policies that ECR enforces
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward policy restore shop/web            # what would be put back
  ecr-steward policy restore shop/web --apply")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Restore(Restore),
}

/// Put back the lifecycle policy that a run or a request replaced: a dry run, unless --apply is given
///
/// A run writes a policy that it replaces into the journal in the stack's bucket, and so does a request for another one. Finds the one of the repository that was replaced
/// last, and prints what is attached, what would be put back, and the difference. Warns if it has no protection rule: ECR then
/// deletes by the policy alone, also what is in use. Warns, too, if the next run attaches another policy again.
///
/// What --apply replaces is in the journal before, under a name of its own: --run puts that back.
///
/// Exit code: 0, or 2 if there is no such policy or it could not be put back.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  ecr-steward policy restore shop/web
  ecr-steward policy restore shop/web --apply")]
struct Restore {
    /// The repository.
    #[arg(value_name = "NAME", value_parser = name, add = complete::repository())]
    name: Name,

    #[command(flatten)]
    bucket: Bucket,

    /// The policy that this run replaced, instead of the one that was replaced last.
    #[arg(long, value_name = "RUN_ID", value_parser = NonEmptyStringValueParser::new())]
    run: Option<String>,

    /// Attach the policy.
    #[arg(long)]
    apply: bool,
}

fn name(text: &str) -> Result<Name, String> {
    Name::parse(text).map_err(|error| error.to_string())
}

pub(crate) fn run(arguments: &Arguments, aws: &Aws) -> Result<Outcome, Failure> {
    let Command::Restore(arguments) = &arguments.command;
    aws.own_registry()?;
    account::work(aws, &arguments.bucket.needed(), async |clients, connection| {
        let which = Which { repository: vec![arguments.name.to_string()], all: false };
        let repositories = account::repositories(&clients, &which).await?;
        let Some(repository) = repositories.first() else {
            return Err(account::AccountError::NothingNamed.into());
        };
        let planned = restore_policy::plan(&clients, &arguments.name, arguments.run.as_deref()).await?;
        let Some(restoration) = planned else { return Err(nothing_replaced(arguments, clients.bucket)) };
        print(&restoration)?;
        for warning in &restoration.warnings {
            output::note(&format!("ecr-steward: warning: {warning}"));
        }
        if restoration.is_attached() {
            output::sentence("Nothing to do: the policy is attached.")?;
            return Ok(Outcome::Success);
        }
        if !arguments.apply {
            output::sentence("Dry run: nothing was changed. Add --apply to put the policy back.")?;
            return Ok(Outcome::Success);
        }
        // Only here there is something that can change a policy.
        let ecr = connection.ecr_write();
        let executed = restore_policy::execute(&clients, &ecr, repository, &restoration, account::actor());
        let before = match executed.await? {
            Some(key) => format!("What it replaced is s3://{}/{key}.", clients.bucket),
            None => "Nothing was attached.".to_owned(),
        };
        output::sentence(&format!("Put the policy back. {before}"))?;
        Ok(Outcome::Success)
    })
}

fn nothing_replaced(arguments: &Restore, bucket: &str) -> Failure {
    let by = arguments.run.as_ref().map_or_else(String::new, |run| format!(" by {run}"));
    let problem = format!(
        "the journal of the last {JOURNAL_DAYS} days has no lifecycle policy of {} that was replaced{by}; older ones are forgotten",
        arguments.name
    );
    Failure::Policy { file: format!("s3://{bucket}/journal/"), problem }
}

/// Prints a policy that can be put back, beside the one that is attached.
fn print(restoration: &Restoration) -> io::Result<()> {
    let Restoration { repository, key, replaced, attached, .. } = restoration;
    let mut out = output::text();
    let replacement = format!("replaced on {} by {} of {}", replaced.at, replaced.run_id, replaced.by);
    output::paragraph(&mut out, &format!("{repository}: "), &on_one_line(&replacement), 2)?;
    output::paragraph(&mut out, "  since ", &on_one_line(&replaced.reason), 4)?;
    writeln!(out, "  {key}")?;
    let (current, policy) = (restoration.attached_policy(), restoration.policy());
    writeln!(out, "\nAttached:")?;
    match (&current, attached) {
        (Ok(Some(policy)), _) => print_rules(&mut out, policy)?,
        (Ok(None), _) => writeln!(out, "  nothing")?,
        (Err(problem), attached) => {
            writeln!(out, "  unreadable ({problem}):\n  {}", attached.as_deref().unwrap_or_default())?;
        }
    }
    writeln!(out, "\nTo be put back:")?;
    match &policy {
        Ok(policy) => print_rules(&mut out, policy)?,
        Err(problem) => writeln!(out, "  unreadable ({problem}):\n  {}", replaced.lifecycle_policy_text)?,
    }
    if let (Ok(current), Ok(policy)) = (&current, &policy) {
        writeln!(out, "\nDifference:")?;
        let changes = diff::changes(current.as_ref(), Some(policy));
        if changes.is_empty() {
            writeln!(out, "  none")?;
        }
        for change in changes {
            output::paragraph(&mut out, "  ", &change.to_string(), 4)?;
        }
    }
    writeln!(out)?;
    out.flush()
}

fn print_rules(out: &mut impl Write, policy: &LifecyclePolicy) -> io::Result<()> {
    policy.rules().iter().try_for_each(|rule| output::paragraph(out, "  ", &rule.to_string(), 4))
}
