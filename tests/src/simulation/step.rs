//! What people do, and ECR's engine. Steps name things so that they make sense, or do nothing, in any world: a failing world
//! is shortened by leaving some out.

use std::collections::BTreeSet;

use tests::ecr_stub::{Image, Repository};

use super::engine;
use super::file::{Apply, File, GREEDY, Policy, TIDY};
use super::judge::Act;
use super::product;
use super::wire::CallOutcome;
use super::world::{
    Habit, Interlude, LISTS, Listing, PROTECT_TAG, Pinned, REPOSITORIES, Service, World, closure, short,
    subject_of_tag,
};

/// One thing that happens.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// This number of minutes passes.
    Wait(u32),
    /// Somebody pushes an image, under a tag or none.
    Push {
        repository: usize,
        tag: Option<String>,
    },
    /// Somebody pushes an image for two platforms and a signature about it, by a subject or by a tag.
    Release {
        repository: usize,
        tag: String,
        is_signed_by_tag: bool,
    },
    /// Somebody pushes an artifact with a tag about the image with another.
    Artifact {
        repository: usize,
        tag: String,
        about: String,
    },
    /// A tag is moved to another image.
    Move {
        repository: usize,
        tag: String,
        to: usize,
    },
    /// A tag is removed; with the last one the image is deleted.
    Untag {
        repository: usize,
        tag: String,
    },
    /// Somebody deletes the newest images that nothing uses.
    Delete {
        repository: usize,
        newest: usize,
    },
    /// Somebody archives the oldest active images that nothing uses.
    Archive {
        repository: usize,
        oldest: usize,
    },
    /// The resource tag `hold: legal` is added, or removed.
    Hold {
        repository: usize,
        is_held: bool,
    },
    /// A service is deployed: it pins what the tag means.
    Deploy {
        service: usize,
        repository: usize,
        tag: String,
    },
    Scale {
        service: usize,
        tasks: usize,
    },
    /// A service is rolled back to what it ran before.
    Rollback {
        service: usize,
    },
    /// A task is run that belongs to no service.
    Task {
        repository: usize,
        tag: String,
    },
    /// The oldest such task ends.
    EndTask,
    /// A function is updated to run what a tag means.
    Function {
        function: usize,
        repository: usize,
        tag: String,
    },
    Pod {
        cluster: usize,
        repository: usize,
        tag: String,
    },
    EndPod {
        cluster: usize,
    },
    /// How the list of a cluster is written from now on.
    List {
        cluster: usize,
        habit: Habit,
    },
    /// The policies file is another one.
    File(File),
    /// The switch `Enforce`.
    Enforce(bool),
    /// Somebody attaches a lifecycle policy, or removes the one that is attached.
    Policy {
        repository: usize,
        policy: Foreign,
    },
    /// Somebody gives an image the protection tag of another.
    Forge {
        repository: usize,
        victim: usize,
        holder: usize,
    },
    /// Somebody takes a protection tag off an image that has other tags.
    Unprotect {
        repository: usize,
        nth: usize,
    },
    /// The resource tag with which somebody asks for protection tags is added, or removed.
    Ask {
        repository: usize,
        is_on: bool,
    },
    /// ECR's engine acts on the policy that is attached to a repository.
    Engine {
        repository: usize,
    },
    /// Somebody puts something into the queue of events that is none.
    Nonsense,
    /// The queue of events is made anew.
    NewQueue,
    /// A repository in which nothing is in use is deleted, and made anew.
    Anew {
        repository: usize,
    },
    /// A scheduled run.
    Run(Run),
    /// The dead man's switch.
    Switch(Run),
}

/// A lifecycle policy that somebody attaches who is not this project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    /// Behind the protection rule.
    Guarded(&'static str),
    Bare(&'static str),
    /// None at all.
    None,
}

/// What a run meets.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    pub(super) seed: u64,
    /// Whether somebody asks for a dry run.
    pub(super) is_dry: bool,
    /// Whether it only protects, as every hour.
    pub(super) protects_only: bool,
    /// What begins beside it, and after how many seconds.
    pub(super) beside: Option<(Beside, u32)>,
    /// The number of calls of 1,000 that fail.
    pub(super) rate: u16,
    /// Calls that go wrong so: a text in their labels, and how many.
    pub(super) planned: Vec<(String, CallOutcome, usize)>,
    /// A function is killed at the nth call whose label contains this; and whether with its effect.
    pub(super) kill: Option<(String, usize, bool)>,
    /// What happens meanwhile.
    pub(super) interludes: Vec<Interlude>,
}

/// What may begin while a run is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    Switch,
    /// Another run, which only protects.
    Hourly,
}

/// The services of the world.
const SERVICES: [&str; 3] = ["web", "api", "night"];
const FUNCTIONS: [&str; 2] = ["thumbs", "mails"];

impl Step {
    /// Has it happen. Time and runs are not here: they take a while.
    pub(super) fn perform(&self, world: &mut World) {
        self.happen(world);
        world.announce();
    }

    fn happen(&self, world: &mut World) {
        let name = |repository: usize| REPOSITORIES[repository % REPOSITORIES.len()];
        match self {
            Self::Wait(_) | Self::Run(_) | Self::Switch(_) => {}
            Self::Push { repository, tag } => push(world, name(*repository), tag.as_deref()),
            Self::Release { repository, tag, is_signed_by_tag } => {
                release(world, name(*repository), tag, *is_signed_by_tag);
            }
            Self::Artifact { repository, tag, about } => artifact(world, name(*repository), tag, about),
            Self::Move { repository, tag, to } => {
                let name = name(*repository);
                let digest = change(world, name, |repository| {
                    let images =
                        repository.images.iter().filter(|image| !image.archived && image.subject.is_none());
                    let all: Vec<String> = images.map(|image| image.digest.clone()).collect();
                    let digest = all.get(to % all.len().max(1))?.clone();
                    may_move(repository, tag)?;
                    take_off(repository, tag, Some(&digest))?;
                    repository.image_mut(&digest).tags.insert(tag.clone());
                    Some(digest)
                });
                if let Some(digest) = digest {
                    world.say(&format!("{name}:{tag} is now {}", short(&digest)));
                }
            }
            Self::Untag { repository, tag } => {
                let name = name(*repository);
                let is_used = world.resolve(name, tag).is_some_and(|digest| is_used(world, name, &digest));
                if is_used {
                    return;
                }
                if change(world, name, |repository| take_off(repository, tag, None)).is_some() {
                    world.say(&format!("somebody takes {name}:{tag} off"));
                }
            }
            Self::Delete { repository, newest } => delete_by_hand(world, name(*repository), *newest),
            Self::Archive { repository, oldest } => archive_by_hand(world, name(*repository), *oldest),
            Self::Hold { repository, is_held } => {
                let name = name(*repository);
                world.aws.with(|registry| {
                    let tags = &mut registry.repositories.get_mut(name).unwrap().tags;
                    if *is_held {
                        tags.insert("hold".to_owned(), "legal".to_owned());
                    } else {
                        tags.remove("hold");
                    }
                });
                world.judge.acts.push(Act::hold(name, world.now(), *is_held));
                world.say(&format!(
                    "{name} is {} hold: legal",
                    if *is_held { "tagged" } else { "no longer tagged" }
                ));
            }
            Self::Deploy { service, repository, tag } => deploy(world, *service, name(*repository), tag),
            Self::Scale { service, tasks } => {
                let who = SERVICES[service % SERVICES.len()];
                let now = world.now();
                let Some(service) = world.truth.services.get_mut(who) else { return };
                if service.tasks == 0 {
                    service.running_since = now;
                }
                service.tasks = *tasks;
                let current = service.current.clone();
                if *tasks > 0 {
                    world.pull(&current.repository, &current.digest);
                }
                world.say(&format!("{who} is scaled to {tasks}"));
            }
            Self::Rollback { service } => {
                let who = SERVICES[service % SERVICES.len()];
                let now = world.now();
                let Some(service) = world.truth.services.get_mut(who) else { return };
                let Some(previous) = service.previous.take() else { return };
                service.previous = Some(std::mem::replace(&mut service.current, previous));
                service.running_since = now;
                service.tasks = service.tasks.max(1);
                let current = service.current.clone();
                world.truth.deployments.push((who.to_owned(), current.clone()));
                world.pull(&current.repository, &current.digest);
                world.say(&format!("{who} goes back to {}@{}", current.repository, short(&current.digest)));
            }
            Self::Task { repository, tag } => {
                let Some(pinned) = pinned(world, "job", name(*repository), tag) else { return };
                world.say(&format!("a task runs {}:{tag} ({})", pinned.repository, short(&pinned.digest)));
                world.truth.tasks.push(pinned);
            }
            Self::EndTask => {
                if !world.truth.tasks.is_empty() {
                    let ended = world.truth.tasks.remove(0);
                    world.say(&format!("a task of {}@{} ends", ended.repository, short(&ended.digest)));
                }
            }
            Self::Function { function, repository, tag } => {
                let who = FUNCTIONS[function % FUNCTIONS.len()];
                let Some(pinned) = pinned(world, who, name(*repository), tag) else { return };
                world.say(&format!(
                    "the function {who} runs {}:{tag} ({})",
                    pinned.repository,
                    short(&pinned.digest)
                ));
                world.truth.functions.insert(who.to_owned(), pinned);
            }
            Self::Pod { cluster, repository, tag } => {
                let cluster = cluster % LISTS.len();
                // A cluster of which nobody writes a list is not known to anybody.
                if world.habits[cluster].0 == Habit::Absent {
                    return;
                }
                let Some(pinned) = pinned(world, "pod", name(*repository), tag) else { return };
                world.say(&format!(
                    "a pod of cluster {cluster} runs {}:{tag} ({})",
                    pinned.repository,
                    short(&pinned.digest)
                ));
                world.truth.pods[cluster].push(pinned);
            }
            Self::EndPod { cluster } => {
                let pods = &mut world.truth.pods[cluster % LISTS.len()];
                if !pods.is_empty() {
                    let ended = pods.remove(0);
                    world.say(&format!("a pod of {}@{} ends", ended.repository, short(&ended.digest)));
                }
            }
            Self::List { cluster, habit } => {
                let cluster = cluster % LISTS.len();
                let was = world.habits[cluster];
                // Of a list that never was nobody can tell that it is lost.
                if was.0 == *habit || (was.0 == Habit::Absent && *habit != Habit::Hourly) {
                    return;
                }
                world.habits[cluster] = (*habit, world.now());
                if *habit == Habit::Absent {
                    world.truth.pods[cluster].clear();
                }
                if matches!(habit, Habit::Absent | Habit::Lost) {
                    let key = format!("{}/{}", tests::cloud::BUCKET, LISTS[cluster]);
                    world.aws.cloud(|cloud| cloud.objects.remove(&key));
                    let now = world.now();
                    world.lists[cluster].push((now, Listing::Gone));
                }
                world.write_list(cluster);
                world.say(&format!("{} is written from now on: {habit:?}", LISTS[cluster]));
            }
            Self::File(file) => {
                world.file = file.clone();
                world.write_file();
                let policies: Vec<String> = file
                    .policies
                    .iter()
                    .map(|policy| format!("{} {:?} {}*", policy.name, policy.apply, policy.prefix))
                    .collect();
                let broken = if file.is_broken { ", with a typing error" } else { "" };
                world.say(&format!("policies.yaml is changed: {}{broken}", policies.join(", ")));
            }
            Self::Enforce(is_enforcing) => {
                world.is_enforcing = *is_enforcing;
                world.enforce_since = world.now();
                world.say(&format!("Enforce is {is_enforcing}"));
            }
            Self::Policy { repository, policy } => attach(world, name(*repository), *policy),
            Self::Forge { repository, victim, holder } => forge(world, name(*repository), *victim, *holder),
            Self::Unprotect { repository, nth } => unprotect(world, name(*repository), *nth),
            Self::Ask { repository, is_on } => {
                let name = name(*repository);
                change(world, name, |repository| {
                    match is_on {
                        true => repository.tags.insert(PROTECT_TAG.to_owned(), "true".to_owned()),
                        false => repository.tags.remove(PROTECT_TAG),
                    };
                    Some(())
                });
                world.judge.acts.push(Act::asked(name, world.now()));
                world.say(&format!("{name} asks for protection tags: {is_on}"));
            }
            Self::Engine { repository } => act(world, name(*repository)),
            Self::Nonsense => world.send_nonsense(),
            Self::NewQueue => world.renew_queue(),
            Self::Anew { repository } => {
                let name = name(*repository);
                if used(world, name).is_empty() {
                    world.make_anew(name);
                }
            }
        }
    }
}

fn change<T>(world: &mut World, name: &str, change: impl FnOnce(&mut Repository) -> Option<T>) -> Option<T> {
    let (changed, is_tag_moved) = world.aws.with(|registry| {
        let repository = registry.repositories.get_mut(name)?;
        let tags = |repository: &Repository| -> BTreeSet<(String, String)> {
            let of = |image: &Image| -> Vec<(String, String)> {
                image.tags.iter().map(|tag| (tag.clone(), image.digest.clone())).collect()
            };
            repository.images.iter().flat_map(of).collect()
        };
        let before = tags(repository);
        let changed = change(repository);
        let after = tags(repository);
        Some((changed, !before.is_subset(&after)))
    })?;
    if is_tag_moved {
        let act = Act::tag_moved(name, world.now());
        world.judge.acts.push(act);
    }
    changed
}

/// A tag that cannot be moved stays where it is.
fn may_move(repository: &Repository, tag: &str) -> Option<()> {
    let is_there = repository.images.iter().any(|image| image.tags.contains(tag));
    (!is_there || !repository.keeps(tag)).then_some(())
}

/// Takes a tag off, and the image with its last one; an image that is to get it stays.
fn take_off(repository: &mut Repository, tag: &str, stays: Option<&str>) -> Option<()> {
    let holder = repository.images.iter_mut().find(|image| image.tags.contains(tag));
    match (holder, stays) {
        (None, None) => None,
        (None, Some(_)) => Some(()),
        (Some(holder), None) => {
            holder.tags.remove(tag);
            if holder.tags.is_empty() {
                let digest = holder.digest.clone();
                let is_listed =
                    repository.images.iter().any(|image| engine::children(image).contains(&digest));
                if !is_listed {
                    repository.images.retain(|image| image.digest != digest);
                }
            }
            Some(())
        }
        // A push moves it, and the image that had it stays, without a name.
        (Some(holder), Some(_)) => {
            holder.tags.remove(tag);
            Some(())
        }
    }
}

fn is_used(world: &World, name: &str, digest: &str) -> bool {
    used(world, name).contains(digest)
}

/// Everything in a repository that is in use, with what belongs to it.
pub(super) fn used(world: &World, name: &str) -> BTreeSet<String> {
    let repository = world.repository(name);
    let uses = world.truth.uses();
    let digests = uses.into_iter().filter(|one| one.repository == name).map(|one| one.digest).collect();
    closure(&repository, &digests)
}

fn push(world: &mut World, name: &str, tag: Option<&str>) {
    world.pushes += 1;
    let content = format!("push {}", world.pushes);
    let tags: Vec<&str> = tag.into_iter().collect();
    let digest = change(world, name, |repository| {
        tags.iter().try_for_each(|tag| may_move(repository, tag))?;
        Some(repository.push(&content, &tags))
    });
    if digest.is_none() {
        return;
    }
    let tag = tag.map_or_else(String::new, |tag| format!(":{tag}"));
    world.say(&format!("{name}{tag} is pushed ({})", short(&digest.unwrap_or_default())));
}

fn release(world: &mut World, name: &str, tag: &str, is_signed_by_tag: bool) {
    world.pushes += 1;
    let number = world.pushes;
    let digest = change(world, name, |repository| {
        may_move(repository, tag)?;
        let children =
            ["amd64", "arm64"].map(|platform| repository.push(&format!("push {number} {platform}"), &[]));
        let index = repository.push_index(&children.each_ref().map(String::as_str), &[tag]);
        let signature = format!("signature {number}");
        if is_signed_by_tag {
            let tag = format!("{}.sig", index.replace(':', "-"));
            repository.push(&signature, &[&tag]);
        } else {
            repository.push_referrer(&signature, &index);
        }
        Some(index)
    });
    let how = if is_signed_by_tag { "tag" } else { "subject" };
    world.say(&format!(
        "{name}:{tag} is pushed for two platforms, signed by {how} ({})",
        short(&digest.unwrap_or_default())
    ));
}

fn artifact(world: &mut World, name: &str, tag: &str, about: &str) {
    let Some(subject) = world.resolve(name, about) else { return };
    world.pushes += 1;
    let content = format!("artifact {}", world.pushes);
    let digest = change(world, name, |repository| {
        may_move(repository, tag)?;
        let digest = repository.push_referrer(&content, &subject);
        take_off(repository, tag, Some(&digest))?;
        repository.image_mut(&digest).tags.insert(tag.to_owned());
        Some(digest)
    });
    world.say(&format!(
        "{name}:{tag} is pushed, about {} ({})",
        short(&subject),
        short(&digest.unwrap_or_default())
    ));
}

fn delete_by_hand(world: &mut World, name: &str, newest: usize) {
    let used = used(world, name);
    let now = world.now();
    let gone = change(world, name, |repository| {
        let is_listed = |image: &Image| {
            repository.images.iter().any(|other| engine::children(other).contains(&image.digest))
        };
        let mut all: Vec<&Image> =
            repository.images.iter().filter(|image| !used.contains(&image.digest)).collect();
        all.retain(|image| !is_listed(image));
        all.sort_by(|one, two| two.pushed_at.total_cmp(&one.pushed_at));
        let gone: BTreeSet<String> = all.into_iter().take(newest).map(|image| image.digest.clone()).collect();
        repository.images.retain(|image| !gone.contains(&image.digest));
        (!gone.is_empty()).then_some(gone)
    });
    let Some(gone) = gone else { return };
    world.judge.acts.push(Act::deleted(name, now));
    world.say(&format!("somebody deletes the newest {} of {name} by hand", gone.len()));
}

fn archive_by_hand(world: &mut World, name: &str, oldest: usize) {
    let used = used(world, name);
    #[expect(clippy::cast_precision_loss, reason = "a time of this century")]
    let now = world.now() as f64 / 1e6;
    let archived = change(world, name, |repository| {
        let mut all: Vec<&mut Image> = repository
            .images
            .iter_mut()
            .filter(|image| !used.contains(&image.digest) && !image.archived && image.subject.is_none())
            .filter(|image| {
                !image.tags.is_empty() && !image.tags.iter().any(|tag| subject_of_tag(tag).is_some())
            })
            .collect();
        all.sort_by(|one, two| one.pushed_at.total_cmp(&two.pushed_at));
        let mut count = 0;
        for image in all.into_iter().take(oldest) {
            (image.archived, image.last_archived_at) = (true, Some(now));
            count += 1;
        }
        (count > 0).then_some(count)
    });
    if let Some(count) = archived {
        world.say(&format!("somebody archives the oldest {count} of {name}"));
    }
}

/// Pulls what a tag means, to run it.
fn pinned(world: &mut World, family: &str, name: &str, tag: &str) -> Option<Pinned> {
    let digest = world.resolve(name, tag)?;
    world.pull(name, &digest);
    let definition = (family.to_owned(), format!("{}/{name}:{tag}", super::world::HOST));
    if matches!(family, "job" | "web" | "api" | "night") && !world.truth.definitions.contains(&definition) {
        world.truth.definitions.push(definition);
    }
    Some(Pinned { repository: name.to_owned(), tag: tag.to_owned(), digest, since: world.now() })
}

fn deploy(world: &mut World, service: usize, name: &str, tag: &str) {
    let who = SERVICES[service % SERVICES.len()];
    let Some(pinned) = pinned(world, who, name, tag) else { return };
    let now = world.now();
    world.say(&format!("{who} is deployed with {name}:{tag} ({})", short(&pinned.digest)));
    world.truth.deployments.push((who.to_owned(), pinned.clone()));
    match world.truth.services.get_mut(who) {
        None => {
            let service = Service { current: pinned, previous: None, tasks: 1, running_since: now };
            world.truth.services.insert(who.to_owned(), service);
        }
        Some(service) => {
            let before = std::mem::replace(&mut service.current, pinned);
            if before.digest == service.current.digest && before.repository == service.current.repository {
                service.current.since = before.since;
            } else {
                service.running_since = now;
            }
            service.previous = Some(before);
            service.tasks = service.tasks.max(1);
        }
    }
}

fn attach(world: &mut World, name: &str, policy: Foreign) {
    let (text, what) = match policy {
        Foreign::Guarded(rules) => {
            (Some(engine::guarded(rules)), "attaches a policy behind the protection rule")
        }
        Foreign::Bare(rules) => (Some(engine::bare(rules)), "attaches a policy of their own"),
        Foreign::None => (None, "removes the policy"),
    };
    change(world, name, |repository| {
        repository.lifecycle_policy.clone_from(&text);
        Some(())
    });
    world.judge.attached.remove(name);
    world.judge.foreign.insert(name.to_owned(), world.now());
    world.say(&format!("{name}: somebody {what}"));
}

fn forge(world: &mut World, name: &str, victim: usize, holder: usize) {
    let tag = change(world, name, |repository| {
        let all = repository.images.iter().filter(|image| !image.archived);
        let all: Vec<String> = all.map(|image| image.digest.clone()).collect();
        let count = all.len();
        let (victim, holder) = (all.get(victim.checked_rem(count)?)?, all.get(holder.checked_rem(count)?)?);
        let tag = format!("{}{}", engine::IN_USE, victim.trim_start_matches("sha256:"));
        if victim == holder {
            return None;
        }
        may_move(repository, &tag)?;
        let loser = repository
            .images
            .iter()
            .find(|image| image.tags.contains(&tag))
            .map(|image| image.digest.clone());
        take_off(repository, &tag, Some(holder))?;
        repository.image_mut(holder).tags.insert(tag);
        Some((victim.clone(), holder.clone(), loser))
    });
    let Some((victim, holder, loser)) = tag else { return };
    if let Some(loser) = loser {
        world.judge.loosen(name, &loser, world.now());
    }
    world.say(&format!("{name}: somebody gives {} the protection tag of {}", short(&holder), short(&victim)));
}

fn unprotect(world: &mut World, name: &str, nth: usize) {
    let digest = change(world, name, |repository| {
        let is_own = |tag: &&String| tag.starts_with(engine::IN_USE);
        let has_both = |image: &&mut Image| {
            image.tags.iter().any(|tag| is_own(&tag)) && image.tags.iter().any(|tag| !is_own(&tag))
        };
        let mut all: Vec<&mut Image> = repository.images.iter_mut().filter(has_both).collect();
        let count = all.len();
        let image = all.get_mut(nth.checked_rem(count)?)?;
        image.tags.retain(|tag| !is_own(&tag));
        Some(image.digest.clone())
    });
    let Some(digest) = digest else { return };
    world.judge.loosen(name, &digest, world.now());
    world.say(&format!("{name}: somebody takes the protection tag off {}", short(&digest)));
}

/// ECR acts on the attached policy.
fn act(world: &mut World, name: &str) {
    let before = world.repository(name);
    let Some(text) = &before.lifecycle_policy else { return };
    let policy = product::attached(text).expect("what is attached is a policy");
    let acted = engine::taken(&policy, &before, world.now(), world.is_ranked, |_| true);
    if acted.is_empty() {
        return;
    }
    #[expect(clippy::cast_precision_loss, reason = "a time of this century")]
    let now = world.now() as f64 / 1e6;
    change(world, name, |repository| {
        for image in &mut repository.images {
            if acted.get(&image.digest).is_some_and(|acted| !engine::goes(acted)) {
                (image.archived, image.last_archived_at) = (true, Some(now));
            }
        }
        repository.images.retain(|image| !acted.get(&image.digest).is_some_and(engine::goes));
        Some(())
    });
    world.judge_engine(name, &before, &acted);
}

/// The files that people write.
pub(super) fn files() -> Vec<File> {
    let usual = File::usual();
    let hold = usual.policies[0].clone();
    let of = |apply_del, apply_att, rules: &str| {
        File::new(vec![
            hold.clone(),
            Policy::new("del", "del/", apply_del, rules),
            Policy::new("att", "att/", apply_att, rules),
            usual.policies[3].clone(),
        ])
    };
    vec![
        of(Apply::Delete, Apply::Attach, GREEDY),
        File { limits: (6, 25), ..usual.clone() },
        of(Apply::Preview, Apply::Preview, TIDY),
        File { is_broken: true, ..usual.clone() },
        File::new(vec![hold.clone(), Policy::new("del", "del/", Apply::Delete, TIDY).unlimited()]),
        of(Apply::Delete, Apply::Attach, "{selection: {tagPatternList: ['*']}, maximumNumberOfImages: 4}"),
        of(Apply::Delete, Apply::Attach, "{selection: untagged, maximumAgeLimit: 30}"),
        File::new(Vec::new()),
        // What was ours is somebody else's, and the other way round.
        File::new(vec![
            hold,
            Policy::new("att", "att/", Apply::Protect, TIDY),
            Policy::new("pro", "pro/", Apply::Attach, TIDY),
        ]),
    ]
}
