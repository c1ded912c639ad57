//! What other accounts and Regions use of a registry, read by their own credentials: further profiles, and roles that are assumed.
//!
//! One that cannot be read is a gap. It is never left out.

use clap::Args;
use shared::domain::enforcement::policy_set::{LISTS, Sources};
use shared::domain::text::instant::Instant;
use shared::domain::text::quantity::count;
use shared::domain::usage::reports::{Reporter, is_account};
use shared::domain::usage::usage_list::{UsageList, Writer};
use shared::domain::usage::{UnreadableSource, Usage, UsedImage, eks};
use shared::workflows::enforcement::{AwsClients, read_usage};

use crate::account::{self, Aws, TIMEOUT};
use crate::credentials::{Session, assume, sign_in};
use crate::{Failure, output, progress};

/// Whose use is read besides that of the registry's own account and Region.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Elsewhere {
    /// A role whose account's use is read too, in the same Region; may be given more than once. So may --profile: the first is that
    /// of the registry, and the use of the others' accounts and Regions is read too.
    #[arg(long, value_name = "ARN", value_parser = role)]
    assume_role: Vec<String>,
}

/// Reads the ARN of a role.
fn role(text: &str) -> Result<String, String> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", _, "iam", "", account, resource] if is_account(account) && resource.starts_with("role/") => {
            Ok(text.to_owned())
        }
        _ => Err("write the ARN of a role, as arn:aws:iam::210987654321:role/usage-reader".to_owned()),
    }
}

/// An account and Region whose use was read.
struct Place {
    account: String,
    region: String,
    /// The option by which it is reached.
    option: String,
    list: UsageList,
}

impl Elsewhere {
    /// The registry's own use together with what the others use.
    pub(crate) async fn add_to(
        &self,
        own: Usage,
        aws: &Aws,
        session: &Session,
        sources: &Sources,
    ) -> Result<Usage, Failure> {
        let others =
            aws.profile.iter().skip(1).map(|profile| (format!("--profile {profile}"), Some(profile), None));
        let roles = self.assume_role.iter().map(|role| (format!("--assume-role {role}"), None, Some(role)));
        let others: Vec<_> = others.chain(roles).collect();
        if others.is_empty() {
            return Ok(own);
        }
        let caller = session.connection.sts().caller().await?;
        let mut known = vec![(caller.account_id, session.connection.region().to_owned())];
        let mut all = vec![own];
        for (option, profile, role) in others {
            progress::phase(format!("reading what {option} uses"));
            let signed_in = match (profile, role) {
                (Some(profile), _) => sign_in(&aws.of_profile(profile)).await,
                (None, Some(role)) => assume(session, aws, role).await,
                (None, None) => continue,
            };
            let read = match signed_in {
                Ok(other) => read(&option, &other, sources, &mut known).await,
                Err(error) => Err(error.to_string()),
            };
            match read {
                Ok(None) => {
                    output::note(&format!("{option} is of an account and Region that are read already"));
                }
                Ok(Some(place)) => {
                    let references = count(place.list.images.len() as u64, "reference");
                    output::note(&format!(
                        "Read {} in {} ({option}): {references} in use",
                        place.account, place.region
                    ));
                    let reporters = all.first().map(|own| own.reporters.clone()).unwrap_or_default();
                    all.push(place.into_usage(&reporters));
                }
                Err(problem) => all.push(Usage::unread(option, problem)),
            }
        }
        Ok(Usage::merged(all))
    }
}

/// Whether a gap is one of another account or Region, which the policies file of the registry cannot ignore.
pub(crate) fn is_elsewhere(gap: &UnreadableSource) -> bool {
    let first = gap.source.split('/').next().unwrap_or_default();
    first.starts_with("--") || is_account(first)
}

/// Reads what an account uses in a Region; `None` for one that is known already.
async fn read(
    option: &str,
    session: &Session,
    sources: &Sources,
    known: &mut Vec<(String, String)>,
) -> Result<Option<Place>, String> {
    let connection = &session.connection;
    let caller = match connection.sts().caller().await {
        Ok(caller) => caller,
        Err(error) => {
            let diagnosis = account::diagnosis(&error, connection, &session.origin).await;
            return Err(diagnosis.map_or_else(|| error.to_string(), |problem| problem.to_string()));
        }
    };
    let (account, region) = (caller.account_id, connection.region().to_owned());
    if known.contains(&(account.clone(), region.clone())) {
        return Ok(None);
    }
    known.push((account.clone(), region.clone()));
    let writer = Writer {
        account: account.clone(),
        region: region.clone(),
        principal: Some(caller.arn),
        program: concat!("ecr-steward ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let clients = AwsClients::new(connection.clone(), String::new());
    let list = read_usage::report(&clients.clients(TIMEOUT), sources, writer, Instant::now()).await;
    let list = list.map_err(|error| error.to_string())?;
    Ok(Some(Place { account, region, option: option.to_owned(), list }))
}

impl Place {
    /// What it uses, and what of it is not known. `reporters` are the lists of the registry's bucket, which tell of clusters of EKS.
    fn into_usage(self, reporters: &[Reporter]) -> Usage {
        let Self { account, region, option, list } = self;
        let place = format!("{account}/{region}");
        let images = list.images.into_iter().map(|mut image: UsedImage| {
            image.used_by.iter_mut().for_each(|user| *user = format!("{user} in {place}"));
            image
        });
        let mut usage = Usage::of(images.collect());
        usage.unknown_images = list.head.unknown_images.clone();
        let gap = |source: &str, problem: String| UnreadableSource {
            source: format!("{place}/{source}"),
            repositories: Vec::new(),
            problem,
        };
        usage.gaps =
            list.head.unread().into_iter().map(|unread| gap(&unread.source, unread.problem)).collect();
        for cluster in &list.head.eks_clusters {
            let key = format!("{LISTS}{account}/{}/{region}/{cluster}.json", eks::SOURCE.name);
            if !reporters.iter().any(|reporter| reporter.key == key) {
                let problem = format!(
                    "no list tells what the EKS cluster {cluster} runs; have it write {key} into the bucket of the registry's stack, and \
                     name that with --bucket"
                );
                usage.gaps.push(gap(&format!("{}/{cluster}", eks::SOURCE.name), problem));
            }
        }
        // As a list of the account and Region would tell of them.
        usage.reporters =
            vec![Reporter { key: option, account: Some(account), region: Some(region), cluster: None }];
        usage
    }
}

#[cfg(test)]
mod tests {
    use shared::domain::usage::usage_list::ListHead;

    use super::*;

    fn place(clusters: &[&str]) -> Place {
        let writer = Writer {
            account: "210987654321".to_owned(),
            region: "us-east-1".to_owned(),
            principal: None,
            program: "test".to_owned(),
        };
        let mut head = ListHead::new(Instant::EPOCH, writer);
        head.eks_clusters = clusters.iter().map(|&cluster| cluster.to_owned()).collect();
        head.gaps.push(UnreadableSource {
            source: "batch".to_owned(),
            repositories: vec![],
            problem: "denied".to_owned(),
        });
        let images =
            vec![UsedImage { reference: "app:1".parse().unwrap(), used_by: vec!["task/1".to_owned()] }];
        Place {
            account: "210987654321".to_owned(),
            region: "us-east-1".to_owned(),
            option: "--profile other".to_owned(),
            list: UsageList { head, images },
        }
    }

    #[test]
    fn what_is_elsewhere_says_where_and_cannot_be_mistaken_for_that_of_the_registry() {
        let usage = place(&["shop"]).into_usage(&[]);
        assert_eq!(usage.used()[0].used_by, ["task/1 in 210987654321/us-east-1"]);
        let sources: Vec<&str> = usage.gaps.iter().map(|gap| gap.source.as_str()).collect();
        assert_eq!(sources, ["210987654321/us-east-1/batch", "210987654321/us-east-1/eks/shop"]);
        assert!(usage.gaps.iter().all(is_elsewhere));
        assert!(usage.reporters[0].names_region("us-east-1"));
        let own =
            UnreadableSource { source: "eks/shop".to_owned(), repositories: vec![], problem: String::new() };
        assert!(!is_elsewhere(&own));
    }

    #[test]
    fn a_cluster_elsewhere_is_covered_by_its_list_in_the_bucket_of_the_registry() {
        let list = Reporter {
            key: "usage/210987654321/eks/us-east-1/shop.json".to_owned(),
            account: None,
            region: None,
            cluster: Some("shop".to_owned()),
        };
        let gaps = place(&["shop", "other"]).into_usage(&[list]).gaps;
        assert_eq!(gaps.len(), 2);
        assert!(gaps[1].source.ends_with("/eks/other"));
    }

    #[test]
    fn a_role_is_named_by_its_arn() {
        assert!(role("arn:aws:iam::210987654321:role/team/reader").is_ok());
        for wrong in [
            "reader",
            "arn:aws:iam::210987654321:user/a",
            "arn:aws:iam::2109:role/a",
            "arn:aws:sts::210987654321:assumed-role/a/b",
        ] {
            assert!(role(wrong).is_err(), "{wrong}");
        }
    }
}
