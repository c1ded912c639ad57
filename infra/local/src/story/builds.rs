//! The part of the story about builds: sources are uploaded and pushed, and become images that can be pulled.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{Extent, Step, until};
use crate::codebuild::Builder;
use crate::stack::Stack;
use crate::{LocalError, Project, run, say};

/// The stack that declares an image.
const STACK: &str = "shop-image";
/// The stack that runs one.
const SERVICE: &str = "shop-service";
/// The rule by which the story receives events of S3.
const HEAR: &str = "hear";
/// The repositories of this part.
const REPOSITORIES: [&str; 4] = ["team/web", "api", "team/multi", "team/broken"];
/// Number of deliveries of one push.
const DELIVERIES: usize = 20;

/// Plays it.
pub(super) fn play(project: &Project, stack: &Stack, extent: Extent) -> Result<(), LocalError> {
    let bench = Bench { project, stack, bucket: stack.output("SourceBucketName")?.to_owned() };
    bench.uploaded()?;
    if extent == Extent::Short {
        return Ok(());
    }
    bench.delivered_often()?;
    bench.committed()?;
    bench.for_two_platforms()?;
    bench.broken()?;
    bench.declared()?;
    bench.runs()
}

/// Removes what a story that was broken off has left.
pub(super) fn clear(project: &Project, stack: &Stack) -> Result<(), LocalError> {
    stack.delete(STACK)?;
    stack.delete(SERVICE)?;
    for queue in ["heard", "told"] {
        if let Ok(found) = stack.sqs(&["get-queue-url", "--queue-name", queue]) {
            let url = found["QueueUrl"].as_str().unwrap_or_default();
            stack.sqs(&["delete-queue", "--queue-url", url])?;
        }
    }
    for repository in REPOSITORIES {
        stack.request("DELETE", &format!("/repositories/{repository}?force=true&inUse=true"), None)?;
        if Bench::parameter_of(stack, repository)?.is_some() {
            stack.aws(&["ssm", "delete-parameter", "--name", &parameter(repository)])?;
        }
    }
    forget(project)
}

/// Removes the repositories that play CodeCommit, which are files.
pub(super) fn forget(project: &Project) -> Result<(), LocalError> {
    crate::tools::remove(&Builder::repositories(project))
}

fn parameter(repository: &str) -> String {
    format!("/ecr-steward/images/{repository}")
}

/// The files of a source.
type Files<'a> = &'a [(&'a str, &'a str)];

/// A queue of Amazon SQS.
struct Queue {
    url: String,
    arn: String,
}

/// A web server of one file.
const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /bin/\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nCOPY index.html /srv/\n\
     USER 65532\nEXPOSE 8080\nENTRYPOINT [\"/bin/httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/srv\"]\n";

struct Bench<'a> {
    project: &'a Project,
    stack: &'a Stack,
    bucket: String,
}

impl Bench<'_> {
    /// A source on disk, with a program in it for images that start from nothing.
    fn source(&self, name: &str, files: Files<'_>) -> Result<PathBuf, LocalError> {
        let folder = self.project.run().join("sources").join(name);
        let io = |file: &Path| LocalError::io(file.display().to_string());
        crate::tools::remove(&folder)?;
        fs::create_dir_all(&folder).map_err(io(&folder))?;
        for (name, content) in files {
            let file = folder.join(name);
            fs::write(&file, content).map_err(io(&file))?;
        }
        let program = folder.join("busybox");
        fs::copy("/bin/busybox", &program).map_err(io(&program))?;
        Ok(folder)
    }

    /// Puts a source into the stack's bucket as a zip archive, and gives the version that it is.
    fn upload(&self, key: &str, files: Files<'_>) -> Result<String, LocalError> {
        let folder = self.source(&key.trim_end_matches(".zip").replace('/', "-"), files)?;
        let archive = folder.with_extension("zip");
        let entries = files.iter().map(|(name, _)| *name).chain(["busybox"]);
        run(Command::new("python3")
            .args(["-m", "zipfile", "-c"])
            .arg(&archive)
            .args(entries)
            .current_dir(&folder))?;
        self.put(key, &archive)
    }

    fn put(&self, key: &str, file: &Path) -> Result<String, LocalError> {
        let body = file.to_string_lossy();
        let put = ["s3api", "put-object", "--bucket", &self.bucket, "--key", key, "--body", &body];
        let version = self.stack.aws(&put)?["VersionId"].as_str().map(str::to_owned);
        version.ok_or_else(|| LocalError::Unexpected {
            program: "aws s3api put-object".to_owned(),
            problem: "the bucket keeps no versions".to_owned(),
        })
    }

    /// The image that a repository's parameter points to.
    fn parameter_of(stack: &Stack, repository: &str) -> Result<Option<String>, LocalError> {
        let found = stack.aws(&["ssm", "get-parameters", "--names", &parameter(repository)])?;
        Ok(found.pointer("/Parameters/0/Value").and_then(Value::as_str).map(str::to_owned))
    }

    /// Waits until there is an image in the parameter of a repository, and another than before.
    fn published(&self, step: &Step, repository: &str, before: Option<&str>) -> Result<String, LocalError> {
        until(step, &format!("an image in {}", parameter(repository)), || {
            let now = Self::parameter_of(self.stack, repository)?;
            Ok(now.filter(|uri| Some(uri.as_str()) != before))
        })
    }

    /// The image with a tag: its digest and all its tags.
    fn image(&self, repository: &str, id: &str) -> Result<(String, BTreeSet<String>), LocalError> {
        let arguments = ["ecr", "describe-images", "--repository-name", repository, "--image-ids", id];
        let answer = self.stack.aws(&arguments)?;
        let image = &answer["imageDetails"][0];
        let tags = image["imageTags"].as_array().into_iter().flatten();
        Ok((
            image["imageDigest"].as_str().unwrap_or_default().to_owned(),
            tags.filter_map(Value::as_str).map(str::to_owned).collect(),
        ))
    }

    /// The builds of both projects.
    fn builds(&self) -> Result<BTreeSet<String>, LocalError> {
        let answer = self.stack.aws(&["codebuild", "list-builds"])?;
        let ids = answer["ids"].as_array().into_iter().flatten();
        Ok(ids.filter_map(Value::as_str).map(str::to_owned).collect())
    }

    fn pull(&self, uri: &str) -> Result<Value, LocalError> {
        let folder = self.project.run().join("pulled");
        crate::tools::remove(&folder)?;
        self.stack.pull(uri, &folder, &self.project.run())
    }

    fn queue(&self, name: &str) -> Result<Queue, LocalError> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let made = self.stack.sqs(&["create-queue", "--queue-name", name])?;
        let url = text(&made["QueueUrl"]);
        let arguments = ["get-queue-attributes", "--queue-url", &url, "--attribute-names", "QueueArn"];
        let attributes = self.stack.sqs(&arguments)?;
        Ok(Queue { arn: text(&attributes["Attributes"]["QueueArn"]), url })
    }

    /// The next message of a queue.
    fn received(&self, step: &Step, queue: &Queue) -> Result<String, LocalError> {
        until(step, "a message", || {
            let answer = self.stack.sqs(&[
                "receive-message",
                "--queue-url",
                &queue.url,
                "--wait-time-seconds",
                "2",
            ])?;
            Ok(answer.pointer("/Messages/0/Body").and_then(Value::as_str).map(str::to_owned))
        })
    }

    fn uploaded(&self) -> Result<(), LocalError> {
        let step = Step::begin("an image by one upload: aws s3 cp web.zip s3://…/sources/team/web/web.zip");
        self.upload("sources/team/web/web.zip", &[("Dockerfile", DOCKERFILE), ("index.html", "one")])?;
        let uri = self.published(&step, "team/web", None)?;
        let (digest, tags) = self.image("team/web", "imageTag=latest")?;
        step.check(uri.ends_with(&format!("/team/web@{digest}")), || {
            format!("latest is {digest}, and the parameter says {uri}")
        })?;
        let content: Vec<&String> = tags.iter().filter(|tag| tag.starts_with("src-")).collect();
        step.check(tags.len() == 2 && content.len() == 1, || {
            format!("one tag should stand for the source beside latest: {tags:?}")
        })?;
        let config = self.pull(&uri)?;
        step.check(config.pointer("/config/Entrypoint/0") == Some(&json!("/bin/httpd")), || {
            format!("the image should run what its Dockerfile says: {config}")
        })?;
        say(&format!("  {uri}"));
        Ok(())
    }

    fn delivered_often(&self) -> Result<(), LocalError> {
        let step = Step::begin("a second version, its event delivered 20 times at once: one build");
        let (before, builds) = (Self::parameter_of(self.stack, "team/web")?, self.builds()?);
        let heard = self.queue("heard")?;
        let pattern = json!({ "source": ["aws.s3"] }).to_string();
        self.stack.aws(&["events", "put-rule", "--name", HEAR, "--event-pattern", &pattern])?;
        let target = format!("Id=queue,Arn={}", heard.arn);
        self.stack.aws(&["events", "put-targets", "--rule", HEAR, "--targets", &target])?;
        self.upload("sources/team/web/web.zip", &[("Dockerfile", DOCKERFILE), ("index.html", "two")])?;
        let event = self.received(&step, &heard)?;
        let file = self.project.run().join("event.json");
        fs::write(&file, event).map_err(LocalError::io(file.display().to_string()))?;
        let function = self.stack.output("ImageBuildFunctionArn")?;
        let answers: Vec<Result<Value, LocalError>> = std::thread::scope(|scope| {
            let one = |number: usize| {
                let answer = self.project.run().join(format!("answer-{number}.json"));
                let file = &file;
                scope.spawn(move || self.stack.invoke(function, file, &answer))
            };
            let all: Vec<_> = (0..DELIVERIES).map(one).collect();
            all.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        let tags: BTreeSet<&str> =
            answers.iter().filter_map(|answer| answer.pointer("/images/0/imageTag")?.as_str()).collect();
        step.check(answers.len() == DELIVERIES && tags.len() == 1, || {
            format!("all should be about one image: {answers:?}")
        })?;
        self.published(&step, "team/web", before.as_deref())?;
        let new: Vec<String> = self.builds()?.difference(&builds).cloned().collect();
        step.check(new.len() == 1, || format!("one build should have begun: {new:?}"))?;
        let old = before.as_deref().and_then(|uri| uri.rsplit('@').next()).unwrap_or_default().to_owned();
        let (_, tags) = self.image("team/web", &format!("imageDigest={old}"))?;
        step.check(tags.len() == 1, || {
            format!("the image before should still be there, with the tag of its source: {tags:?}")
        })?;
        say(&format!("  {}; the image before keeps its tag {tags:?}", new.concat()));
        Ok(())
    }

    fn committed(&self) -> Result<(), LocalError> {
        const BUILDS_FILE: &str = "builds:\n  - repositoryName: api\n    source:\n      codeCommit:\n        repositoryName: api\n        \
            branches: [main]\n    imageTags: [\"{branch}\", \"{shortCommit}\"]\n    buildArgs:\n      \
            GREETING: 'a; touch pwned'\n";
        let step = Step::begin(
            "a push to CodeCommit, with a builds.yaml that names its branch, tags and an argument",
        );
        let file = self.project.run().join("builds.yaml");
        fs::write(&file, BUILDS_FILE).map_err(LocalError::io(file.display().to_string()))?;
        self.put("builds.yaml", &file)?;
        let dockerfile = "FROM scratch\nARG GREETING\nLABEL greeting=$GREETING\nCOPY index.html /\n";
        let folder = self.source("api", &[("Dockerfile", dockerfile), ("index.html", "api")])?;
        let remote = Builder::repositories(self.project).join("api");
        let git = |arguments: &[&str]| {
            let identity = ["-c", "user.name=Dev", "-c", "user.email=dev@example.com"];
            run(Command::new("git").args(identity).args(arguments).current_dir(&folder))
        };
        git(&["init", "--quiet", "--initial-branch=main"])?;
        git(&["add", "."])?;
        git(&["commit", "--quiet", "--message=Answer"])?;
        git(&["clone", "--quiet", "--bare", ".", &remote.to_string_lossy()])?;
        let commit = String::from_utf8_lossy(&git(&["rev-parse", "HEAD"])?.stdout).trim().to_owned();
        let pushed = |branch: &str| {
            json!({
                "Source": "aws.codecommit", "DetailType": "CodeCommit Repository State Change",
                "Resources": ["arn:aws:codecommit:eu-west-1:000000000000:api"],
                "Detail": json!({
                    "event": "referenceCreated", "repositoryName": "api", "referenceType": "branch",
                    "referenceName": branch, "commitId": commit,
                }).to_string(),
            })
        };
        let builds = self.builds()?;
        let entries = json!([pushed("main"), pushed("main"), pushed("feature/x")]).to_string();
        let put = self.stack.aws(&["events", "put-events", "--entries", &entries])?;
        step.check(put["FailedEntryCount"] == 0, || put.to_string())?;
        let uri = self.published(&step, "api", None)?;
        let config = self.pull(&uri)?;
        let labels = &config["config"]["Labels"];
        step.check(
            labels["greeting"] == "a; touch pwned" && labels["org.opencontainers.image.revision"] == commit,
            || format!("the labels should have the argument as it is, and the commit: {labels}"),
        )?;
        let (_, tags) = self.image("api", "imageTag=main")?;
        step.check(tags.contains(&commit[..7]), || format!("the short commit is missing: {tags:?}"))?;
        let new = self.builds()?.difference(&builds).count();
        step.check(new == 1, || {
            format!("one build should have begun, and none of another branch; there are {new}")
        })?;
        say(&format!("  {uri} {tags:?}"));
        Ok(())
    }

    fn for_two_platforms(&self) -> Result<(), LocalError> {
        let step = Step::begin("POST /builds for linux/amd64 and linux/arm64: two builds, one index");
        let files = [("Dockerfile", "FROM scratch\nCOPY index.html /\n"), ("index.html", "everywhere")];
        self.upload("uploads/multi.zip", &files)?;
        let spec = json!({
            "repositoryName": "team/multi", "platforms": ["linux/amd64", "linux/arm64"],
            "source": { "s3": { "key": "uploads/multi.zip" } },
        });
        let started = step.expect(self.stack.request("POST", "/builds", Some(&spec))?, 202)?;
        let ids: Vec<&str> = started["builds"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|b| b["buildId"].as_str())
            .collect();
        step.check(ids.len() == 2, || format!("two builds should have begun: {started}"))?;
        for id in ids {
            let build = until(&step, &format!("the end of {id}"), || {
                let build = step.expect(self.stack.request("GET", &format!("/builds/{id}"), None)?, 200)?;
                Ok((build["buildStatus"] != "IN_PROGRESS").then_some(build))
            })?;
            step.check(build["buildStatus"] == "SUCCEEDED", || build.to_string())?;
            say(&format!(
                "  {} {}",
                build["platform"].as_str().unwrap_or_default(),
                build["imageDigest"].as_str().unwrap_or_default()
            ));
        }
        let tag = format!("imageTag={}", started["imageTag"].as_str().unwrap_or_default());
        let arguments = ["ecr", "batch-get-image", "--repository-name", "team/multi", "--image-ids", &tag];
        let index = until(&step, "the index", || {
            let answer = self.stack.aws(&arguments)?;
            let manifest = answer.pointer("/images/0/imageManifest").and_then(Value::as_str);
            Ok(manifest.and_then(|text| serde_json::from_str::<Value>(text).ok()))
        })?;
        let platforms: BTreeSet<&str> = index["manifests"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|child| child.pointer("/platform/architecture")?.as_str())
            .collect();
        step.check(platforms == BTreeSet::from(["amd64", "arm64"]), || {
            format!("both platforms should be in {index}")
        })?;
        let again = step.expect(self.stack.request("POST", "/builds", Some(&spec))?, 200)?;
        step.check(again["imageDigest"].is_string(), || {
            format!("asked again, it is there already: {again}")
        })?;
        say(&format!("  {}", again["imageUri"].as_str().unwrap_or_default()));
        Ok(())
    }

    fn broken(&self) -> Result<(), LocalError> {
        let step = Step::begin("a build that fails is told to whoever subscribed");
        let queue = self.queue("told")?;
        let topic = self.stack.output("BuildFailuresTopicArn")?;
        self.stack.aws(&[
            "sns",
            "subscribe",
            "--topic-arn",
            topic,
            "--protocol",
            "sqs",
            "--notification-endpoint",
            &queue.arn,
        ])?;
        self.upload("sources/team/broken/a.zip", &[("Dockerfile", "FROM scratch\nCOPY nothing /\n")])?;
        let answer = self.received(&step, &queue)?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let message = answer["Message"].as_str().unwrap_or_default();
        step.check(
            ["team/broken", "sources/team/broken/a.zip", "/logs/"].iter().all(|part| message.contains(part)),
            || format!("the repository, the source and the log should be named: {answer}"),
        )?;
        step.check(Self::parameter_of(self.stack, "team/broken")?.is_none(), || {
            "there is no image to point to".to_owned()
        })?;
        for line in message.lines() {
            say(&format!("  {line}"));
        }
        Ok(())
    }

    fn declared(&self) -> Result<(), LocalError> {
        const KEY: &str = "uploads/shop.zip";
        let template = self.project.root().join("infra/examples/image.yaml");
        let deploy = |step: &Step, version: &str, expected: &str| -> Result<(), LocalError> {
            let parameters = [("SourceKey", KEY), ("SourceVersion", version)];
            let status = self.stack.deploy(&template, STACK, &parameters)?;
            step.check(status == expected, || format!("the stack should be {expected}, and is {status}"))
        };
        let output = |name: &str| -> Result<String, LocalError> {
            let outputs = self.stack.describe(STACK)?.map(|described| described.outputs).unwrap_or_default();
            Ok(outputs.get(name).cloned().unwrap_or_default())
        };
        let shop = |text: &'static str| self.upload(KEY, &[("Dockerfile", DOCKERFILE), ("index.html", text)]);

        let step = Step::begin("an image declared in CloudFormation: infra/examples/image.yaml");
        let first_version = shop("first")?;
        deploy(&step, &first_version, "CREATE_COMPLETE")?;
        let (first, repository) = (output("ImageUri")?, output("RepositoryName")?);
        step.check(first.contains(&format!("/{repository}@sha256:")), || {
            format!("it should be of {repository}: {first}")
        })?;
        self.pull(&first)?;
        say(&format!("  {first}"));

        let step = Step::begin("updated: another version of the source is another image");
        let builds = self.builds()?;
        deploy(&step, &shop("second")?, "UPDATE_COMPLETE")?;
        let second = output("ImageUri")?;
        step.check(second != first, || format!("it should be another than {first}"))?;
        self.pull(&second)?;
        let new = self.builds()?.difference(&builds).count();
        step.check(new == 1, || format!("one build should have begun; there are {new}"))?;
        say(&format!("  {second}"));

        let step = Step::begin("rolled back: a source that cannot be built");
        let broken = self.upload(KEY, &[("Dockerfile", "FROM scratch\nCOPY nothing /\n")])?;
        deploy(&step, &broken, "UPDATE_ROLLBACK_COMPLETE")?;
        step.check(output("ImageUri")? == second, || format!("it should still be {second}"))?;
        let events = self.stack.aws(&["cloudformation", "describe-stack-events", "--stack-name", STACK])?;
        let reason = events["StackEvents"].as_array().into_iter().flatten().find_map(|event| {
            let is_image =
                event["LogicalResourceId"] == "Image" && event["ResourceStatus"] == "UPDATE_FAILED";
            is_image.then(|| event["ResourceStatusReason"].as_str().unwrap_or_default().to_owned())
        });
        step.check(
            reason
                .as_ref()
                .is_some_and(|reason| reason.contains("the phase BUILD failed: exit status 1. Its log: ")),
            || format!("the reason should be told: {events}"),
        )?;
        say(&format!("  {}", reason.unwrap_or_default()));

        let step = Step::begin("back to the first version: the image is there, and nothing is built");
        let builds = self.builds()?;
        deploy(&step, &first_version, "UPDATE_COMPLETE")?;
        step.check(output("ImageUri")? == first, || format!("it should be {first} again"))?;
        step.check(self.builds()? == builds, || "no build should have begun".to_owned())?;

        let step = Step::begin("deleted with its stack");
        let left = self.stack.delete(STACK)?;
        step.check(left.is_none(), || format!("the stack is {left:?}"))?;
        let gone =
            self.stack.aws_fails(&["ecr", "describe-repositories", "--repository-names", &repository])?;
        step.check(gone.contains("RepositoryNotFoundException"), || format!("it should be gone: {gone}"))
    }

    fn runs(&self) -> Result<(), LocalError> {
        const KEY: &str = "uploads/service.zip";
        let template = self.project.root().join("infra/examples/ecs-service.yaml");
        let text = |answer: &Value, pointer: &str| {
            answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let step =
            Step::begin("a service of two tasks runs what is published: infra/examples/ecs-service.yaml");
        let vpc = text(&self.stack.aws(&["ec2", "create-vpc", "--cidr-block", "10.0.0.0/16"])?, "/Vpc/VpcId");
        let subnet = |zone: &str, block: &str| -> Result<String, LocalError> {
            let create =
                ["create-subnet", "--vpc-id", &vpc, "--availability-zone", zone, "--cidr-block", block];
            Ok(text(&self.stack.aws(&[&["ec2"], &create[..]].concat())?, "/Subnet/SubnetId"))
        };
        let subnets = [subnet("eu-west-1a", "10.0.0.0/24")?, subnet("eu-west-1b", "10.0.1.0/24")?].join(",");
        let network = [("VpcId", vpc.as_str()), ("PublicSubnets", &subnets), ("Subnets", &subnets)];
        let deploy = |step: &Step, image: (&str, &str), expected: &str| -> Result<(), LocalError> {
            let status = self.stack.deploy(&template, SERVICE, &[&network[..], &[image]].concat())?;
            step.check(status == expected, || format!("the stack should be {expected}, and is {status}"))
        };
        // What the service's tasks run, and how many they are to be.
        let runs = || -> Result<(String, u64), LocalError> {
            let resources =
                self.stack.aws(&["cloudformation", "describe-stack-resources", "--stack-name", SERVICE])?;
            let id = |name: &str| {
                let mut all = resources["StackResources"].as_array().into_iter().flatten();
                let resource = all.find(|resource| resource["LogicalResourceId"] == name);
                resource.map(|resource| text(resource, "/PhysicalResourceId")).unwrap_or_default()
            };
            let (cluster, service) = (id("Cluster"), id("Service"));
            let arguments = ["ecs", "describe-services", "--cluster", &cluster, "--services", &service];
            let service = self.stack.aws(&arguments)?;
            let task = text(&service, "/services/0/taskDefinition");
            let task = self.stack.aws(&["ecs", "describe-task-definition", "--task-definition", &task])?;
            let count = service.pointer("/services/0/desiredCount").and_then(Value::as_u64);
            Ok((text(&task, "/taskDefinition/containerDefinitions/0/image"), count.unwrap_or_default()))
        };
        let published = Self::parameter_of(self.stack, "team/web")?.unwrap_or_default();
        deploy(&step, ("ImageUri", &published), "CREATE_COMPLETE")?;
        let (image, count) = runs()?;
        step.check(image == published && count == 2, || {
            format!("two tasks should run {published}; there are {count} of {image}")
        })?;

        let step = Step::begin("the same service with an image that its own stack builds");
        self.upload(KEY, &[("Dockerfile", DOCKERFILE), ("index.html", "service")])?;
        deploy(&step, ("SourceKey", KEY), "UPDATE_COMPLETE")?;
        let (image, count) = runs()?;
        step.check(image != published && image.contains("/shop-service-repository-") && count == 2, || {
            format!("two tasks should run the stack's own image; there are {count} of {image}")
        })?;
        self.pull(&image)?;
        say(&format!("  {image}"));
        let left = self.stack.delete(SERVICE)?;
        step.check(left.is_none(), || format!("the stack should be gone, and is {left:?}"))
    }
}
