//! `Custom::EcrRepository`: plans a request, and what is done with the repository that exists.

use std::collections::BTreeMap;

use super::{Event, RequestType};
use crate::domain::repository::access;
use crate::domain::repository::ownership::{self, Owner, Ownership};
use crate::domain::repository::permissions::{NotPermitted, Permissions};
use crate::domain::repository::read::{self, EmptyOnDelete, Properties};
use crate::domain::repository::{
    Change, Difference, Encryption, EncryptionType, Existing, Name, PolicyPlan, PolicyStatus, Registry,
};
use crate::domain::text::finding::{Code, Finding};

/// Maximum length of a reason among the attributes, in characters. CloudFormation accepts 4,096 bytes as a whole answer.
const MAX_REASON_CHARACTERS: usize = 600;

/// The plan for a request of CloudFormation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// There shall be a repository of this name with these properties.
    Ensure {
        /// The repository.
        name: Name,
        /// The declared properties.
        properties: Box<Properties>,
        /// The KMS key that was declared before.
        old_key: Option<String>,
    },
    /// There shall be none of this name that this resource made.
    Remove {
        /// The repository.
        name: Name,
        /// Whether its images are deleted with it.
        empty_on_delete: EmptyOnDelete,
    },
    /// Nothing was created, so that there is nothing to delete.
    Nothing,
}

/// Why a request cannot be done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The properties are not valid.
    #[error("the properties are not valid: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Properties(Vec<Finding>),
    /// The repository has another encryption than declared, and the new one would have no place.
    #[error(
        "the encryption of {name} cannot be changed: {difference}. That takes another repository; change RepositoryName \
         too, or leave it out and one is generated"
    )]
    EncryptionFixed {
        /// The repository.
        name: Name,
        /// The difference.
        difference: String,
    },
    /// There is a repository that no resource made.
    #[error(
        "there is a repository {name} already, which this resource did not create; give another RepositoryName, or set \
         AdoptExisting to true to manage it from here on (it will not be deleted with the stack)"
    )]
    Exists {
        /// The repository.
        name: Name,
    },
    /// There is a repository that another resource made.
    #[error(
        "there is a repository {name} already, and it belongs to {owner}; give another RepositoryName, or, if that resource is no more \
         and left it behind, take the tags ecr-steward:stack-id and ecr-steward:logical-id off it (aws ecr untag-resource) and set \
         AdoptExisting to true"
    )]
    BelongsToAnother {
        /// The repository.
        name: Name,
        /// Whose it is.
        owner: String,
    },
    /// The repository has a policy that lets others in, and the properties say nothing of it.
    #[error(
        "{name} has a repository policy, and the properties do not say what is to become of it: nobody whom it lets in could pull any more. \
         Write RepositoryPolicyText or PullAccess; `PullAccess: {{}}` takes it away"
    )]
    PolicyNotNamed {
        /// The repository.
        name: Name,
    },
    /// The stack's parameters do not allow it.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
}

/// What deleting a resource does to its repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removing {
    /// Delete it.
    Delete,
    /// It was adopted: its ownership tags are removed, and it is kept.
    Release(Change),
    /// It belongs to something else, and is kept.
    Leave,
}

/// The resource that sends the request.
#[must_use]
pub fn owner(event: &Event) -> Owner {
    Owner { stack_id: event.stack_id.clone(), logical_id: event.logical_resource_id.clone() }
}

/// The physical id of a repository that was not made. No repository has such a name, so that a request to delete it
/// deletes nothing.
#[must_use]
pub fn marker(event: &Event) -> String {
    format!("NotCreated:{}", event.logical_resource_id)
}

/// Plans a request.
///
/// # Errors
///
/// If it cannot be done.
pub fn plan(event: &Event) -> Result<Plan, Refusal> {
    let text = event.resource_properties.as_ref().map_or("{}", |properties| properties.get());
    if event.request_type == RequestType::Delete {
        let name = event.physical_resource_id.as_deref().and_then(|id| Name::parse(id).ok());
        // Whatever else the properties say does not matter any more, and may never have been valid.
        return Ok(name.map_or(Plan::Nothing, |name| Plan::Remove { name, empty_on_delete: empties(text) }));
    }
    let properties = read::properties(text).map_err(Refusal::Properties)?;
    let name = properties.spec.name.clone().unwrap_or_else(|| generated(event, &properties));
    // Old properties that are not valid never came into effect.
    let old = event.old_resource_properties.as_ref().and_then(|old| read::properties(old.get()).ok());
    let old_key = old.and_then(|old| old.spec.settings.encryption.kms_key);
    Ok(Plan::Ensure { name, properties: Box::new(properties), old_key })
}

/// Whether images are deleted with the repository. Properties that cannot be read keep the images.
fn empties(properties: &str) -> EmptyOnDelete {
    let properties: Option<BTreeMap<String, serde_json::Value>> = serde_json::from_str(properties).ok();
    let value = properties.and_then(|mut properties| properties.remove("EmptyOnDelete"));
    match value {
        Some(serde_json::Value::Bool(true)) => EmptyOnDelete::Yes,
        Some(serde_json::Value::String(text)) => EmptyOnDelete::named(&text).unwrap_or(EmptyOnDelete::No),
        _ => EmptyOnDelete::No,
    }
}

/// The generated name: the same for the same resource each time, and another one if the repository has to be replaced.
fn generated(event: &Event, properties: &Properties) -> Name {
    let stack = event.stack_id.rsplit(':').next().unwrap_or_default();
    let stack = stack.split('/').nth(1).unwrap_or("stack");
    let encryption = &properties.spec.settings.encryption;
    let mut seed = vec![event.stack_id.as_str(), event.logical_resource_id.as_str()];
    if encryption.encryption_type != EncryptionType::Aes256 {
        seed.push(encryption.encryption_type.as_str());
        seed.extend(encryption.kms_key.as_deref());
    }
    Name::generate(&[stack, &event.logical_resource_id], &seed)
}

/// The change that makes a repository that exists this resource's; `None` if it is.
///
/// # Errors
///
/// When it may not become it.
pub fn adoption(
    owner: &Owner,
    existing: &Existing,
    name: &Name,
    adopt_existing: bool,
    permissions: &Permissions,
) -> Result<Option<Change>, Refusal> {
    Ok(match owner.of(existing) {
        Ownership::Created | Ownership::Adopted => None,
        Ownership::Nobody if adopt_existing => {
            permissions.check_adoption(name)?;
            Some(Change::Tags { from: crate::domain::repository::Tags::new(), to: owner.tags(true) })
        }
        Ownership::Nobody => return Err(Refusal::Exists { name: name.clone() }),
        Ownership::Another => {
            let owner = ownership::owner_of(existing).map_or_else(
                || "another resource".to_owned(),
                |owner| format!("{} of {}", owner.logical_id, owner.stack_id),
            );
            return Err(Refusal::BelongsToAnother { name: name.clone(), owner });
        }
    })
}

/// Checks that a repository which is adopted does not lose a policy that the properties do not name.
///
/// # Errors
///
/// When it would.
pub fn check_adopted_policy(
    existing: &Existing,
    name: &Name,
    properties: &Properties,
    registry: &Registry,
) -> Result<(), Refusal> {
    let keeps = properties.spec.settings.policy.text(registry, existing.policy_text.as_deref());
    let is_lost = existing.policy_text.as_deref().is_some_and(|text| {
        // What AWS Lambda wrote itself stays.
        !keeps.is_some_and(|keeps| access::is_same_statements(text, &keeps))
    });
    if is_lost && !properties.names_policy {
        return Err(Refusal::PolicyNotNamed { name: name.clone() });
    }
    Ok(())
}

/// Checks that ECR takes the repository policy of the properties.
///
/// # Errors
///
/// If it is too long.
pub fn check_policy(properties: &Properties, registry: &Registry) -> Result<(), Refusal> {
    properties.spec.settings.policy.check_length(registry).map_err(|error| {
        let pointer = "/PullAccess/AccountIds";
        Refusal::Properties(vec![Finding::new(Code::InvalidRepositoryPolicy, pointer, error.to_string())])
    })
}

/// Checks the name of a repository that is to be made, and whether its policy may let in whom it does.
///
/// # Errors
///
/// When it may not.
pub fn check_new(
    properties: &Properties,
    registry: &Registry,
    permissions: &Permissions,
) -> Result<(), Refusal> {
    if let Some(name) = &properties.spec.name {
        name.check_new("/RepositoryName").map_err(|finding| Refusal::Properties(vec![finding]))?;
    }
    match properties.spec.settings.policy.text(registry, None) {
        Some(policy) => Ok(permissions.check_sharing(&policy, None, &registry.account_id)?),
        None => Ok(()),
    }
}

/// The changes that make a repository that exists what is declared, besides its lifecycle policy, after the one that made it
/// this resource's.
///
/// # Errors
///
/// When it cannot become it, or may not.
pub fn changes(
    adopted: Option<Change>,
    existing: &Existing,
    name: &Name,
    properties: &Properties,
    old_key: Option<&str>,
    difference: Difference,
    permissions: &Permissions,
) -> Result<Vec<Change>, Refusal> {
    let wanted = &properties.spec.settings.encryption;
    let Difference { mut encryption, changes, policy } = difference;
    // A policy that does not change gives nobody new access: what was shared before the parameter existed does not fail a
    // rollback.
    for change in &changes {
        if let Change::Policy { from, to: Some(policy) } = change {
            permissions.check_sharing(policy, from.as_deref(), &existing.registry_id)?;
        }
    }
    // No key in particular is met by any key, but a key that was declared and is not any more is a change.
    let had_key = Encryption { kms_key: old_key.map(str::to_owned), ..existing.encryption.clone() };
    if wanted.kms_key.is_none() && old_key.is_some() && had_key.is_met_by(&existing.encryption) {
        encryption = Some((existing.encryption.clone(), wanted.clone()));
    }
    if encryption.is_some() {
        let policy = PolicyPlan { is_different: false, ..policy };
        let difference = Difference { encryption, changes: Vec::new(), policy }.to_string();
        return Err(Refusal::EncryptionFixed { name: name.clone(), difference });
    }
    Ok(adopted.into_iter().chain(changes).collect())
}

/// What deleting the resource does to an existing repository.
#[must_use]
pub fn removing(owner: &Owner, existing: &Existing) -> Removing {
    match owner.of(existing) {
        Ownership::Created => Removing::Delete,
        Ownership::Adopted => Removing::Release(Change::Tags {
            from: owner.tags(true),
            to: crate::domain::repository::Tags::new(),
        }),
        Ownership::Another | Ownership::Nobody => Removing::Leave,
    }
}

/// The attributes for `Fn::GetAtt`.
#[must_use]
pub fn attributes(repository: &Existing, status: Option<&PolicyStatus>) -> BTreeMap<&'static str, String> {
    // An attribute that is not there would fail the stack that asks for it.
    let mut reason = status.and_then(PolicyStatus::reason).unwrap_or_default();
    if let Some((end, _)) = reason.char_indices().nth(MAX_REASON_CHARACTERS) {
        reason.truncate(end);
        reason.push('…');
    }
    BTreeMap::from([
        ("LifecyclePolicyStatus", status.map_or("NONE", PolicyStatus::as_str).to_owned()),
        ("LifecyclePolicyStatusReason", reason),
        ("RepositoryName", repository.name.clone()),
        ("RepositoryUri", repository.uri.clone()),
        ("RepositoryArn", repository.arn.clone()),
        ("RegistryId", repository.registry_id.clone()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::repository::{Protection, TagMutability, Tags, difference};
    use crate::domain::text::instant::Instant;

    const STACK: &str = "arn:aws:cloudformation:eu-west-1:123456789012:stack/Shop-Front/0a1b";

    fn event(request: &str, physical: Option<&str>, properties: &str, old: &str) -> Event {
        let text = format!(
            r#"{{"RequestType": "{request}", "ResponseURL": "https://b.s3.amazonaws.com/x", "StackId": "{STACK}",
                "RequestId": "r", "ResourceType": "Custom::EcrRepository", "LogicalResourceId": "WebImages",
                "PhysicalResourceId": {}, "ResourceProperties": {properties}, "OldResourceProperties": {old}}}"#,
            serde_json::to_string(&physical).unwrap()
        );
        serde_json::from_str(&text).unwrap()
    }

    fn name(event: &Event) -> String {
        match plan(event).unwrap() {
            Plan::Ensure { name, .. } | Plan::Remove { name, .. } => name.to_string(),
            Plan::Nothing => String::new(),
        }
    }

    fn existing(tags: Tags) -> Existing {
        Existing {
            name: "app".to_owned(),
            arn: "arn:aws:ecr:eu-west-1:123456789012:repository/app".to_owned(),
            registry_id: "123456789012".to_owned(),
            uri: "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app".to_owned(),
            created_at: None,
            tag_mutability: TagMutability::default(),
            scan_on_push: false,
            encryption: Encryption::default(),
            tags,
            lifecycle_policy_text: None,
            policy_text: None,
        }
    }

    #[test]
    fn a_name_that_is_not_given_is_the_same_each_time() {
        let created = event("Create", None, "{}", "null");
        // Names of repositories that exist: another name here would replace them all.
        assert_eq!(name(&created), "shop-front-webimages-oktdulxl");
        let updated = event("Update", Some("shop-front-webimages-oktdulxl"), r#"{"Tags": []}"#, "{}");
        assert_eq!(name(&created), name(&updated));
    }

    #[test]
    fn another_encryption_is_another_name_and_back_again_the_first() {
        let aes = event("Create", None, "{}", "null");
        let kms = r#"{"EncryptionConfiguration": {"EncryptionType": "KMS"}}"#;
        let to_kms = event("Update", Some(&name(&aes)), kms, "{}");
        assert_ne!(name(&to_kms), name(&aes));
        let back = event("Update", Some(&name(&to_kms)), "{}", kms);
        assert_eq!(name(&back), name(&aes));
    }

    /// What is there without a record.
    fn changes_of(
        owner: &Owner,
        existing: &Existing,
        properties: &Properties,
        old_key: Option<&str>,
    ) -> Result<Vec<Change>, Refusal> {
        let registry = Registry::of_arn("arn:aws:lambda:eu-west-1:123456789012:function:f").unwrap();
        let app = Name::parse("app").unwrap();
        let protection = Protection {
            record: None,
            is_new: false,
            has_images: false,
            now: Instant::parse("2026-11-23T00:00:00Z").unwrap(),
            request_id: "request".to_owned(),
        };
        let permissions = Permissions::parse("app", "").unwrap();
        let adopted = adoption(owner, existing, &app, properties.adopt_existing, &permissions)?;
        let difference = difference(existing, &properties.spec.settings, &registry, &protection);
        changes(adopted, existing, &app, properties, old_key, difference, &permissions)
    }

    #[test]
    fn a_given_name_has_to_change_with_the_encryption() {
        let me = owner(&event("Update", Some("app"), "{}", "{}"));
        let key = |id: &str| format!("arn:aws:kms:eu-west-1:123456789012:key/{id}");
        let is_refused = |has: Encryption, encryption: &str, old_key: Option<&str>| {
            let existing = Existing { encryption: has, ..existing(me.tags(false)) };
            let properties = read::properties(&format!(
                r#"{{"EncryptionConfiguration": {{"EncryptionType": {encryption}}}}}"#
            ))
            .unwrap();
            match changes_of(&me, &existing, &properties, old_key) {
                Ok(_) => false,
                Err(Refusal::EncryptionFixed { .. }) => true,
                Err(other) => panic!("{other}"),
            }
        };
        let kms = |id: &str| Encryption { encryption_type: EncryptionType::Kms, kms_key: Some(key(id)) };
        assert!(is_refused(Encryption::default(), r#""KMS""#, None));
        assert!(is_refused(kms("one"), r#""AES256""#, None));
        assert!(is_refused(kms("one"), r#""KMS", "KmsKey": "two""#, Some("one")));
        assert!(is_refused(kms("one"), r#""KMS""#, Some(&key("one"))), "the declared key is taken away");
        // The way back from an update that was refused: what was declared meanwhile never came into effect.
        assert!(!is_refused(Encryption::default(), r#""AES256""#, Some("one")));
        assert!(!is_refused(kms("aws-managed"), r#""KMS""#, Some("one")));
        assert!(!is_refused(kms("one"), r#""KMS", "KmsKey": "one""#, Some("two")));
    }

    #[test]
    fn what_was_never_made_is_not_deleted() {
        let failed = event("Create", None, "{}", "null");
        for physical in [marker(&failed).as_str(), "shop-WebImages-1A2B3C", ""] {
            assert_eq!(
                plan(&event("Delete", Some(physical), "{}", "null")).unwrap(),
                Plan::Nothing,
                "{physical}"
            );
        }
        assert_eq!(plan(&event("Delete", None, "{}", "null")).unwrap(), Plan::Nothing);
    }

    #[test]
    fn deleting_asks_nothing_of_properties_but_whether_images_are_deleted_too() {
        for (properties, expected) in [
            (r#"{"EmptyOnDelete": "true", "Unknown": 1}"#, EmptyOnDelete::Yes),
            (r#"{"EmptyOnDelete": true}"#, EmptyOnDelete::Yes),
            (r#"{"EmptyOnDelete": "inUse"}"#, EmptyOnDelete::InUse),
            (r#"{"EmptyOnDelete": "yes"}"#, EmptyOnDelete::No),
            (r#"{"EmptyOnDelete": "false"}"#, EmptyOnDelete::No),
            (r#"{"RepositoryName": []}"#, EmptyOnDelete::No),
            ("null", EmptyOnDelete::No),
        ] {
            let Plan::Remove { empty_on_delete, .. } =
                plan(&event("Delete", Some("app"), properties, "null")).unwrap()
            else {
                panic!("{properties}")
            };
            assert_eq!(empty_on_delete, expected, "{properties}");
        }
    }

    #[test]
    fn only_what_the_resource_made_is_deleted() {
        let me = Owner { stack_id: STACK.to_owned(), logical_id: "WebImages".to_owned() };
        let other = Owner { logical_id: "Other".to_owned(), ..me.clone() };
        assert_eq!(removing(&me, &existing(me.tags(false))), Removing::Delete);
        assert!(matches!(removing(&me, &existing(me.tags(true))), Removing::Release(_)));
        for tags in [Tags::new(), other.tags(false), other.tags(true)] {
            assert_eq!(removing(&me, &existing(tags)), Removing::Leave);
        }
        let mut partly = me.tags(false);
        partly.pop_first();
        assert_eq!(removing(&me, &existing(partly)), Removing::Leave);
    }

    #[test]
    fn a_repository_is_adopted_only_from_nobody_and_when_asked_for() {
        let me = Owner { stack_id: STACK.to_owned(), logical_id: "WebImages".to_owned() };
        let other = Owner { stack_id: "arn:other".to_owned(), ..me.clone() };
        let app = Name::parse("app").unwrap();
        let try_with = |tags: Tags, adopt: bool| {
            let properties = read::properties(&format!(r#"{{"AdoptExisting": "{adopt}"}}"#)).unwrap();
            changes_of(&me, &existing(tags), &properties, None)
        };
        assert_eq!(try_with(Tags::new(), false), Err(Refusal::Exists { name: app.clone() }));
        let adopted = try_with(Tags::new(), true).unwrap();
        assert!(matches!(&adopted[0], Change::Tags { to, .. } if *to == me.tags(true)), "{adopted:?}");
        for adopt in [false, true] {
            let refused = try_with(other.tags(false), adopt).unwrap_err();
            assert!(refused.to_string().contains("belongs to WebImages of arn:other"), "{refused}");
            assert!(try_with(me.tags(false), adopt).is_ok());
        }
    }
}
