//! Amazon Inspector: images that run in Amazon ECS tasks or Amazon EKS pods, as far as Inspector scans them. It is a second
//! opinion: an image that it reports is kept, and one that it does not report is no reason to block.

use serde_json::Value;

use super::source::{Reading, UsageSource, When};
use super::{UsedImage, references};
use crate::domain::image::reference::ImageReference;
use crate::domain::text::quantity::count_of;

/// Amazon Inspector.
pub const SOURCE: UsageSource = UsageSource {
    name: "inspector",
    title: "Amazon Inspector",
    service: Some("inspector2"),
    actions: &["inspector2:ListCoverage"],
    blocks: false,
    when: When::OnceARun,
    calls: "1 for each 200 images that it has seen in use",
};

/// Adds an image in the answer of `ListCoverage`.
pub fn add_image(resource: &Value, reading: &mut Reading) {
    let resource_id = resource["resourceId"].as_str().unwrap_or_default();
    let used_by = match resource["resourceMetadata"]["ecrImage"]["inUseCount"].as_u64() {
        Some(0) => return,
        Some(number) => {
            format!("{}, as Amazon Inspector says", count_of(number, "task or pod", "tasks or pods"))
        }
        None => "Amazon Inspector".to_owned(),
    };
    // arn:aws:ecr:REGION:ACCOUNT:repository/NAME/sha256:…
    let parts: Vec<&str> = resource_id.splitn(6, ':').collect();
    let named = match parts[..] {
        [_, _, "ecr", region, account, resource] => resource
            .strip_prefix("repository/")
            .and_then(|name| name.rsplit_once('/'))
            .map(|(name, digest)| format!("{account}.dkr.ecr.{region}.amazonaws.com/{name}@{digest}")),
        _ => None,
    };
    let (used, problems) = references(&named.into_iter().collect::<Vec<_>>(), &used_by);
    if !used.is_empty() {
        reading.used.extend(used);
        return;
    }
    // However it names the image: a digest counts wherever it is found.
    let digest =
        resource_id.find("sha256:").and_then(|at| ImageReference::recorded_digest(resource_id.get(at..)));
    match digest {
        Some(digest) => {
            let reference = ImageReference::bare_digest(&digest);
            reading.used.push(UsedImage { reference, used_by: vec![used_by] });
        }
        None => reading
            .problems
            .push(format!("ListCoverage: `{resource_id}` names no image {}", problems.concat())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_image_is_known_by_its_repository_and_digest_or_by_its_digest_alone() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let mut reading = Reading::default();
        for id in [
            format!("arn:aws:ecr:eu-west-1:123456789012:repository/team/app/{digest}"),
            format!("team/app@{digest}"),
            "arn:aws:ecr:eu-west-1:123456789012:repository/team/app".to_owned(),
        ] {
            let resource =
                json!({ "resourceId": id, "resourceMetadata": { "ecrImage": { "inUseCount": 3 } } });
            add_image(&resource, &mut reading);
        }
        let shown: Vec<String> = reading.used.iter().map(ToString::to_string).collect();
        let by = "by 3 tasks or pods, as Amazon Inspector says";
        assert_eq!(
            shown,
            [
                format!("123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app@{digest} {by}"),
                format!("{digest} {by}")
            ]
        );
        assert_eq!(reading.problems.len(), 1);
    }
}
