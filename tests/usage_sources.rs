//! Usage sources that are read as a whole, each against a fake of its service: complete, empty, denied, throttled, in pages, and in a
//! Region that lacks the service. Requests are held to AWS's own models by the fake's port.

use std::collections::{BTreeMap, BTreeSet};

use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};
use shared::aws::usage_sources::{Look, READERS};
use shared::aws::{AccessKeys, Clock, Connection, Transport};
use shared::domain::usage::source::{Reading, UsageSource};
use shared::domain::usage::{SOURCES, UsedImage};
use tests::cloud::Cloud;
use tests::ecr_stub::{EcrStub, Fault};
use tests::http::Request;
use tests::template;

const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
const CLUSTER: &str = "arn:aws:ecs:eu-west-1:123456789012:cluster/prod";

fn image(name: &str) -> String {
    format!("{HOST}/{name}")
}

/// A source, and what has it name things.
struct Case {
    name: &'static str,
    /// Makes the service name an image by a name of its own.
    add: fn(&mut Cloud, &str),
    /// The operations that one image takes, but for `DescribeTaskDefinition`; the first is that of the list.
    operations: &'static [&'static str],
    /// How many calls a look takes that finds nothing.
    calls_of_nothing: usize,
}

/// A revision of a task definition of an image, which nothing runs.
fn revision(cloud: &mut Cloud, name: &str) -> String {
    cloud.ecs.register(name, &[&image(name)])
}

const CASES: [Case; 11] = [
    Case {
        name: "batch",
        add: |cloud, name| drop(cloud.sources.batch.register(name, 1, &image(name))),
        operations: &["batch:DescribeJobDefinitions"],
        calls_of_nothing: 1,
    },
    Case {
        name: "events",
        add: |cloud, name| {
            let revision = revision(cloud, name);
            let bus = if name == "a" { "default" } else { "other" };
            cloud.sources.rules.start_tasks(bus, name, "prod", &revision);
        },
        operations: &["events:ListEventBuses", "events:ListRuleNamesByTarget", "events:ListTargetsByRule"],
        calls_of_nothing: 2,
    },
    Case {
        name: "scheduler",
        add: |cloud, name| {
            let revision = revision(cloud, name);
            cloud.sources.schedules.start_tasks("nightly", name, "prod", &revision);
            let other = json!({ "Arn": "arn:aws:sqs:eu-west-1:123456789012:queue" });
            cloud.sources.schedules.add("default", &format!("{name}-other"), &other);
        },
        operations: &["scheduler:ListSchedules", "scheduler:GetSchedule"],
        calls_of_nothing: 1,
    },
    Case {
        name: "pipes",
        add: |cloud, name| {
            let revision = revision(cloud, name);
            cloud.sources.pipes.start_tasks(name, "prod", &revision);
        },
        operations: &["pipes:ListPipes", "pipes:DescribePipe"],
        calls_of_nothing: 1,
    },
    Case {
        name: "states",
        add: |cloud, name| {
            let revision = revision(cloud, name);
            cloud.sources.machines.start_tasks(name, &revision);
        },
        operations: &["states:ListStateMachines", "states:DescribeStateMachine"],
        calls_of_nothing: 1,
    },
    Case {
        name: "codebuild",
        add: |cloud, name| cloud.sources.projects.projects.push((name.to_owned(), image(name))),
        operations: &["codebuild:ListProjects", "codebuild:BatchGetProjects"],
        calls_of_nothing: 1,
    },
    Case {
        name: "apprunner",
        add: |cloud, name| cloud.sources.app_runner.create(name, &image(name), 3.0),
        operations: &["apprunner:ListServices", "apprunner:DescribeService", "apprunner:ListOperations"],
        calls_of_nothing: 1,
    },
    Case {
        name: "sagemaker",
        add: |cloud, name| cloud.sources.models.create(name, &json!({ "Image": image(name) })),
        operations: &["sagemaker:ListModels", "sagemaker:DescribeModel"],
        calls_of_nothing: 2,
    },
    Case {
        name: "bedrock-agentcore",
        add: |cloud, name| {
            cloud.sources.agentcore.update_runtime(name, Some(&image(name)), 3.0);
            cloud.sources.agentcore.update_harness(name, Some(&image(name)), 3.0);
        },
        operations: &[
            "bedrock-agentcore:ListAgentRuntimes",
            "bedrock-agentcore:ListAgentRuntimeEndpoints",
            "bedrock-agentcore:GetAgentRuntime",
            "bedrock-agentcore:ListHarnesses",
            "bedrock-agentcore:ListHarnessEndpoints",
            "bedrock-agentcore:GetHarness",
        ],
        calls_of_nothing: 2,
    },
    Case {
        name: "emr-serverless",
        add: |cloud, name| {
            let emr = &mut cloud.sources.emr_serverless;
            emr.create(name, &image(name), None);
            emr.start_session(name, "notebook");
            emr.run_job(name, "job", "RUNNING", &image(name), None);
        },
        operations: &[
            "emr-serverless:ListApplications",
            "emr-serverless:GetApplication",
            "emr-serverless:ListSessions",
            "emr-serverless:ListJobRuns",
            "emr-serverless:GetJobRun",
        ],
        calls_of_nothing: 1,
    },
    Case {
        name: "stacks",
        add: |cloud, name| {
            let template = r#"{"Image": {"Fn::Sub": "${AWS::AccountId}.dkr.ecr.${AWS::Region}.${AWS::URLSuffix}/${Name}"}}"#;
            drop(cloud.stacks.create(name, template, &[("Name", name)]));
        },
        operations: &["DescribeStacks", "GetTemplate"],
        calls_of_nothing: 1,
    },
];

/// AWS in memory, over which requests go without a socket; and a change of its answers by operation.
#[derive(Debug, Clone)]
struct Wire(EcrStub, Change);

/// Changes the answer to an operation.
type Change = fn(&str, &mut Value);

impl HttpConnector for Wire {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target =
            request.uri().splitn(4, '/').nth(3).map_or_else(|| "/".to_owned(), |rest| format!("/{rest}"));
        let asked = Request {
            method: request.method().to_owned(),
            target,
            headers: request.headers().iter().map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())).collect(),
            body: request.body().bytes().unwrap().to_vec(),
        };
        let mut answered = self.0.answer(&asked).expect("every request is answered");
        if let Ok(mut answer) = serde_json::from_slice::<Value>(&answered.body) {
            self.1(&EcrStub::operation(&asked), &mut answer);
            answered.body = answer.to_string().into_bytes();
        }
        let mut answer = HttpResponse::new(answered.status.try_into().unwrap(), SdkBody::from(answered.body));
        for (name, value) in answered.headers {
            answer.headers_mut().insert(name.to_ascii_lowercase(), value);
        }
        HttpConnectorFuture::ready(Ok(answer))
    }
}

type Known = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// Looks at all sources, which costs no time however long AWS throttles.
fn look_with(aws: &EcrStub, known: &Known) -> BTreeMap<&'static str, Option<Reading>> {
    look_over(Wire(aws.clone(), |_, _| ()), known)
}

fn look_over(wire: Wire, known: &Known) -> BTreeMap<&'static str, Option<Reading>> {
    let keys = AccessKeys {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "secret".to_owned(),
        session_token: None,
    };
    let wire = SharedHttpConnector::new(wire);
    let transport = Transport::over(wire, Clock::system(), keys, "eu-west-1", "http://aws");
    let connection = Connection::over(transport);
    let clusters = [CLUSTER.to_owned()];
    let look = Look { connection: &connection, ecs_clusters: &clusters, known, reads_stacks: true };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(look.read_all()).into_iter().map(|(source, reading)| (source.name, reading)).collect()
}

fn look(aws: &EcrStub) -> BTreeMap<&'static str, Option<Reading>> {
    look_with(aws, &Known::new())
}

/// A look at one source.
fn look_at(aws: &EcrStub, name: &str) -> Reading {
    look(aws).remove(name).unwrap().unwrap()
}

/// How many calls were made for a source.
fn calls(aws: &EcrStub, case: &Case) -> usize {
    let prefix = format!("{}:", case.name);
    let is_of =
        |operation: &&String| operation.starts_with(&prefix) || case.operations.contains(&operation.as_str());
    aws.operations().iter().filter(is_of).count()
}

/// The IAM action of an operation.
fn action(operation: &str) -> String {
    if operation.contains(':') { operation.to_owned() } else { format!("cloudformation:{operation}") }
}

fn source(name: &str) -> UsageSource {
    *SOURCES.iter().find(|source| source.name == name).unwrap()
}

fn references(reading: &Reading) -> BTreeSet<String> {
    reading.used.iter().map(|UsedImage { reference, .. }| reference.to_string()).collect()
}

fn expected(names: &[&str]) -> BTreeSet<String> {
    // A reference without a tag is one to `latest`.
    names.iter().map(|name| format!("{}:latest", image(name))).collect()
}

fn with(cases: &[&Case], names: &[&str]) -> EcrStub {
    let aws = EcrStub::in_memory();
    for case in cases {
        for name in names {
            aws.cloud(|cloud| (case.add)(cloud, name));
        }
    }
    aws
}

#[test]
fn everything_that_a_source_names_is_in_use() {
    for case in &CASES {
        let aws = with(&[case], &["a", "b"]);
        let reading = look_at(&aws, case.name);
        assert_eq!(references(&reading), expected(&["a", "b"]), "{}", case.name);
        assert_eq!(reading.problems, [""; 0], "{}", case.name);
        for operation in case.operations {
            assert!(aws.count(operation) > 0, "{operation}");
        }
    }
}

#[test]
fn a_source_that_names_nothing_is_complete_and_costs_a_call_or_two() {
    let aws = EcrStub::in_memory();
    for (name, reading) in look(&aws) {
        assert_eq!(reading, Some(Reading::default()), "{name}");
    }
    for case in &CASES {
        assert_eq!(calls(&aws, case), case.calls_of_nothing, "{}", case.name);
    }
    assert_eq!(aws.count("GetParameters"), 2, "which services there are");
    assert_eq!(aws.count("DescribeTaskDefinition"), 0);
}

#[test]
fn a_missing_permission_is_a_gap_that_names_the_action() {
    for case in &CASES {
        for operation in case.operations {
            let aws = with(&[case], &["a", "b"]);
            aws.fault_from(operation, Fault::Denied, 0);
            let gap = look_at(&aws, case.name).gap(&source(case.name)).unwrap();
            assert_eq!(gap.source, case.name);
            assert!(gap.problem.contains(&format!("; allow {}", action(operation))), "{operation}: {gap}");
            assert!(gap.repositories.is_empty(), "it may be about any repository");
        }
    }
    let case = CASES.iter().find(|case| case.name == "events").unwrap();
    let aws = with(&[case], &["a"]);
    aws.fault_from("DescribeTaskDefinition", Fault::Denied, 0);
    let gap = look_at(&aws, "events").gap(&source("events")).unwrap();
    assert!(gap.problem.contains("; allow ecs:DescribeTaskDefinition"), "{gap}");
}

#[test]
fn what_a_source_says_before_it_fails_counts() {
    let case = &CASES[0];
    let aws = with(&[case], &["a", "b"]);
    aws.cloud(|cloud| cloud.sources.page = 1);
    aws.fault_from("batch:DescribeJobDefinitions", Fault::Denied, 1);
    let reading = look_at(&aws, case.name);
    assert_eq!(references(&reading), expected(&["a"]));
    assert_eq!(reading.problems.len(), 1);
}

#[test]
fn throttling_is_waited_out() {
    for case in &CASES {
        for operation in case.operations {
            for fault in [Fault::Throttled, Fault::ServerError, Fault::Unavailable] {
                let aws = with(&[case], &["a"]);
                aws.fault(operation, fault, 3);
                let reading = look_at(&aws, case.name);
                assert_eq!(references(&reading), expected(&["a"]), "{operation}");
                assert_eq!(reading.problems, [""; 0], "{operation}");
            }
        }
    }
}

#[test]
fn every_list_is_read_to_its_last_page() {
    let names: Vec<String> = (0..5).map(|number| format!("image-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for case in &CASES {
        let aws = with(&[case], &names);
        aws.cloud(|cloud| (cloud.sources.page, cloud.stacks.page) = (2, 2));
        assert_eq!(references(&look_at(&aws, case.name)), expected(&names), "{}", case.name);
        let calls = aws.calls();
        let pages = calls.iter().filter(|call| {
            let is_next = |name: &str| !call.request[name].is_null();
            call.operation.starts_with(&format!("{}:", case.name))
                && (is_next("nextToken") || is_next("NextToken"))
        });
        let is_counted = case.name != "stacks";
        let pages = if is_counted { pages.count() } else { aws.count("DescribeStacks") - 1 };
        assert!(pages >= 2, "{}", case.name);
    }
}

#[test]
fn a_list_that_never_ends_is_a_gap() {
    let case = &CASES[0];
    let names: Vec<String> = (0..501).map(|number| format!("image-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let aws = with(&[case], &names);
    aws.cloud(|cloud| cloud.sources.page = 1);
    let gap = look_at(&aws, case.name).gap(&source(case.name)).unwrap();
    assert!(gap.problem.contains("more than 500 pages"), "{gap}");
}

#[test]
fn a_service_that_the_region_lacks_is_not_called_and_is_no_gap() {
    for case in &CASES {
        let Some(service) = source(case.name).service else { continue };
        let all: Vec<&Case> = CASES.iter().collect();
        let aws = with(&all, &["a"]);
        aws.cloud(|cloud| cloud.lacking = vec![service.to_owned()]);
        aws.fault_from(case.operations[0], Fault::Denied, 0);
        let found = look(&aws);
        assert_eq!(found[case.name], None);
        assert_eq!(aws.count(case.operations[0]), 0, "{service}");
        let others =
            found.values().filter(|reading| reading.as_ref().is_some_and(|one| !one.used.is_empty()));
        assert_eq!(others.count(), CASES.len() - 1, "{service}");
    }
}

#[test]
fn only_systems_manager_says_that_a_region_lacks_a_service() {
    // Of a Region that it does not know it does not know what is lacking.
    let all: Vec<&Case> = CASES.iter().collect();
    let aws = with(&all, &["a"]);
    aws.cloud(|cloud| cloud.lacking = vec!["ecr".to_owned(), "batch".to_owned()]);
    let found = look(&aws);
    assert!(CASES.iter().all(|case| found[case.name].as_ref().is_some_and(|one| !one.used.is_empty())));
    // When it cannot be asked everything is read, and a source that fails then says what is not known besides.
    let expired =
        Fault::Error("ExpiredTokenException", "The security token included in the request is expired");
    for (fault, end) in [
        (Fault::Denied, "; allow ssm:GetParameters"),
        // No permission helps here.
        (expired, "The security token included in the request is expired"),
    ] {
        let aws = with(&all, &["a"]);
        aws.fault_from("GetParameters", fault, 0);
        aws.fault_from("sagemaker:ListModels", Fault::Denied, 0);
        let found = look(&aws);
        let problems: Vec<&String> =
            found.values().flat_map(|reading| &reading.as_ref().unwrap().problems).collect();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("whether the Region has the service is not known"), "{problems:?}");
        assert!(problems[0].ends_with(end), "{problems:?}");
    }
}

#[test]
fn what_never_changes_is_asked_for_once() {
    let all: Vec<&Case> = CASES.iter().collect();
    let aws = with(&all, &["a"]);
    let first = look(&aws);
    let known: Known =
        first.iter().map(|(name, reading)| ((*name).to_owned(), reading.clone().unwrap().known)).collect();
    aws.forget_calls();
    let second = look_with(&aws, &known);
    assert_eq!(second, first);
    for operation in ["DescribeTaskDefinition", "sagemaker:DescribeModel", "GetTemplate"] {
        assert_eq!(aws.count(operation), 0, "{operation}");
    }
    // A model of the same name is another one.
    aws.cloud(|cloud| {
        cloud.sources.models.models.clear();
        cloud.sources.models.create("a", &json!({ "Image": image("other") }));
        cloud.sources.models.models[0]["CreationTime"] = 1_795_000_000.into();
    });
    let third = look_with(&aws, &known);
    assert_eq!(references(third["sagemaker"].as_ref().unwrap()), expected(&["other"]));
}

/// For 250 things of each source; as each [`UsageSource::calls`] says.
#[test]
fn a_look_takes_no_more_calls_than_pages_and_things_that_have_to_be_described() {
    const THINGS: usize = 250;
    let names: Vec<String> = (0..THINGS).map(|number| format!("image-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (name, lists, descriptions) in [
        ("batch", 3, 0),
        // The event buses, and the rules of two of them for one cluster, the second of which has three pages.
        ("events", 1 + 1 + 3, THINGS),
        // As many other schedules, which are not described.
        ("scheduler", 5, THINGS),
        ("pipes", 3, THINGS),
        ("states", 1, THINGS),
        ("codebuild", 3, 3),
        ("apprunner", 13, 2 * THINGS),
        // Models and endpoints.
        ("sagemaker", 3 + 1, THINGS),
        // Runtimes and harnesses, and the endpoints of each.
        ("bedrock-agentcore", 2 * 3 + 2 * THINGS, 2 * THINGS),
        // Applications, and the sessions and job runs of each.
        ("emr-serverless", 5 + 2 * THINGS, 2 * THINGS),
    ] {
        let case = CASES.iter().find(|case| case.name == name).unwrap();
        let aws = with(&[case], &names);
        look(&aws);
        assert_eq!(calls(&aws, case), lists + descriptions, "{name}: {}", source(name).calls);
        let revisions = if ["events", "scheduler", "pipes", "states"].contains(&name) { THINGS } else { 0 };
        assert_eq!(aws.count("DescribeTaskDefinition"), revisions, "{name}");
    }
}

#[test]
fn what_is_deleted_between_two_calls_is_no_gap() {
    let all: Vec<&Case> = CASES.iter().collect();
    let aws = with(&all, &["a"]);
    aws.cloud(|cloud| cloud.sources.projects.deleted.push("gone".to_owned()));
    let gone = ["scheduler:GetSchedule", "apprunner:ListOperations", "events:ListTargetsByRule"];
    for operation in gone {
        aws.fault_from(operation, Fault::Error("ResourceNotFoundException", "gone"), 0);
    }
    aws.fault_from("pipes:DescribePipe", Fault::Error("NotFoundException", "gone"), 0);
    aws.fault_from("states:DescribeStateMachine", Fault::Error("StateMachineDoesNotExist", "gone"), 0);
    aws.fault_from(
        "sagemaker:DescribeModel",
        Fault::Error("ValidationException", "Could not find model."),
        0,
    );
    for (name, reading) in look(&aws) {
        assert_eq!(reading.unwrap().problems, [""; 0], "{name}");
    }
}

#[test]
fn a_definition_that_is_not_there_any_more_starts_nothing() {
    let aws = EcrStub::in_memory();
    aws.cloud(|cloud| cloud.sources.rules.start_tasks("default", "old", "prod", "gone:1"));
    assert_eq!(look_at(&aws, "events"), Reading::default());
    assert_eq!(aws.count("DescribeTaskDefinition"), 1);
}

#[test]
fn a_service_of_app_runner_keeps_what_was_there_when_it_was_last_deployed() {
    let aws = EcrStub::in_memory();
    aws.cloud(|cloud| {
        cloud.sources.app_runner.create("web", &image("web:prod"), 9.0);
        cloud.sources.app_runner.deploy("web", 2.0);
        cloud.sources.app_runner.create("pinned", &image(&format!("p@sha256:{}", "a".repeat(64))), 1.0);
    });
    let reading = look_at(&aws, "apprunner");
    assert_eq!(reading.used.len(), 2);
    let [unknown] = &reading.unknown[..] else { panic!("{reading:?}") };
    let age = shared::domain::text::instant::Instant::now().micros() - unknown.started_at.unwrap().micros();
    assert_eq!(age / 86_400_000_000, 2);
    // Which deployment is the last nobody knows of a list that cannot be read.
    aws.fault_from("apprunner:ListOperations", Fault::Denied, 0);
    assert_eq!(look_at(&aws, "apprunner").unknown[0].started_at, None);
}

/// App Runner pulls when a deployment begins, and says when it has ended.
#[test]
fn while_a_service_of_app_runner_is_deployed_any_image_of_its_repository_may_be_the_one() {
    for (status, is_known) in [
        ("PENDING", false),
        ("IN_PROGRESS", false),
        ("ROLLBACK_IN_PROGRESS", false),
        ("A_STATUS_OF_TOMORROW", false),
        ("FAILED", true),
        ("ROLLBACK_FAILED", true),
        ("ROLLBACK_SUCCEEDED", true),
    ] {
        let aws = EcrStub::in_memory();
        aws.cloud(|cloud| {
            cloud.sources.app_runner.create("web", &image("web:prod"), 9.0);
            cloud.sources.app_runner.deploy("web", 1.0);
            let operation = cloud.sources.app_runner.services[0].1.last_mut().unwrap();
            operation["Status"] = status.into();
        });
        let reading = look_at(&aws, "apprunner");
        assert_eq!(reading.unknown[0].started_at.is_some(), is_known, "{status}");
    }
    // What changes no image is awaited by nobody.
    let aws = EcrStub::in_memory();
    aws.cloud(|cloud| {
        cloud.sources.app_runner.create("web", &image("web:prod"), 9.0);
        cloud.sources.app_runner.deploy("web", 1.0);
        let operation = cloud.sources.app_runner.services[0].1.last_mut().unwrap();
        (operation["Status"], operation["Type"]) = ("IN_PROGRESS".into(), "PAUSE_SERVICE".into());
    });
    assert!(look_at(&aws, "apprunner").unknown[0].started_at.is_some());
}

#[test]
fn every_image_that_a_package_of_sagemaker_may_be_deployed_with_is_in_use() {
    let aws = EcrStub::in_memory();
    aws.cloud(|cloud| {
        let package = cloud.sources.models.package("group", &image("packed:1"));
        cloud.sources.models.packages[0].1["AdditionalInferenceSpecifications"] =
            json!([{ "Name": "gpu", "Containers": [{ "Image": image("packed:gpu") }] }]);
        let container = json!({ "ModelPackageName": package, "InferenceSpecificationName": "gpu" });
        cloud.sources.models.create("of-package", &container);
    });
    let expected = [image("packed:1"), image("packed:gpu")].into_iter().collect();
    assert_eq!(references(&look_at(&aws, "sagemaker")), expected);
}

/// Without what an answer has to have, nothing is known of it.
#[test]
fn an_answer_that_names_no_image_where_one_is_needed_is_a_gap() {
    let aws = EcrStub::in_memory();
    aws.cloud(|cloud| {
        let package = cloud.sources.models.package("group", &image("packed:1"));
        cloud.sources.models.create("of-package", &json!({ "ModelPackageName": package }));
        cloud.sources.models.create("own", &json!({ "Image": image("own:1") }));
        cloud.sources.machines.start_tasks("machine", "web:1");
        cloud.sources.schedules.start_tasks("default", "schedule", "prod", "web:1");
        cloud.sources.pipes.start_tasks("pipe", "prod", "web:1");
    });
    let without: [(&str, Change); 5] = [
        ("sagemaker", |operation, answer| {
            if operation == "sagemaker:DescribeModel" {
                answer["PrimaryContainer"] = Value::Null;
            }
        }),
        ("sagemaker", |operation, answer| {
            if operation == "sagemaker:DescribeModelPackage" {
                *answer = json!({});
            }
        }),
        ("sagemaker", |operation, answer| {
            if operation == "sagemaker:DescribeModelPackage" {
                answer["InferenceSpecification"]["Containers"] = json!([{}]);
            }
        }),
        ("scheduler", |operation, answer| {
            if operation == "scheduler:GetSchedule" {
                answer["Target"] = Value::Null;
            }
        }),
        ("pipes", |operation, answer| {
            if operation == "pipes:DescribePipe" {
                answer["TargetParameters"] = Value::Null;
            }
        }),
    ];
    for (number, (name, edit)) in without.into_iter().enumerate() {
        let reading = look_over(Wire(aws.clone(), edit), &Known::new()).remove(name).unwrap().unwrap();
        assert!(!reading.problems.is_empty(), "{number}: {name}");
        assert!(reading.gap(&source(name)).is_some());
    }
}

/// What cannot be followed is not the end.
#[test]
fn a_token_that_is_no_text_is_a_gap() {
    let case = &CASES[0];
    let aws = with(&[case], &["a"]);
    let edit: Change = |operation, answer| {
        if operation == "batch:DescribeJobDefinitions" {
            answer["nextToken"] = json!({ "page": 2 });
        }
    };
    let reading = look_over(Wire(aws, edit), &Known::new()).remove(case.name).unwrap().unwrap();
    assert_eq!(references(&reading), expected(&["a"]));
    assert_eq!(reading.problems.len(), 1, "{:?}", reading.problems);
}

#[test]
fn endpoints_and_packages_of_sagemaker_keep_their_images() {
    let aws = EcrStub::in_memory();
    let resolved = image(&format!("serve@sha256:{}", "b".repeat(64)));
    aws.cloud(|cloud| {
        cloud.sources.models.deploy("live", &image("serve:prod"), &resolved);
        let package = cloud.sources.models.package("group", &image("packed:1"));
        cloud.sources.models.create("of-package", &json!({ "ModelPackageName": package }));
        let foreign = "arn:aws:sagemaker:eu-west-1:865070037744:model-package/sold";
        cloud.sources.models.create("bought", &json!({ "ModelPackageName": foreign }));
    });
    let reading = look_at(&aws, "sagemaker");
    let expected = [image("packed:1"), image("serve:prod"), resolved].into_iter().collect();
    assert_eq!(references(&reading), expected);
    assert_eq!(reading.problems, [""; 0], "images of others' packages are in others' registries");
    for operation in
        ["sagemaker:DescribeModelPackage", "sagemaker:ListEndpoints", "sagemaker:DescribeEndpoint"]
    {
        aws.heal();
        aws.fault_from(operation, Fault::Denied, 0);
        let gap = look_at(&aws, "sagemaker").gap(&source("sagemaker")).unwrap();
        assert!(gap.problem.contains(&format!("; allow {operation}")), "{gap}");
    }
}

#[test]
fn inspector_reports_which_images_tasks_and_pods_use() {
    let digest = |number: usize| format!("sha256:{number:064x}");
    let aws = EcrStub::in_memory();
    aws.cloud(|cloud| {
        for number in 1..6 {
            cloud.sources.inspector.images.push(("team/app".to_owned(), digest(number), 2));
        }
        cloud.sources.inspector.images.push(("team/app".to_owned(), digest(9), 0));
        cloud.sources.page = 2;
    });
    let expected: BTreeSet<String> =
        (1..6).map(|number| image(&format!("team/app@{}", digest(number)))).collect();
    aws.fault("inspector2:ListCoverage", Fault::Throttled, 3);
    let reading = look_at(&aws, "inspector");
    assert_eq!(
        (references(&reading), reading.problems.len()),
        (expected, 0),
        "all pages, and throttling is waited out"
    );
    assert_eq!(aws.count("inspector2:ListCoverage"), 3 + 3);
    aws.fault_from("inspector2:ListCoverage", Fault::Denied, 0);
    assert!(look_at(&aws, "inspector").problems[0].contains("; allow inspector2:ListCoverage"));
    aws.cloud(|cloud| cloud.lacking = vec!["inspector2".to_owned()]);
    assert_eq!(look(&aws)["inspector"], None);
    let empty = EcrStub::in_memory();
    assert_eq!(look_at(&empty, "inspector"), Reading::default());
    assert_eq!(empty.count("inspector2:ListCoverage"), 1);
}

#[test]
fn the_list_of_sources_is_whole_and_the_policy_for_reading_use_allows_what_they_need_and_no_more() {
    let read: Vec<&UsageSource> = READERS.iter().map(|(source, _)| source).collect();
    let cases: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    // Inspector has tests of its own: it is a second opinion.
    assert_eq!(
        read.iter().map(|source| source.name).collect::<Vec<_>>(),
        [&cases[..], &["inspector"]].concat()
    );
    assert!(read.iter().all(|source| SOURCES.contains(source)));
    let mut wanted: BTreeSet<String> =
        SOURCES.iter().flat_map(|source| source.actions).map(|action| (*action).to_owned()).collect();
    wanted.insert("ssm:GetParameters".to_owned());
    // Not a source: whether protection tags are signed.
    wanted.insert(shared::domain::usage::signing::ACTION.to_owned());
    // Listing the bucket is allowed where its objects are.
    wanted.remove("s3:ListBucket");
    assert_eq!(template::actions("ReadUsagePolicy"), wanted);
}

#[test]
fn of_agentcore_every_version_that_an_endpoint_leads_to_counts_and_no_other() {
    let aws = EcrStub::in_memory();
    aws.cloud(|cloud| {
        let agentcore = &mut cloud.sources.agentcore;
        for number in 1..=5 {
            agentcore.update_runtime("agent", Some(&image(&format!("agent:{number}"))), 10.0);
        }
        agentcore.point("agent", "prod", 2);
        agentcore.update_runtime("script", None, 10.0);
        agentcore.update_harness("without", None, 10.0);
        agentcore.update_runtime("pinned", Some(&format!("{HOST}/pinned@sha256:{}", "a".repeat(64))), 10.0);
    });
    let reading = look_at(&aws, "bedrock-agentcore");
    let expected = ["agent:2", "agent:5", &format!("pinned@sha256:{}", "a".repeat(64))].map(image);
    assert_eq!(references(&reading), expected.into_iter().collect());
    assert_eq!(reading.problems, [""; 0]);
    // Of a tag it is not reported what it meant when the version was made.
    let unknown: Vec<String> = reading.unknown.iter().map(|one| one.reference.to_string()).collect();
    assert_eq!(unknown, ["agent:2", "agent:5"].map(image));
    assert!(reading.unknown.iter().all(|one| one.started_at.is_some()));
}

#[test]
fn of_emr_serverless_a_job_runs_its_own_digest_whatever_its_application_names_meanwhile() {
    let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
    let aws = EcrStub::in_memory();
    aws.cloud(|cloud| {
        let emr = &mut cloud.sources.emr_serverless;
        emr.create("spark", &image("spark:2"), Some(&digest("b")));
        emr.run_job("spark", "running", "RUNNING", &image("spark:1"), Some(&digest("a")));
        emr.run_job("spark", "queued", "QUEUED", &image("spark:0"), None);
        emr.run_job("spark", "done", "SUCCESS", &image("old:1"), Some(&digest("c")));
        emr.create("gone", &image("gone:1"), None);
        emr.applications[1]["state"] = "TERMINATED".into();
    });
    let reading = look_at(&aws, "emr-serverless");
    let (running, started) = (format!("spark@{}", digest("a")), format!("spark@{}", digest("b")));
    let expected = ["spark:2", &started, &running, "spark:0"].map(image);
    assert_eq!(references(&reading), expected.into_iter().collect());
    let unknown: Vec<String> = reading.unknown.iter().map(|one| one.reference.to_string()).collect();
    assert_eq!(unknown, [image("spark:0")], "what its tag meant when it was submitted");
}
