//! The end of a world: nothing fails any more and nobody changes anything. What the policies take and nothing uses has to be gone
//! then after some runs, and everything in use has to be there.

use std::collections::BTreeSet;
use std::time::Duration;

use shared::domain::lifecycle::LifecyclePolicy;
use tests::ecr_stub::{Image, Repository};

use super::engine;
use super::file::{Apply, File, Policy, TIDY};
use super::judge::{is_part, past_a_limit, shortened};
use super::machine::Machine;
use super::product;
use super::step::{Foreign, Run, Step, used};
use super::wire::Shared;
use super::world::{Habit, LISTS, PROTECT_TAG, REPOSITORIES, World, closure, short};

/// The number of daily runs then. A list that shrank is believed after a day, and limits are for a day.
const RUNS: u64 = 5;

/// Lets the world come to rest, and looks at what is left.
pub(super) async fn come_to_rest(shared: &Shared, machine: &mut Machine) {
    {
        let mut world = shared.lock();
        world.say("nothing fails any more, and nobody changes anything");
        if let Some(events) = &mut world.events {
            events.are_lost = false;
        }
        Step::Enforce(true).perform(&mut world);
        let policies: Vec<Policy> = File::usual().policies.into_iter().map(Policy::unlimited).collect();
        Step::File(File::new(policies)).perform(&mut world);
        for cluster in 0..LISTS.len() {
            Step::List { cluster, habit: Habit::Hourly }.perform(&mut world);
        }
        tidy_up(&mut world);
    }
    for seed in 0..RUNS {
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        {
            let mut world = shared.lock();
            for cluster in 0..LISTS.len() {
                world.write_list(cluster);
            }
        }
        machine.meet(&Run { seed, ..Run::default() });
        machine.run(false, false).await;
        let mut world = shared.lock();
        for repository in 0..REPOSITORIES.len() {
            Step::Engine { repository }.perform(&mut world);
        }
    }
    let mut world = shared.lock();
    for name in REPOSITORIES {
        look_for_what_is_lost(&mut world, name);
        look_for_what_is_stuck(&mut world, name);
        look_for_what_is_suspended(&mut world, name);
    }
}

/// People do what reports ask for: protection tags come off images that are not theirs, and policies get the protection rule.
fn tidy_up(world: &mut World) {
    for name in REPOSITORIES {
        let loose = world.aws.with(|registry| {
            let mut loose = Vec::new();
            let repository = registry.repositories.get_mut(name)?;
            for image in &mut repository.images {
                let hex = image.digest.trim_start_matches("sha256:").to_owned();
                let is_forged = |tag: &String| tag.starts_with(engine::IN_USE) && !tag.contains(&hex);
                if image.tags.iter().any(is_forged) {
                    image.tags.retain(|tag| !is_forged(tag));
                    loose.push(image.digest.clone());
                }
            }
            Some(loose)
        });
        let now = world.now();
        for digest in loose.into_iter().flatten() {
            world.judge.loosen(name, &digest, now);
        }
    }
    Step::Policy { repository: 5, policy: Foreign::Guarded(TIDY) }.perform(world);
}

/// A suspended policy comes back when everything is certain.
fn look_for_what_is_suspended(world: &mut World, name: &str) {
    let is_held = world.is_held(name);
    let policy = world.file.policy_of(name, is_held);
    let is_by_file = policy.is_some_and(|policy| policy.apply == Apply::Attach);
    let is_attached = world.judge.attached.contains_key(name);
    let text = world.repository(name).lifecycle_policy.unwrap_or_default();
    let is_ours =
        is_by_file || policy.is_none_or(|policy| policy.apply == Apply::Preview) && name == "prv/app";
    // What was attached before may be of another file.
    let of_file = policy.filter(|_| is_by_file);
    let rules = match of_file.or_else(|| world.judge.attached.get(name)?.policy.as_ref()) {
        Some(policy) => policy.lifecycle_policy(),
        None => {
            product::policy(&format!("rules: [{}]", engine::DEFAULT)).expect("the default policy is valid")
        }
    };
    if is_by_file && !is_attached && !is_past_a_limit(world, name, &rules) {
        return world
            .break_promise("suspended", &format!("{name}: no policy of ours is attached at the end"));
    }
    if is_attached && is_ours && engine::takes_nothing(&text) && !is_past_a_limit(world, name, &rules) {
        tell_of_images(world, name, &used(world, name));
        world.break_promise("suspended", &format!("{name}: its policy is suspended still at the end"));
    }
}

/// Whether more images would be deleted than the limits allow; a policy never empties a repository.
fn is_past_a_limit(world: &World, name: &str, rules: &LifecyclePolicy) -> bool {
    let repository = world.repository(name);
    // Of an image index that somebody archived nobody can tell what it lists, so that this is counted.
    if repository.images.iter().any(|image| image.archived && !engine::children(image).is_empty()) {
        return true;
    }
    // What may stay may also go.
    let kept = used(world, name);
    // Both ways of ranking referrers count: what only one of them takes is counted, too.
    let mut going =
        engine::taken_but(&kept, rules, &repository, world.now(), false, |tag| !product::is_own(tag));
    going
        .extend(engine::taken_but(&kept, rules, &repository, world.now(), true, |tag| !product::is_own(tag)));
    let whole = repository.images.iter().filter(|image| !image.archived && !is_part(&repository, image));
    let (parts, whole): (Vec<&Image>, Vec<&Image>) =
        whole.partition(|image| world.judge.parts.contains(&image.digest));
    let gone = |images: &[&Image]| images.iter().filter(|image| going.contains_key(&image.digest)).count();
    // The file's policies have no limits at the end, and what a repository was made with has the usual ones.
    let limits = world.file.policy_of(name, false).cloned();
    let limits = limits.unwrap_or_else(|| Policy::new("none", "", Apply::Protect, ""));
    // What was a part once is an image of its own or none: either count will do.
    let counts = [
        (whole.len(), gone(&whole)),
        (whole.len() + parts.len(), gone(&whole) + gone(&parts)),
        (whole.len(), gone(&whole) + gone(&parts)),
    ];
    counts.iter().any(|(total, gone)| past_a_limit(&limits, *total as u64, *gone as u64).is_some())
}

fn look_for_what_is_lost(world: &mut World, name: &str) {
    let repository = world.repository(name);
    let is_there = |digest: &str| repository.images.iter().any(|image| image.digest == digest);
    for one in world.truth.uses().into_iter().filter(|one| one.repository == name) {
        let needed = closure(&repository, &BTreeSet::from([one.digest.clone()]));
        let Some(missing) = needed.iter().find(|digest| !is_there(digest)) else { continue };
        let key = (name.to_owned(), missing.clone());
        // What somebody uses that was gone before is theirs to know.
        if !world.judge.went_since(&key, one.since) {
            continue;
        }
        let id = match world.judge.is_owed(&key) {
            Some(true) => "put-back",
            // What ECR takes in the hour until the next refresh nobody can bring back, which README says.
            Some(false) => continue,
            None if world.judge.is_accused(&key) => continue,
            None => "lost",
        };
        let what = format!("{name}@{} is not there at the end, and {} needs it", short(missing), one.who);
        world.break_promise(id, &what);
    }
}

fn look_for_what_is_stuck(world: &mut World, name: &str) {
    let repository = world.repository(name);
    let Some(rules) = rules_at_the_end(world, name, &repository) else { return };
    let kept = kept(world, name, &repository);
    // What only one of the readings takes may stay.
    let ways = [(false, false), (false, true), (true, false), (true, true)].map(|(is_ranked, is_seen)| {
        let is_seen = |tag: &str| is_seen || !product::is_own(tag);
        engine::taken_but(&kept, &rules, &repository, world.now(), is_ranked, is_seen)
    });
    let [one, others @ ..] = &ways;
    let stuck: Vec<String> = one
        .keys()
        .filter(|digest| others.iter().all(|other| other.contains_key(*digest)) && !kept.contains(*digest))
        .map(|digest| short(digest).to_owned())
        .collect();
    if !stuck.is_empty() && !is_past_a_limit(world, name, &rules) {
        let what =
            format!("{name}: {} stay, though the policy takes them and nothing uses them", stuck.join(", "));
        tell_of_images(world, name, &kept);
        world.break_promise("stuck", &what);
    }
}

fn tell_of_images(world: &mut World, name: &str, kept: &BTreeSet<String>) {
    let repository = world.repository(name);
    for image in &repository.images {
        let is_kept = kept.contains(&image.digest);
        let tags: Vec<String> = image.tags.iter().map(|tag| shortened(tag)).collect();
        let (is_archived, is_part) = (image.archived, is_part(&repository, image));
        let was_part = world.judge.parts.contains(&image.digest);
        world.say(&format!(
            "  {name}@{} {tags:?} kept: {is_kept}, archived: {is_archived}, part: {is_part} {was_part}",
            short(&image.digest)
        ));
    }
}

/// The policy by which images go at the end, by this project or by ECR.
fn rules_at_the_end(world: &World, name: &str, repository: &Repository) -> Option<LifecyclePolicy> {
    let attached = repository.lifecycle_policy.as_deref().filter(|text| engine::is_guarded(text));
    let behind = || attached.and_then(engine::unguarded);
    let is_held = repository.tags.contains_key("hold");
    let policy = world.file.policy_of(name, is_held).filter(|policy| policy.name != "hold");
    match policy.map(|policy| policy.apply) {
        Some(Apply::Delete | Apply::Attach) => policy.map(Policy::lifecycle_policy),
        Some(Apply::Protect) => behind(),
        // What the file only previews stays, whoever asks for protection.
        None if is_held => None,
        // Asked for by a tag, or made by this project.
        _ if repository.tags.contains_key(PROTECT_TAG) => behind(),
        _ if name == "prv/app" && world.judge.attached.contains_key(name) => behind(),
        _ => None,
    }
}

/// What may stay: what is in use, what task definitions and functions name, and what services deployed before.
pub(super) fn kept(world: &World, name: &str, repository: &Repository) -> BTreeSet<String> {
    let mut kept = used(world, name);
    let named = world.truth.definitions.iter().filter_map(|(_, image)| {
        let (path, tag) = image.rsplit_once(':')?;
        path.ends_with(&format!("/{name}")).then(|| world.resolve(name, tag))?
    });
    kept.extend(named);
    // A function's tag, too, is what it may be updated to.
    let of_functions = world.truth.functions.values().filter(|function| function.repository == name);
    kept.extend(of_functions.filter_map(|function| world.resolve(name, &function.tag)));
    let deployed = world.truth.deployments.iter().filter(|(_, pinned)| pinned.repository == name);
    kept.extend(deployed.map(|(_, pinned)| pinned.digest.clone()));
    closure(repository, &kept)
}
