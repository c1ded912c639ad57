//! A person at a terminal: an account to look at, and the program with what somebody has in the environment.

use std::process::{Command, Stdio};

use crate::binaries::binary;
use crate::cloud::BUCKET;
use crate::ecr_stub::{EcrStub, Repository};
use crate::site::repository;

/// An account with a stack that has this policies file, and with the repositories `team/app` and `team/web`, whose images `push` pushes.
pub fn account(policies_file: &str, push: impl Fn(&str, &mut Repository)) -> EcrStub {
    let aws = EcrStub::start();
    aws.with(|registry| {
        for name in ["team/app", "team/web"] {
            let mut repository = repository(name);
            push(name, &mut repository);
            registry.repositories.insert(name.to_owned(), repository);
        }
    });
    aws.cloud(|cloud| {
        cloud.upload(&format!("{BUCKET}/policies.yaml"), policies_file);
        cloud
            .stacks
            .deploy("ecr-steward", &[("SourceBucketName", BUCKET), ("ApiEndpoint", "http://127.0.0.1:1")]);
    });
    aws
}

/// The program with nothing in its environment but the address of this AWS.
pub fn bare(aws: &EcrStub) -> Command {
    let mut command = Command::new(binary("ecr-steward"));
    command
        .env_clear()
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null());
    command
}

/// The program for somebody with keys and a Region.
pub fn signed_in(aws: &EcrStub) -> Command {
    let mut command = bare(aws);
    command
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "AKIATEST")
        .env("AWS_SECRET_ACCESS_KEY", "test");
    command
}
