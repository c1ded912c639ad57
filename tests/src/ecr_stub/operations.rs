//! The operations of ECR: the members of their requests, what they do, and their answers and errors.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::load::Fleet;
use super::registry::{Image, Registry, Repository, blobs, digest};
use super::{ACCOUNT, Answered, MANAGED_KEY, now};

/// The operations that the stub knows.
pub const OPERATIONS: [&str; 21] = {
    let mut names = [""; 21];
    let mut index = 0;
    while index < names.len() {
        names[index] = MEMBERS[index].0;
        index += 1;
    }
    names
};

/// The operations and the members of their requests.
const MEMBERS: [(&str, &[&str]); 21] = [
    (
        "CreateRepository",
        &[
            "repositoryName",
            "tags",
            "imageTagMutability",
            "imageTagMutabilityExclusionFilters",
            "imageScanningConfiguration",
            "encryptionConfiguration",
        ],
    ),
    ("DescribeRepositories", &["registryId", "repositoryNames", "maxResults", "nextToken"]),
    ("DeleteRepository", &["repositoryName", "force"]),
    (
        "PutImageTagMutability",
        &["repositoryName", "imageTagMutability", "imageTagMutabilityExclusionFilters"],
    ),
    ("PutImageScanningConfiguration", &["repositoryName", "imageScanningConfiguration"]),
    ("TagResource", &["resourceArn", "tags"]),
    ("UntagResource", &["resourceArn", "tagKeys"]),
    ("ListTagsForResource", &["resourceArn"]),
    ("PutLifecyclePolicy", &["repositoryName", "lifecyclePolicyText"]),
    ("GetLifecyclePolicy", &["registryId", "repositoryName"]),
    ("DeleteLifecyclePolicy", &["repositoryName"]),
    ("SetRepositoryPolicy", &["repositoryName", "policyText"]),
    ("GetRepositoryPolicy", &["registryId", "repositoryName"]),
    ("DeleteRepositoryPolicy", &["repositoryName"]),
    ("ListImages", &["registryId", "repositoryName", "filter", "maxResults", "nextToken"]),
    ("DescribeImages", &["registryId", "repositoryName", "imageIds", "filter", "maxResults", "nextToken"]),
    ("BatchGetImage", &["registryId", "repositoryName", "imageIds", "acceptedMediaTypes"]),
    ("BatchDeleteImage", &["repositoryName", "imageIds"]),
    ("BatchCheckLayerAvailability", &["registryId", "repositoryName", "layerDigests"]),
    ("UpdateImageStorageClass", &["repositoryName", "imageId", "targetStorageClass"]),
    ("PutImage", &["repositoryName", "imageManifest", "imageManifestMediaType", "imageTag", "imageDigest"]),
];

/// Maximum number of tags of an image.
const MAX_TAGS: usize = 1000;

impl Registry {
    /// The same with generated repositories; changed ones are stored.
    pub(super) fn act_with(
        &mut self,
        fleet: Fleet,
        operation: &str,
        asked: &Value,
        failing: Option<&str>,
    ) -> Answered {
        if operation == "DescribeRepositories" && asked["repositoryNames"].is_null() {
            let size = asked["maxResults"].as_u64().unwrap_or(100) as usize;
            let start: usize = asked["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
            let end = fleet.repositories.min(start + size);
            let all: Vec<Value> = (start..end).map(Fleet::described).collect();
            let mut answer = json!({ "repositories": all });
            if end < fleet.repositories {
                answer["nextToken"] = end.to_string().into();
            }
            return Ok(answer);
        }
        let name = asked["repositoryName"].as_str().unwrap_or_default().to_owned();
        let is_kept = self.repositories.contains_key(&name);
        if !is_kept && let Some(made) = fleet.repository(&name) {
            self.repositories.insert(name.clone(), made);
        }
        let answer = self.act(operation, asked, failing);
        let changes = ["BatchDeleteImage", "PutImage", "PutLifecyclePolicy", "UpdateImageStorageClass"];
        if !is_kept && !changes.contains(&operation) {
            self.repositories.remove(&name);
        }
        answer
    }

    /// `GetResources` of the Resource Groups Tagging API, for repositories with one of the values of a tag, or any value.
    pub(super) fn tagged_resources(&self, asked: &Value) -> Answered {
        assert_eq!(asked["ResourceTypeFilters"], json!(["ecr:repository"]));
        let filters = asked["TagFilters"].as_array().unwrap();
        let is_asked_for = |repository: &Repository| {
            filters.iter().all(|filter| {
                let value = repository.tags.get(filter["Key"].as_str().unwrap());
                let values = filter["Values"].as_array();
                value.is_some_and(|value| {
                    values.is_none_or(|values| values.iter().any(|wanted| wanted == value))
                })
            })
        };
        let names: Vec<&String> = self.repositories.keys().collect();
        // Ten at a time, of which none may be asked for, so that there are other pages, and empty ones.
        let start: usize = match asked["PaginationToken"].as_str().unwrap_or_default() {
            "" => 0,
            token => token.parse().unwrap(),
        };
        let end = names.len().min(start + 10);
        let page = names[start..end].iter().filter(|name| is_asked_for(&self.repositories[**name]));
        let list: Vec<Value> = page
            .map(|name| {
                let tags = self.repositories[*name].tags.iter();
                let tags: Vec<Value> =
                    tags.map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
                json!({ "ResourceARN": arn(name), "Tags": tags })
            })
            .collect();
        let token = if end < names.len() { end.to_string() } else { String::new() };
        Ok(json!({ "ResourceTagMappingList": list, "PaginationToken": token }))
    }

    /// The members of each operation, and what it does.
    pub(super) fn act(&mut self, operation: &str, asked: &Value, failing: Option<&str>) -> Answered {
        let Some((_, known)) = MEMBERS.iter().find(|(name, _)| *name == operation) else {
            return Err(("UnknownOperationException", format!("{operation} is not known")));
        };
        let fields = asked.as_object().cloned().unwrap_or_default();
        if let Some(field) = fields.keys().find(|field| !known.contains(&field.as_str())) {
            return Err(("SerializationException", format!("{operation} has no member {field}")));
        }
        match operation {
            "CreateRepository" => self.create(&fields),
            "DescribeRepositories" => self.describe(&fields),
            "DeleteRepository" => self.delete(&fields),
            _ => self.of_repository(operation, &fields, failing),
        }
    }

    fn create(&mut self, fields: &Map<String, Value>) -> Answered {
        let name = text(fields, "repositoryName");
        if !is_name(&name) {
            let message = format!(
                "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression \
                 '(?:[a-z0-9]+(?:[._-][a-z0-9]+)*/)*[a-z0-9]+(?:[._-][a-z0-9]+)*'': {name}"
            );
            return Err(("InvalidParameterException", message));
        }
        if self.repositories.contains_key(&name) {
            let message = format!(
                "The repository with name '{name}' already exists in the registry with id '{ACCOUNT}'"
            );
            return Err(("RepositoryAlreadyExistsException", message));
        }
        if self.repositories.len() >= self.quota {
            let message = format!(
                "The maximum number of repositories has been reached for the registry with id '{ACCOUNT}'"
            );
            return Err(("LimitExceededException", message));
        }
        let mut encryption =
            fields.get("encryptionConfiguration").cloned().unwrap_or(json!({"encryptionType": "AES256"}));
        if encryption["encryptionType"] != "AES256" {
            let asked = encryption["kmsKey"].as_str().unwrap_or(MANAGED_KEY).to_owned();
            let key = self.keys.iter().find(|key| **key == asked || key.ends_with(&format!("/{asked}")));
            let Some(key) = key else {
                let message =
                    format!("The key '{asked}' does not exist or is not enabled (NotFoundException)");
                return Err(("KmsException", message));
            };
            encryption["kmsKey"] = key.clone().into();
        }
        let mut described = json!({
            "repositoryArn": arn(&name), "registryId": ACCOUNT, "repositoryName": name,
            "repositoryUri": format!("{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/{name}"),
            "createdAt": now(),
            "imageTagMutability": fields.get("imageTagMutability").cloned().unwrap_or("MUTABLE".into()),
            "imageScanningConfiguration":
                fields.get("imageScanningConfiguration").cloned().unwrap_or(json!({ "scanOnPush": false })),
            "encryptionConfiguration": encryption,
        });
        if let Some(filters) = fields.get("imageTagMutabilityExclusionFilters") {
            described["imageTagMutabilityExclusionFilters"] = filters.clone();
        }
        let tags = tags(fields);
        if tags.len() > 50 {
            return Err((
                "TooManyTagsException",
                "The list of tags on the repository is over the limit.".to_owned(),
            ));
        }
        let answer = json!({ "repository": described });
        let collected = self.deleted_blobs.get(&name).cloned().unwrap_or_default();
        self.repositories.insert(name, Repository { described, tags, collected, ..Repository::default() });
        Ok(answer)
    }

    fn describe(&self, fields: &Map<String, Value>) -> Answered {
        if let Some(names) = fields.get("repositoryNames").and_then(Value::as_array) {
            let repositories: Result<Vec<&Value>, _> = names
                .iter()
                .map(|name| {
                    let name = name.as_str().unwrap_or_default();
                    self.repositories
                        .get(name)
                        .map(|repository| &repository.described)
                        .ok_or_else(|| missing(name))
                })
                .collect();
            return Ok(json!({ "repositories": repositories? }));
        }
        let all: Vec<&Value> = self.repositories.values().map(|repository| &repository.described).collect();
        page(fields, "repositories", &all)
    }

    fn delete(&mut self, fields: &Map<String, Value>) -> Answered {
        let name = text(fields, "repositoryName");
        let repository = self.repositories.get(&name).ok_or_else(|| missing(&name))?;
        if !repository.images.is_empty() && fields.get("force") != Some(&Value::Bool(true)) {
            let message = format!(
                "The repository with name '{name}' in registry with id '{ACCOUNT}' cannot be deleted because it still \
                 contains images"
            );
            return Err(("RepositoryNotEmptyException", message));
        }
        let described = repository.described.clone();
        let blobs = repository.images.iter().flat_map(|image| blobs(&image.manifest));
        let gone = blobs.chain(repository.collected.iter().cloned()).collect();
        self.repositories.remove(&name);
        self.deleted_blobs.insert(name, gone);
        Ok(json!({ "repository": described }))
    }

    fn of_repository(
        &mut self,
        operation: &str,
        fields: &Map<String, Value>,
        failing: Option<&str>,
    ) -> Answered {
        let name = match fields.get("resourceArn").and_then(Value::as_str) {
            Some(arn) => arn.split_once(":repository/").map(|(_, name)| name.to_owned()).unwrap_or_default(),
            None => text(fields, "repositoryName"),
        };
        let repository = self.repositories.get_mut(&name).ok_or_else(|| missing(&name))?;
        let named = json!({ "registryId": ACCOUNT, "repositoryName": name });
        let with = |key: &str, value: Value| {
            let mut answer = named.clone();
            answer[key] = value;
            Ok(answer)
        };
        match operation {
            "TagResource" => {
                let mut all = repository.tags.clone();
                all.extend(tags(fields));
                if all.keys().filter(|key| !key.starts_with("aws:")).count() > 50 {
                    let message = "The list of tags on the repository is over the limit. The maximum number of tags that can be applied to a repository is 50.";
                    return Err(("TooManyTagsException", message.to_owned()));
                }
                repository.tags = all;
                Ok(json!({}))
            }
            "UntagResource" => {
                for key in fields.get("tagKeys").and_then(Value::as_array).into_iter().flatten() {
                    repository.tags.remove(key.as_str().unwrap_or_default());
                }
                Ok(json!({}))
            }
            "ListTagsForResource" => {
                let tags: Vec<Value> = repository
                    .tags
                    .iter()
                    .map(|(key, value)| json!({ "Key": key, "Value": value }))
                    .collect();
                Ok(json!({ "tags": tags }))
            }
            "PutImageTagMutability" => {
                let described = &mut repository.described;
                described["imageTagMutability"] = fields["imageTagMutability"].clone();
                match fields.get("imageTagMutabilityExclusionFilters") {
                    Some(filters) => described["imageTagMutabilityExclusionFilters"] = filters.clone(),
                    None => {
                        described
                            .as_object_mut()
                            .map(|fields| fields.remove("imageTagMutabilityExclusionFilters"));
                    }
                }
                with("imageTagMutability", fields["imageTagMutability"].clone())
            }
            "PutImageScanningConfiguration" => {
                let scanning = fields["imageScanningConfiguration"].clone();
                repository.described["imageScanningConfiguration"] = scanning.clone();
                with("imageScanningConfiguration", scanning)
            }
            "PutLifecyclePolicy" => {
                let policy = text(fields, "lifecyclePolicyText");
                repository.lifecycle_policy = Some(policy.clone());
                with("lifecyclePolicyText", policy.into())
            }
            "GetLifecyclePolicy" => {
                with("lifecyclePolicyText", there(repository.lifecycle_policy.clone(), &name, &LIFECYCLE)?)
            }
            "DeleteLifecyclePolicy" => {
                with("lifecyclePolicyText", there(repository.lifecycle_policy.take(), &name, &LIFECYCLE)?)
            }
            "SetRepositoryPolicy" => {
                let policy = text(fields, "policyText");
                if policy.contains("999999999999") {
                    let message = "Invalid parameter at 'PolicyText' failed to satisfy constraint: 'Principal not found'";
                    return Err(("InvalidParameterException", message.to_owned()));
                }
                // ECR gives a policy back indented.
                let parsed: Value = serde_json::from_str(&policy)
                    .map_err(|_| ("InvalidParameterException", "PolicyText is not JSON".to_owned()))?;
                let policy = serde_json::to_string_pretty(&parsed).unwrap();
                repository.policy = Some(policy.clone());
                with("policyText", policy.into())
            }
            "GetRepositoryPolicy" => with("policyText", there(repository.policy.clone(), &name, &POLICY)?),
            "DeleteRepositoryPolicy" => with("policyText", there(repository.policy.take(), &name, &POLICY)?),
            "ListImages" => {
                let has_all = fields.get("filter").is_some_and(|filter| filter["imageStatus"] == "ANY");
                let ids: Vec<Value> = repository
                    .images
                    .iter()
                    .filter(|image| has_all || !image.archived)
                    .flat_map(|image| {
                        let digest = &image.digest;
                        let tagged = image
                            .tags
                            .iter()
                            .map(move |tag| json!({ "imageDigest": digest, "imageTag": tag }));
                        let untagged = image.tags.is_empty().then(|| json!({ "imageDigest": digest }));
                        tagged.chain(untagged)
                    })
                    .collect();
                page(fields, "imageIds", &ids.iter().collect::<Vec<_>>())
            }
            "DescribeImages" => repository.describe_images(&name, fields),
            "BatchGetImage" => {
                let ids = ids(fields)?;
                if !self.is_pull_excluded {
                    for id in &ids {
                        if let Some(index) = repository.find(id) {
                            repository.images[index].last_pulled_at = Some(now());
                        }
                    }
                }
                repository.get_images(&name, &ids, failing)
            }
            "UpdateImageStorageClass" => {
                let id = fields.get("imageId").cloned().unwrap_or_default();
                let index = repository.find(&id).ok_or_else(|| no_image(&id, &name))?;
                let image = &mut repository.images[index];
                image.archived = fields.get("targetStorageClass") == Some(&"ARCHIVE".into());
                image.last_archived_at = image.archived.then(now);
                let status = if image.archived { "ARCHIVED" } else { "ACTIVATING" };
                let mut answer = named;
                answer["imageId"] = json!({ "imageDigest": image.digest });
                answer["imageStatus"] = status.into();
                Ok(answer)
            }
            "PutImage" => repository.put_image(&name, fields),
            "BatchCheckLayerAvailability" => {
                let asked = fields.get("layerDigests").and_then(Value::as_array).cloned().unwrap_or_default();
                let layers: Vec<Value> = asked
                    .iter()
                    .map(|digest| {
                        let is_gone = repository.collected.contains(digest.as_str().unwrap_or_default());
                        let availability = if is_gone { "UNAVAILABLE" } else { "AVAILABLE" };
                        json!({ "layerDigest": digest, "layerAvailability": availability })
                    })
                    .collect();
                Ok(json!({ "layers": layers, "failures": [] }))
            }
            _ => repository.delete_images(&ids(fields)?, failing),
        }
    }
}

impl Repository {
    fn describe_images(&self, name: &str, fields: &Map<String, Value>) -> Answered {
        let filter = fields.get("filter").cloned().unwrap_or_default();
        let status = filter["imageStatus"].as_str().unwrap_or("ACTIVE");
        let tags = filter["tagStatus"].as_str().unwrap_or("ANY");
        let is_shown = |image: &&Image| {
            let is_in = match status {
                "ANY" => true,
                "ARCHIVED" => image.archived,
                _ => !image.archived,
            };
            let is_tagged = match tags {
                "TAGGED" => !image.tags.is_empty(),
                "UNTAGGED" => image.tags.is_empty(),
                _ => true,
            };
            is_in && is_tagged
        };
        if fields.contains_key("imageIds") {
            if fields.contains_key("maxResults") || fields.contains_key("nextToken") {
                let message = "maxResults and nextToken cannot be used with imageIds".to_owned();
                return Err(("InvalidParameterException", message));
            }
            let found: Result<Vec<Value>, _> = ids(fields)?
                .iter()
                .map(|id| {
                    let image = self.find(id).map(|index| &self.images[index]).filter(&is_shown);
                    image.map(|image| image.detail(name)).ok_or_else(|| no_image(id, name))
                })
                .collect();
            return Ok(json!({ "imageDetails": found? }));
        }
        let shown: Vec<&Image> = self.images.iter().filter(is_shown).collect();
        page_of(fields, "imageDetails", &shown, |image| image.detail(name))
    }

    fn put_image(&mut self, name: &str, fields: &Map<String, Value>) -> Answered {
        let manifest = text(fields, "imageManifest");
        // An image without a tag is named by its digest alone.
        let tag = fields.get("imageTag").and_then(Value::as_str).map(str::to_owned);
        let read: Value = serde_json::from_str(&manifest).unwrap_or_default();
        if read["mediaType"].is_null() && !fields.contains_key("imageManifestMediaType") {
            let message =
                "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'";
            return Err(("InvalidParameterException", message.to_owned()));
        }
        let digest = digest(&manifest);
        let children = read["manifests"].as_array().cloned().unwrap_or_default();
        if let Some(missing) = children
            .iter()
            .find(|child| self.images.iter().all(|image| Some(&*image.digest) != child["digest"].as_str()))
        {
            return Err(("ReferencedImagesNotFoundException", format!("{} is not there", missing["digest"])));
        }
        if tag.is_none()
            && let Some(known) = self.images.iter().find(|image| image.digest == digest)
        {
            return Err(("ImageAlreadyExistsException", format!("{} is there", known.digest)));
        }
        let blobs = read["layers"].as_array().into_iter().flatten().chain([&read["config"]]);
        let gone: Vec<&str> = blobs
            .filter_map(|blob| blob["digest"].as_str())
            .filter(|digest| self.collected.contains(*digest))
            .collect();
        let is_there = self.images.iter().any(|image| image.digest == digest);
        if !gone.is_empty() && !is_there {
            let message = format!(
                "Layers with digests '{}' required for pushing image into repository with name '{name}' in the registry with id '{ACCOUNT}' do not exist",
                gone.join(", ")
            );
            return Err(("LayersNotFoundException", message));
        }
        let holder = tag.as_ref().and_then(|tag| {
            self.images.iter().find(|image| image.tags.contains(tag)).map(|holder| (holder, tag))
        });
        if let Some((holder, tag)) = holder {
            if holder.digest == digest {
                return Err(("ImageAlreadyExistsException", format!("{digest} has the tag {tag}")));
            }
            if self.keeps(tag) {
                let message = format!(
                    "The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the tag \
                     is immutable."
                );
                return Err(("ImageTagAlreadyExistsException", message));
            }
        }
        let media_type = match (read["mediaType"].as_str(), children.is_empty()) {
            (Some("application/vnd.docker.distribution.manifest.v2+json"), _) => {
                "application/vnd.docker.distribution.manifest.v2+json"
            }
            (_, true) => "application/vnd.oci.image.manifest.v1+json",
            (_, false) => "application/vnd.oci.image.index.v1+json",
        };
        let asked = fields.get("imageDigest").and_then(Value::as_str);
        if asked.is_some_and(|asked| asked != digest) {
            return Err(("ImageDigestDoesNotMatchException", format!("the digest of the image is {digest}")));
        }
        let known = self.images.iter().find(|image| image.digest == digest);
        if known.is_some_and(|image| image.tags.len() >= MAX_TAGS) && tag.is_some() {
            return Err(("LimitExceededException", format!("an image has {MAX_TAGS} tags at most")));
        }
        if let Some(tag) = &tag {
            for image in &mut self.images {
                image.tags.remove(tag);
            }
        }
        match self.images.iter_mut().find(|image| image.digest == digest) {
            Some(image) => image.tags.extend(tag.clone()),
            None => {
                let tags: Vec<&str> = tag.as_deref().into_iter().collect();
                self.add(manifest.clone(), media_type, &tags);
                self.image_mut(&digest).subject = read["subject"]["digest"].as_str().map(str::to_owned);
            }
        }
        let image_id = json!({ "imageDigest": digest, "imageTag": tag });
        Ok(json!({ "image": { "registryId": ACCOUNT, "repositoryName": name, "imageId": image_id,
            "imageManifest": manifest, "imageManifestMediaType": media_type } }))
    }

    /// Whether a tag cannot be moved.
    pub fn keeps(&self, tag: &str) -> bool {
        let mutability = self.described["imageTagMutability"].as_str().unwrap_or("MUTABLE");
        let filters =
            self.described["imageTagMutabilityExclusionFilters"].as_array().cloned().unwrap_or_default();
        // The filters of the tests end with their one asterisk.
        let is_excluded = filters.iter().any(|filter| {
            let filter = filter["filter"].as_str().unwrap_or_default();
            filter.strip_suffix('*').map_or(filter == tag, |prefix| tag.starts_with(prefix))
        });
        mutability.starts_with("IMMUTABLE") != is_excluded
    }
}

impl Image {
    fn detail(&self, repository: &str) -> Value {
        let mut detail = json!({
            "registryId": ACCOUNT, "repositoryName": repository, "imageDigest": self.digest,
            "imageSizeInBytes": self.size, "imagePushedAt": self.pushed_at,
            "imageManifestMediaType": self.media_type, "imageStatus": if self.archived { "ARCHIVED" } else { "ACTIVE" },
        });
        if !self.tags.is_empty() {
            detail["imageTags"] = json!(self.tags);
        }
        let times =
            [("lastRecordedPullTime", self.last_pulled_at), ("lastArchivedAt", self.last_archived_at)];
        for (field, time) in times {
            if let Some(time) = time {
                detail[field] = time.into();
            }
        }
        if let Some(subject) = &self.subject {
            detail["subjectManifestDigest"] = subject.clone().into();
        }
        detail
    }
}

impl Repository {
    fn find(&self, id: &Value) -> Option<usize> {
        self.images.iter().position(|image| match (id["imageDigest"].as_str(), id["imageTag"].as_str()) {
            (Some(digest), tag) => image.digest == digest && tag.is_none_or(|tag| image.tags.contains(tag)),
            (None, Some(tag)) => image.tags.contains(tag),
            (None, None) => false,
        })
    }

    fn get_images(&self, name: &str, ids: &[Value], failing: Option<&str>) -> Answered {
        let (mut images, mut failures) = (Vec::new(), Vec::new());
        for id in ids {
            if failing.is_some_and(|text| id.to_string().contains(text)) {
                failures.push(failure(id, "KmsError", "the key is disabled"));
                continue;
            }
            let Some(image) = self.find(id).and_then(|index| self.images.get(index)) else {
                failures.push(failure(id, "ImageNotFound", "Requested image not found"));
                continue;
            };
            if image.archived {
                failures.push(failure(id, "ImageInaccessible", "Requested image is in the archive"));
                continue;
            }
            let mut image_id = json!({ "imageDigest": image.digest });
            if let Some(tag) = id["imageTag"].as_str() {
                image_id["imageTag"] = tag.into();
            }
            images.push(json!({
                "registryId": ACCOUNT, "repositoryName": name, "imageId": image_id,
                "imageManifest": image.manifest, "imageManifestMediaType": image.media_type,
            }));
        }
        Ok(json!({ "images": images, "failures": failures }))
    }

    fn delete_images(&mut self, ids: &[Value], failing: Option<&str>) -> Answered {
        let (mut deleted, mut failures) = (Vec::new(), Vec::new());
        for id in ids {
            if id["imageDigest"].is_null() && id["imageTag"].is_null() {
                failures.push(failure(
                    id,
                    "MissingDigestAndTag",
                    "Invalid request parameters: both tag and digest cannot be null",
                ));
                continue;
            }
            if failing.is_some_and(|text| id.to_string().contains(text)) {
                failures.push(failure(id, "KmsError", "the key is disabled"));
                continue;
            }
            let Some(index) = self.find(id) else {
                failures.push(failure(id, "ImageNotFound", "Requested image not found"));
                continue;
            };
            let digest = self.images[index].digest.clone();
            let is_deleted = id["imageDigest"].is_string() || self.images[index].tags.len() == 1;
            let parent = self.images.iter().find(|image| {
                image.digest != digest
                    && image.media_type.contains("index")
                    && image.manifest.contains(&digest)
            });
            if let Some(parent) = parent.filter(|_| is_deleted) {
                let reason = format!("Requested image referenced by image index: [{}]", parent.digest);
                failures.push(failure(id, "ImageReferencedByManifestList", &reason));
                continue;
            }
            match id["imageTag"].as_str() {
                Some(tag) if id["imageDigest"].is_null() => {
                    self.images[index].tags.remove(tag);
                    deleted.push(json!({ "imageDigest": digest, "imageTag": tag }));
                }
                _ => {
                    let tags = &self.images[index].tags;
                    deleted.extend(tags.iter().map(|tag| json!({ "imageDigest": digest, "imageTag": tag })));
                    if tags.is_empty() {
                        deleted.push(json!({ "imageDigest": digest }));
                    }
                }
            }
            if is_deleted {
                self.images.remove(index);
            }
        }
        Ok(json!({ "imageIds": deleted, "failures": failures }))
    }
}

const LIFECYCLE: (&str, &str) = ("LifecyclePolicyNotFoundException", "Lifecycle");
const POLICY: (&str, &str) = ("RepositoryPolicyNotFoundException", "Repository");

/// A policy that has to be there.
fn there(policy: Option<String>, name: &str, kind: &(&'static str, &str)) -> Answered {
    policy.map(Value::from).ok_or_else(|| {
        let message = format!(
            "{} policy does not exist for the repository with name '{name}' in the registry with id '{ACCOUNT}'",
            kind.1
        );
        (kind.0, message)
    })
}

fn failure(id: &Value, code: &str, reason: &str) -> Value {
    json!({ "imageId": id, "failureCode": code, "failureReason": reason })
}

fn ids(fields: &Map<String, Value>) -> Result<Vec<Value>, (&'static str, String)> {
    let ids = fields.get("imageIds").and_then(Value::as_array).cloned().unwrap_or_default();
    if ids.is_empty() || ids.len() > 100 {
        let message = "Invalid parameter at 'imageIds' failed to satisfy constraint: 'Member must have length less than or \
                       equal to 100'";
        return Err(("InvalidParameterException", message.to_owned()));
    }
    Ok(ids)
}

fn no_image(id: &Value, repository: &str) -> (&'static str, String) {
    let message = format!(
        "The image with imageId {id} does not exist within the repository with name '{repository}' in the registry with \
         id '{ACCOUNT}'"
    );
    ("ImageNotFoundException", message)
}

fn page(fields: &Map<String, Value>, key: &str, all: &[&Value]) -> Answered {
    page_of(fields, key, all, |value| (*value).clone())
}

/// A page of a list: 100 by default, 1000 at most, and a token where there is more.
fn page_of<T>(fields: &Map<String, Value>, key: &str, all: &[T], shown: impl Fn(&T) -> Value) -> Answered {
    let size = fields.get("maxResults").and_then(Value::as_u64).unwrap_or(100);
    if !(1..=1000).contains(&size) {
        return Err(("InvalidParameterException", "Invalid parameter at 'maxResults'".to_owned()));
    }
    let start = match fields.get("nextToken").and_then(Value::as_str) {
        None => 0,
        Some(token) => token
            .strip_prefix("page-")
            .and_then(|start| start.parse::<usize>().ok())
            .filter(|start| *start < all.len())
            .ok_or(("InvalidParameterException", "Invalid parameter at 'nextToken'".to_owned()))?,
    };
    let end = all.len().min(start + usize::try_from(size).unwrap());
    let shown: Vec<Value> = all[start..end].iter().map(shown).collect();
    let mut answer = json!({ key: shown });
    if end < all.len() {
        answer["nextToken"] = format!("page-{end}").into();
    }
    Ok(answer)
}

fn tags(fields: &Map<String, Value>) -> BTreeMap<String, String> {
    let tags = fields.get("tags").and_then(Value::as_array).into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    tags.map(|tag| (text(&tag["Key"]), text(&tag["Value"]))).collect()
}

fn text(fields: &Map<String, Value>, key: &str) -> String {
    fields.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

pub(super) fn arn(name: &str) -> String {
    format!("arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/{name}")
}

fn missing(name: &str) -> (&'static str, String) {
    let message =
        format!("The repository with name '{name}' does not exist in the registry with id '{ACCOUNT}'");
    ("RepositoryNotFoundException", message)
}

fn is_name(name: &str) -> bool {
    (2..=256).contains(&name.len())
        && name.split('/').all(|part| {
            let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            part.starts_with(is_word)
                && part.ends_with(is_word)
                && part.chars().all(|c| is_word(c) || matches!(c, '.' | '_' | '-'))
        })
}
