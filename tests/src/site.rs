//! One repository under one policy, with builds, a multi-platform release and its signature in it.

use std::collections::BTreeSet;

use serde_json::json;

use crate::cloud::Cloud;
use crate::ecr_stub::{EcrStub, Repository};
use crate::steward::Steward;

/// The host of the registry.
pub const HOST: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

/// A policies file by which everything older than two weeks expires, with additional fields.
pub fn policies_file(more: &str) -> String {
    format!(
        "policies:\n- {{ name: all, repositories: ['*'], rules: [{{ selection: any, maximumAgeLimit: 14 }}]{more} }}\n"
    )
}

/// Deleted by the stack, within no limits of the policy.
pub const UNLIMITED: &str = ", apply: delete, limits: { images: 10000, percent: 100, remaining: 1 }";

/// The digests of a repository's images, by what they are called here.
pub struct Images {
    /// `ci-0` to `ci-5`, a month old.
    pub old: Vec<String>,
    /// A release for two platforms, a month old: index, children, signature.
    pub index: String,
    /// Its children.
    pub children: [String; 2],
    /// Its signature.
    pub signature: String,
    /// Pushed now.
    pub young: String,
}

/// Fills a repository.
pub fn fill(repository: &mut Repository, name: &str) -> Images {
    let old: Vec<String> = (0..6)
        .map(|number| repository.push(&format!("{name} {number}"), &[&format!("ci-{number}")]))
        .collect();
    let children = ["amd64", "arm64"].map(|platform| repository.push(&format!("{name} {platform}"), &[]));
    let index = repository.push_index(&children.each_ref().map(String::as_str), &["v1"]);
    let signature = repository.push_referrer(&format!("{name} signature"), &index);
    for digest in old.iter().chain(&children).chain([&index, &signature]) {
        repository.age(digest, 30.0);
    }
    let young = repository.push(&format!("{name} young"), &["latest"]);
    Images { old, index, children, signature, young }
}

impl Images {
    /// All digests.
    pub fn all(&self) -> BTreeSet<String> {
        let release = [&self.index, &self.children[0], &self.children[1], &self.signature];
        self.old.iter().chain(release).chain([&self.young]).cloned().collect()
    }

    /// The release with all that belongs to it.
    pub fn release(&self) -> [&String; 4] {
        [&self.index, &self.children[0], &self.children[1], &self.signature]
    }
}

/// One repository under one policy.
pub struct Site {
    /// The functions of a run.
    pub steward: Steward,
    /// The images of the repository `app`.
    pub app: Images,
}

impl Site {
    /// A site whose policy has additional fields.
    pub fn new(more: &str) -> Self {
        let steward = Steward::with_policies_file(&policies_file(more));
        let app = steward.aws.with(|registry| {
            let mut repository = repository("app");
            let images = fill(&mut repository, "app");
            registry.repositories.insert("app".to_owned(), repository);
            images
        });
        Self { steward, app }
    }

    /// The AWS that it is on.
    pub fn aws(&self) -> &EcrStub {
        &self.steward.aws
    }

    /// The digests that are left.
    pub fn left(&self) -> BTreeSet<String> {
        self.steward.digests("app")
    }

    /// Runs a task of an image.
    pub fn use_by_task(&self, image: &str, digest: Option<&str>) {
        self.aws().cloud(|cloud| use_by_task(cloud, image, digest));
    }

    /// Asserts that nothing was deleted, tagged or attached.
    pub fn assert_untouched(&self, why: &str) {
        assert_eq!(self.left(), self.app.all(), "{why}");
        for operation in ["BatchDeleteImage", "PutImage", "PutLifecyclePolicy", "UpdateImageStorageClass"] {
            assert_eq!(self.aws().count(operation), 0, "{why}: {operation}");
        }
    }
}

/// Runs a task of an image in the cluster `prod`.
pub fn use_by_task(cloud: &mut Cloud, image: &str, digest: Option<&str>) {
    let definition = cloud.ecs.register("web", &[&format!("{HOST}/{image}")]);
    cloud.ecs.run_task("prod", &definition, digest);
}

/// An empty repository.
pub fn repository(name: &str) -> Repository {
    let described = json!({
        "repositoryArn": format!("arn:aws:ecr:eu-west-1:123456789012:repository/{name}"),
        "registryId": "123456789012", "repositoryName": name, "repositoryUri": format!("{HOST}/{name}"),
        "createdAt": 1.0, "imageTagMutability": "MUTABLE",
    });
    Repository { described, ..Repository::default() }
}

/// An image of another repository, by its digest.
pub fn other(letter: char) -> String {
    format!("other@sha256:{}", letter.to_string().repeat(64))
}

/// A set of digests.
pub fn set<'a>(digests: impl IntoIterator<Item = &'a String>) -> BTreeSet<String> {
    digests.into_iter().cloned().collect()
}
