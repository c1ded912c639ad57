//! The end of a world: nothing fails any more and nobody changes anything. What the policies take and nothing uses has to be gone
//! then after some runs, and everything in use has to be there.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::ecr_stub::Repository;

use super::engine;
use super::file::{Apply, File, Policy};
use super::judge::is_part;
use super::machine::Machine;
use super::product;
use super::step::{Run, Step, used};
use super::wire::Shared;
use super::world::{Habit, LISTS, REPOSITORIES, World, closure, short};

/// So many daily runs there are then. A list that shrank is believed after a day, and limits are for a day.
const RUNS: u64 = 5;

/// Lets the world come to rest, and looks at what is left.
pub(super) async fn come_to_rest(shared: &Shared, machine: &mut Machine) {
    {
        let mut world = shared.lock();
        world.say("nothing fails any more, and nobody changes anything");
        Step::Enforce(true).perform(&mut world);
        let policies: Vec<Policy> = File::usual().policies.into_iter().map(Policy::unlimited).collect();
        Step::File(File::new(policies)).perform(&mut world);
        for cluster in 0..LISTS.len() {
            Step::List { cluster, habit: Habit::Hourly }.perform(&mut world);
        }
    }
    for seed in 0..RUNS {
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        {
            let mut world = shared.lock();
            for cluster in 0..LISTS.len() {
                world.write_list(cluster);
            }
        }
        machine.run(&Run { seed, ..Run::default() }).await;
        let mut world = shared.lock();
        for repository in 0..REPOSITORIES.len() {
            Step::Engine { repository }.perform(&mut world);
        }
    }
    let mut world = shared.lock();
    for name in REPOSITORIES {
        look_for_what_is_lost(&mut world, name);
        look_for_what_is_stuck(&mut world, name);
    }
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
    let is_held = repository.tags.contains_key("hold");
    let Some(policy) = world.file.policy_of(name, is_held).filter(|policy| policy.name != "hold") else {
        return;
    };
    let (rules, policy_is_attached) = (policy.lifecycle_policy(), policy.apply == Apply::Attach);
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
    let whole = repository.images.iter().filter(|image| !image.archived && !is_part(&repository, image));
    // A policy never empties a repository.
    let is_last = whole.filter(|image| !one.contains_key(&image.digest)).count() == 0;
    if !stuck.is_empty() && !is_last {
        let what =
            format!("{name}: {} stay, though the policy takes them and nothing uses them", stuck.join(", "));
        // Tags of ours change what rules take, and what they do not.
        let id = if policy_is_attached { "A6" } else { "stuck" };
        world.break_promise(id, &what);
    }
}

/// What may stay: what is in use, what task definitions and functions name, and what services deployed before.
fn kept(world: &World, name: &str, repository: &Repository) -> BTreeSet<String> {
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
