//! Lambda function: makes one report of the outcomes of all repositories of a run: JSON and a page in the stack's bucket, metrics
//! in its log, a mail for people.
//!
//! Its content is made by [`shared::workflows::enforcement::summarize`] and [`shared::report`]; this file only publishes it.

// The SDK's futures are nested deeper than the compiler follows by default.
#![recursion_limit = "256"]

use std::io::Write as _;

use lambda_runtime::LambdaEvent;
use serde::{Deserialize, Serialize};
use shared::aws::Connection;
use shared::aws::sns::Sns;
use shared::domain::enforcement::protection_record::PROTECTION_HOURS;
use shared::domain::enforcement::run::Run;
use shared::domain::enforcement::run::message_of_cause;
use shared::domain::enforcement::storage::Prices;
use shared::domain::repository::Registry;
use shared::domain::text::instant::Instant;
use shared::report::attention::Notice;
use shared::report::html;
use shared::report::run::{RunReport, RunStatus, Totals, metrics};
use shared::shell::environment::{optional, set};
use shared::shell::function::{self, FunctionError, time_left};
use shared::workflows::enforcement::inventory::Progress;
use shared::workflows::enforcement::summarize::{news, remember_notice, summarize, write};
use shared::workflows::enforcement::{AwsClients, RunContext, RunError};

/// The input from the state machine. `error` is a caught error.
#[derive(Debug, Deserialize)]
struct Event {
    run: Run,
    #[serde(default)]
    inventory: Progress,
    #[serde(default)]
    error: Option<Caught>,
}

/// An error as Step Functions reports it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Caught {
    error: String,
    #[serde(default)]
    cause: String,
}

impl Caught {
    /// The error message of the failed function.
    fn message(self) -> String {
        let message = message_of_cause(&self.cause).unwrap_or(self.cause);
        if message.is_empty() { self.error } else { format!("{}: {message}", self.error) }
    }
}

/// The environment variable with the hours for which protection tags hold.
const PROTECTION_HOURS_NAME: &str = "PROTECTION_HOURS";

/// The environment variables with the prices of a gigabyte a month, and with the key of the resource tag by which costs are added up.
const PRICE_NAMES: [&str; 2] = ["STORAGE_PRICE", "ARCHIVE_PRICE"];
const COST_TAG_NAME: &str = "COST_TAG";

/// The answer. The report itself is in the bucket.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    run: Run,
    status: RunStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    report: String,
    totals: Totals,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Failure(#[from] RunError);

impl FunctionError for Failure {
    fn error_type(&self) -> &'static str {
        self.0.kind()
    }
}

/// The parts of the stack that reports need.
struct Stack {
    name: String,
    topic: String,
    /// Hours for which protection tags hold.
    protection_hours: u32,
    /// The prices by which costs are counted.
    prices: Prices,
    /// The key of the resource tag by which they are added up; empty for none.
    cost_tag: String,
    sns: Sns,
    clients: AwsClients,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    shared::shell::log::as_json();
    let connection = Connection::from_env();
    let sns = connection.sns();
    let (name, topic) = (set("STACK_NAME")?, set("TOPIC")?);
    let clients = AwsClients::new(connection, set("BUCKET")?);
    let (protection_hours, prices) = (protection_hours()?, prices()?);
    let cost_tag = optional(COST_TAG_NAME).unwrap_or_default();
    let stack = &Stack { name, topic, protection_hours, prices, cost_tag, sns, clients };
    function::run(move |event: LambdaEvent<Event>| async move {
        let reported = report(event, stack).await;
        reported.inspect_err(|error| tracing::error!(%error, "did not report"))
    })
    .await
}

/// The hours for which protection tags are valid: the stack's parameter `ProtectionHours`, or its default.
fn protection_hours() -> Result<u32, lambda_runtime::Error> {
    match std::env::var(PROTECTION_HOURS_NAME) {
        Ok(hours) if !hours.is_empty() => hours.parse().map_err(|_| {
            format!("the environment variable {PROTECTION_HOURS_NAME} is no number of hours: {hours}").into()
        }),
        _ => Ok(PROTECTION_HOURS),
    }
}

/// The prices: the stack's parameters, or their defaults.
fn prices() -> Result<Prices, lambda_runtime::Error> {
    let Prices { standard, archive } = Prices::default();
    let [standard_name, archive_name] = PRICE_NAMES;
    let price = |name: &str, default: f64| match optional(name) {
        Some(price) => match price.parse::<f64>() {
            Ok(price) if price.is_finite() && price >= 0.0 => Ok(price),
            _ => Err(format!("the environment variable {name} is no price: {price}")),
        },
        None => Ok(default),
    };
    Ok(Prices { standard: price(standard_name, standard)?, archive: price(archive_name, archive)? })
}

async fn report(event: LambdaEvent<Event>, stack: &Stack) -> Result<Answer, Failure> {
    let LambdaEvent { payload: Event { run, inventory, error }, context } = event;
    let left = time_left(&context);
    let clients = stack.clients.clients(left);
    let error = error.map(Caught::message);
    let mut report = summarize(&clients, &run, &inventory, error, Instant::now()).await?;
    report.set_protection_hours(stack.protection_hours);
    report.set_costs(stack.prices, &stack.cost_tag);
    report.place.stack_name = stack.name.clone();
    // Only the title says it.
    match Registry::of_arn(&context.invoked_function_arn) {
        Ok(registry) => report.place.registry_id = registry.account_id,
        Err(error) => tracing::warn!(%error, "whose registry it is is not known"),
    }
    let address = write(&clients, &report, &html::run::render(&report)).await?;
    notify(&report, stack);
    tell_people(&clients, &report, &address, stack).await;
    let RunReport { run, status, error, totals, .. } = report;
    Ok(Answer { run, status, error, report: address, totals })
}

/// Sends the report's mail, unless it only repeats one of less than a day ago.
async fn tell_people(clients: &RunContext<'_>, report: &RunReport, address: &str, stack: &Stack) {
    let news = news(clients, report, Instant::now()).await.unwrap_or_else(|error| {
        // Better twice than never.
        tracing::error!(%error, "could not read what people were told before");
        Some(Notice { at: Instant::now(), concerns: report.lasting_concerns() })
    });
    let Some(notice) = news else {
        tracing::info!("people were told of what needs attention less than a day ago");
        return;
    };
    if report.is_worth_a_message() {
        let message = report.message(address);
        let headline = report.headline();
        let published = stack.sns.publish(&stack.topic, &headline, &message);
        match clients.deadline.order(published).await {
            Ok(Ok(())) => {}
            // The report exists; another attempt would only repeat the mail.
            Ok(Err(error)) => return tracing::error!(%error, topic = stack.topic, "could not tell people"),
            Err(_) => return tracing::error!(topic = stack.topic, "there was no time to tell people"),
        }
    }
    if let Err(error) = remember_notice(clients, report, &notice).await {
        tracing::error!(%error, "could not remember what people were told");
    }
}

/// Writes the metrics to the log, from which CloudWatch extracts them.
fn notify(report: &RunReport, stack: &Stack) {
    let mut out = std::io::stdout().lock();
    // A log that is not there is no reason not to report.
    let _ = writeln!(out, "{}", metrics(report, &stack.name));
}
