//! Worlds at random, and the shortest story of what breaks.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::{Duration, Instant};

use super::end::come_to_rest;
use super::events::leaves_out;
use super::file::{File, GREEDY, TIDY};
use super::judge::{Late, Violation};
use super::known::{BETWEEN_RUNS, KNOWN, NOT_PROMISED, is_known};
use super::machine::Machine;
use super::step::{Beside, Foreign, Run, Step, files};
use super::wire::Shared;
use super::world::{Habit, Interlude, LISTS, REPOSITORIES, World};

/// The number of steps of a world that is made at random.
const STEPS: usize = 300;

/// The result of a world.
#[derive(Debug, Clone)]
pub(super) struct WorldResult {
    pub(super) violations: Vec<Violation>,
    pub(super) story: Vec<String>,
    /// What tells this course of events from any other.
    pub(super) trace: u64,
    pub(super) calls: usize,
    pub(super) taken: u64,
    /// Images that came into use too late to be seen.
    pub(super) late: Vec<Late>,
    /// How often a repository was not looked at.
    pub(super) left_out: u64,
}

impl WorldResult {
    pub(super) fn ids(&self) -> BTreeSet<&'static str> {
        self.violations.iter().map(|violation| violation.id).collect()
    }
}

/// Without optimization the futures of the workflows, and of the SDK in them, are large.
const STACK: usize = 32 * 1024 * 1024;

/// Plays steps in a world of their own, which may come to rest at the end.
pub(super) fn play(seed: u64, steps: &[Step], rests: bool, is_printed: bool) -> WorldResult {
    play_with(leaves_out(seed), seed, steps, rests, is_printed)
}

/// The same where runs look only at what may have changed, or at everything.
fn play_with(leaves_out: bool, seed: u64, steps: &[Step], rests: bool, is_printed: bool) -> WorldResult {
    std::thread::scope(|scope| {
        let world = std::thread::Builder::new().stack_size(STACK);
        world
            .spawn_scoped(scope, || play_here(leaves_out, seed, steps, rests, is_printed))
            .unwrap()
            .join()
            .unwrap()
    })
}

fn play_here(leaves_out: bool, seed: u64, steps: &[Step], rests: bool, is_printed: bool) -> WorldResult {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed, leaves_out);
        world.is_printed = is_printed;
        let shared = Shared::new(world);
        let mut machine = Machine::new(&shared);
        let mut others =
            Others { switch: Machine::new(&shared.for_actor(1)), hourly: Machine::new(&shared.for_actor(2)) };
        for step in steps {
            match step {
                Step::Wait(minutes) => wait(&shared, &mut others.switch, *minutes).await,
                Step::Run(run) => {
                    machine.meet(run);
                    tokio::join!(machine.run(run.is_dry, run.protects_only), others.join(run));
                    machine.clear_up();
                }
                Step::Switch(run) => {
                    others.switch.meet(run);
                    others.switch.switch().await;
                    others.switch.clear_up();
                }
                step => step.perform(&mut shared.lock()),
            }
        }
        if rests {
            come_to_rest(&shared, &mut machine).await;
        }
        let mut world = shared.lock();
        WorldResult {
            violations: std::mem::take(&mut world.judge.violations),
            story: std::mem::take(&mut world.story),
            trace: world.trace(),
            calls: world.calls,
            taken: world.judge.taken,
            late: world.judge.late.values().copied().collect(),
            left_out: world.events.as_ref().map_or(0, |events| events.count),
        }
    })
}

/// What acts beside a run.
struct Others {
    switch: Machine,
    hourly: Machine,
}

impl Others {
    async fn join(&mut self, run: &Run) {
        let Some((beside, seconds)) = run.beside else { return };
        tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
        match beside {
            Beside::Switch => self.switch.switch().await,
            Beside::Hourly => self.hourly.run(false, true).await,
        }
    }
}

/// Time passes, in which lists are written. The switch is invoked every hour; where it has nothing to do not each time.
async fn wait(shared: &Shared, switch: &mut Machine, minutes: u32) {
    let mut left = u64::from(minutes);
    while left > 0 {
        let part = left.min(60);
        left -= part;
        tokio::time::sleep(Duration::from_secs(part * 60)).await;
        if part == 60 && (left / 60).is_multiple_of(8) || shared.lock().has_old_tags() {
            switch.switch().await;
        }
    }
    let mut world = shared.lock();
    for cluster in 0..LISTS.len() {
        world.write_list(cluster);
    }
}

/// The steps of a world at random.
fn steps(seed: u64) -> Vec<Step> {
    let mut rng = fastrand::Rng::with_seed(seed);
    // Something to begin with.
    let mut steps = Vec::new();
    for repository in 0..REPOSITORIES.len() {
        for number in 0..rng.usize(2..6) {
            steps.push(Step::Push { repository, tag: Some(format!("ci-{number}")) });
            steps.push(Step::Wait(rng.u32(1..600)));
        }
        steps.push(Step::Push { repository, tag: Some("latest".to_owned()) });
    }
    for cluster in 0..LISTS.len() {
        if rng.bool() {
            steps.push(Step::List { cluster, habit: Habit::Hourly });
        }
    }
    while steps.len() < STEPS {
        if rng.u8(..64) == 0 {
            hours(&mut rng, &mut steps);
        }
        let step = step(&mut rng);
        steps.push(step);
    }
    if leaves_out(seed) {
        let mut rng = fastrand::Rng::with_seed(!seed);
        for _ in 0..rng.u8(2..6) {
            let at = rng.usize(STEPS / 8..steps.len());
            steps.splice(at..at, of_quiet_days(&mut rng));
        }
    }
    steps
}

/// What matters only to runs that look at what may have changed: some days without much, and changes of the queue and of names.
fn of_quiet_days(rng: &mut fastrand::Rng) -> Vec<Step> {
    let mut steps = match rng.u8(..6) {
        0 => vec![Step::Nonsense],
        1 => vec![Step::NewQueue],
        2 => vec![Step::Anew { repository: rng.usize(..2) }],
        _ => Vec::new(),
    };
    let days = if rng.u8(..4) == 0 { 7 } else { 1 };
    for _ in 0..rng.u8(2..9) {
        for _ in 0..rng.u8(..2) {
            steps.push(people(rng));
        }
        steps.push(Step::Wait(days * 24 * 60 - rng.u32(..30)));
        let mut run = if rng.u8(..3) == 0 { run(rng) } else { Run { seed: rng.u64(..), ..Run::default() } };
        run.protects_only = false;
        steps.push(Step::Run(run));
    }
    steps
}

/// Some hours in which runs that only protect come every hour, as they should.
fn hours(rng: &mut fastrand::Rng, steps: &mut Vec<Step>) {
    for _ in 0..rng.u8(3..9) {
        for _ in 0..rng.u8(..3) {
            steps.push(people(rng));
        }
        let minutes = rng.u32(1..59);
        steps.push(Step::Wait(minutes));
        steps.push(Step::Engine { repository: by_ecr(rng) });
        steps.push(Step::Wait(60 - minutes));
        let mut run = run(rng);
        (run.is_dry, run.protects_only) = (false, true);
        steps.push(Step::Run(run));
    }
}

/// A repository whose policy ECR enforces.
fn by_ecr(rng: &mut fastrand::Rng) -> usize {
    [2, 2, 3, 3, 4, 5, 6][rng.usize(..7)]
}

fn tag(rng: &mut fastrand::Rng) -> String {
    match rng.u8(..10) {
        0..=3 => "latest".to_owned(),
        4 => format!("v{}", rng.u8(1..4)),
        _ => format!("ci-{}", rng.u8(..12)),
    }
}

fn step(rng: &mut fastrand::Rng) -> Step {
    match rng.u8(..100) {
        0..=22 => Step::Wait(match rng.u8(..17) {
            0..=3 => rng.u32(1..60),
            4..=11 => rng.u32(60..900),
            12..=15 => rng.u32(900..3000),
            // Nothing runs any more.
            _ => rng.u32(3000..6000),
        }),
        23..=30 => Step::Run(run(rng)),
        34..=40 => Step::Engine { repository: by_ecr(rng) },
        41 => {
            let mut run = run(rng);
            run.interludes.clear();
            Step::Switch(run)
        }
        _ => people(rng),
    }
}

/// Something that people do.
fn people(rng: &mut fastrand::Rng) -> Step {
    let repository = rng.usize(..REPOSITORIES.len());
    let (tag, service) = (tag(rng), rng.usize(..3));
    match rng.u8(..66) {
        0..=14 => Step::Push { repository, tag: (rng.u8(..8) > 0).then_some(tag) },
        15..=17 => Step::Release { repository, tag, is_signed_by_tag: rng.bool() },
        18 => Step::Artifact { repository, tag, about: self::tag(rng) },
        19..=21 => Step::Move { repository, tag, to: rng.usize(..20) },
        22 | 23 => Step::Untag { repository, tag },
        24 => Step::Delete { repository, newest: rng.usize(1..4) },
        25 => Step::Archive { repository, oldest: rng.usize(1..5) },
        26 => Step::Hold { repository, is_held: rng.bool() },
        27..=33 => Step::Deploy { service, repository, tag },
        34..=37 => Step::Scale { service, tasks: rng.usize(..3) },
        38 | 39 => Step::Rollback { service },
        40..=43 => Step::Task { repository, tag },
        44..=46 => Step::EndTask,
        47 | 48 => Step::Function { function: service, repository, tag },
        49..=51 => Step::Pod { cluster: service, repository, tag },
        52 => Step::EndPod { cluster: service },
        53 => {
            let habits =
                [Habit::Hourly, Habit::Hourly, Habit::Stopped, Habit::Blind, Habit::Lost, Habit::Absent];
            Step::List { cluster: service, habit: habits[rng.usize(..habits.len())] }
        }
        54 | 55 => {
            let all = files();
            let file = if rng.bool() { File::usual() } else { all[rng.usize(..all.len())].clone() };
            Step::File(File { is_approved: rng.bool(), ..file })
        }
        56 => Step::Enforce(rng.u8(..3) > 0),
        57 => {
            let tag = format!("ecr-steward-released-{}", rng.u8(..3));
            Step::Push { repository, tag: Some(tag) }
        }
        58 | 59 => Step::Forge { repository, victim: rng.usize(..20), holder: rng.usize(..20) },
        60 | 61 => Step::Unprotect { repository, nth: rng.usize(..20) },
        62 => {
            let policies = [
                Foreign::Guarded(TIDY),
                Foreign::Guarded(TIDY),
                Foreign::Guarded(GREEDY),
                Foreign::Bare(TIDY),
                Foreign::None,
            ];
            Step::Policy { repository: by_ecr(rng), policy: policies[rng.usize(..policies.len())] }
        }
        63 if rng.u8(..3) == 0 => Step::Ask { repository: 4 + repository % 2, is_on: rng.bool() },
        _ => Step::Wait(rng.u32(1..30)),
    }
}

fn run(rng: &mut fastrand::Rng) -> Run {
    let mut run = Run { seed: rng.u64(..), ..Run::default() };
    if rng.u8(..3) == 0 {
        run.rate = rng.u16(1..120);
    }
    if rng.u8(..5) == 0 {
        run.kill = Some((String::new(), rng.usize(..70), rng.bool()));
    }
    run.is_dry = rng.u8(..12) == 0;
    run.protects_only = !run.is_dry && rng.u8(..4) == 0;
    if rng.u8(..5) == 0 {
        let beside = if rng.bool() { Beside::Switch } else { Beside::Hourly };
        run.beside = Some((beside, rng.u32(..20)));
    }
    for _ in 0..rng.usize(..4) {
        run.interludes.push(interlude(rng));
    }
    run
}

/// Something that happens in the middle of a run, often where it hurts.
fn interlude(rng: &mut fastrand::Rng) -> Interlude {
    let repository = [0, 1, 2, 3, 5, 6][rng.usize(..6)];
    let tag = format!("ci-{}", rng.u8(..12));
    let of = |operation: &str| format!("{operation} {}", REPOSITORIES[repository]);
    let (label, nth, step) = match rng.u8(..16) {
        0 => ("BatchDeleteImage".to_owned(), rng.usize(..2), Step::Task { repository: rng.usize(..2), tag }),
        1 => (
            "BatchDeleteImage".to_owned(),
            0,
            Step::Function { function: 0, repository: rng.usize(..2), tag },
        ),
        2 => (of("DescribeImages"), 0, Step::Delete { repository, newest: rng.usize(1..4) }),
        3 => (of("DescribeImages"), rng.usize(..2), Step::Push { repository, tag: Some(tag) }),
        4 => ("the batches".to_owned(), 0, Step::Hold { repository, is_held: true }),
        5 => {
            let all = files();
            let label = if rng.bool() { "the batches" } else { "another try" };
            let file = File { is_approved: rng.bool(), ..all[rng.usize(..all.len())].clone() };
            (label.to_owned(), 0, Step::File(file))
        }
        6 => ("PutObject stack-sources/journal".to_owned(), 0, Step::Rollback { service: rng.usize(..3) }),
        7 => ("the report".to_owned(), 0, people(rng)),
        8 => (of("PutLifecyclePolicy"), 0, Step::Engine { repository }),
        9 => (of("PutImage"), rng.usize(..3), people(rng)),
        10 => (
            of("GetLifecyclePolicy"),
            0,
            Step::Forge { repository, victim: rng.usize(..20), holder: rng.usize(..20) },
        ),
        11 => (String::new(), rng.usize(..90), Step::Engine { repository: by_ecr(rng) }),
        _ => (String::new(), rng.usize(..90), people(rng)),
    };
    Interlude { label, nth, step }
}

/// Leaves out whatever is not needed for a violation of this kind.
fn shortest(seed: u64, steps: &[Step], id: &str) -> Vec<Step> {
    let breaks =
        |steps: &[Step]| play(seed, steps, true, false).violations.iter().any(|violation| violation.id == id);
    let mut steps = steps.to_vec();
    let mut size = steps.len() / 2;
    let until = Instant::now() + Duration::from_secs(120);
    while size > 0 && Instant::now() < until {
        let mut at = 0;
        let mut is_shorter = false;
        while at < steps.len() {
            let mut without = steps.clone();
            without.drain(at..(at + size).min(without.len()));
            if breaks(&without) {
                steps = without;
                is_shorter = true;
            } else {
                at += size;
            }
        }
        if !is_shorter || size > 1 {
            size /= 2;
        }
    }
    steps
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What many worlds came to.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    steps: usize,
    calls: usize,
    taken: u64,
    late: Vec<Late>,
    /// How often a repository was not looked at.
    left_out: u64,
    /// How often each known kind of violation was found, and by which seed first.
    known: BTreeMap<&'static str, (u64, u64)>,
    /// What is not known: how often, by which seed first, and what it was there.
    failed: BTreeMap<&'static str, (u64, u64, String)>,
}

impl Sum {
    fn add(&mut self, seed: u64, world: &WorldResult) {
        self.seeds += 1;
        self.steps += STEPS;
        self.calls += world.calls;
        self.taken += world.taken;
        self.late.extend(&world.late);
        self.left_out += world.left_out;
        for id in world.ids() {
            if is_known(id) {
                self.known.entry(id).or_insert((0, seed)).0 += 1;
            } else {
                let first = world.violations.iter().find(|violation| violation.id == id);
                let what = first.map(|violation| violation.what.clone()).unwrap_or_default();
                self.failed.entry(id).or_insert((0, seed, what)).0 += 1;
            }
        }
    }

    fn extend(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.calls += other.calls;
        self.taken += other.taken;
        self.late.extend(other.late);
        self.left_out += other.left_out;
        for (id, (count, seed)) in other.known {
            let entry = self.known.entry(id).or_insert((0, seed));
            *entry = (entry.0 + count, entry.1.min(seed));
        }
        for (id, (count, seed, what)) in other.failed {
            let entry = self.failed.entry(id).or_insert((0, u64::MAX, String::new()));
            *entry = if seed < entry.1 {
                (entry.0 + count, seed, what)
            } else {
                (entry.0 + count, entry.1, entry.2.clone())
            };
        }
    }
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in 1..4 {
        let steps = steps(seed);
        let [one, two] = [(); 2].map(|()| play(seed, &steps, true, false));
        let differs = one.story.iter().zip(&two.story).find(|(one, two)| one != two);
        assert_eq!(differs, None);
        assert_eq!(one.trace, two.trace, "seed {seed}: the stories are the same, and the calls are not");
    }
}

#[test]
fn whatever_happens_only_what_is_known_breaks() {
    if let Some(seed) = number("SIMULATION_SEED") {
        let steps = steps(seed);
        let world = play(seed, &steps, true, true);
        println!("seed {seed}: {:?}", world.ids());
        return;
    }
    let started = Instant::now();
    let from = number("SIMULATION_FROM").unwrap_or(1);
    let seeds = number("SIMULATION_SEEDS").map(|seeds| from + seeds - 1);
    let seconds = number("SIMULATION_SECONDS").unwrap_or(20);
    let is_enough = |next: u64| match seeds {
        Some(seeds) => next > seeds,
        None => started.elapsed() >= Duration::from_secs(seconds),
    };
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(2)) as u64;
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        let worlds: Vec<_> = (from..from + threads)
            .map(|first| {
                scope.spawn(move || {
                    let mut sum = Sum::default();
                    let mut seed = first;
                    while !is_enough(seed) {
                        sum.add(seed, &play(seed, &steps(seed), true, false));
                        seed += threads;
                    }
                    sum
                })
            })
            .collect();
        for world in worlds {
            sum.extend(world.join().unwrap());
        }
    });
    let Sum { seeds, steps: count, calls, taken, late, left_out, known, failed } = sum;
    let seconds = started.elapsed().as_secs_f64();
    let mut summary =
        format!("{seeds} seeds, {count} steps, {calls} calls, {taken} images taken, in {seconds:.1} s\n");
    for what in
        ["this project took", "ECR took after a run within the hour", "ECR took after a run longer ago"]
    {
        let of_kind = late.iter().filter(|late| late.kind() == what);
        let windows: Vec<i64> = of_kind.map(|late| late.window).collect();
        let longest = windows.iter().max().map_or(0, |window| window / 1_000_000);
        let count = windows.len();
        summary += &format!(
            "{count} that {what} came into use too late to be seen, {longest} seconds before at most\n"
        );
    }
    summary += &format!("{left_out} times a repository was not looked at\n");
    for (id, (worlds, seed)) in known {
        summary += &format!("  known {id}: in {worlds} worlds, first in {seed}\n");
    }
    // Also where the test passes, of which the harness shows nothing that is printed by macros.
    std::io::stdout().lock().write_all(summary.as_bytes()).unwrap();
    for (id, (worlds, seed, what)) in &failed {
        println!("  NOT KNOWN {id}: in {worlds} worlds, first in {seed}: {what}");
    }
    let Some((id, (_, seed, what))) = failed.first_key_value() else { return };
    let shortest = shortest(*seed, &steps(*seed), id);
    println!("the shortest story of {id}:");
    play(*seed, &shortest, true, true);
    println!("its steps: {shortest:#?}");
    panic!("seed {seed} breaks {id}: {what}\nits whole story: SIMULATION_SEED={seed}");
}

#[test]
fn what_is_known_to_be_broken_is_broken_still_and_what_is_mended_is_not() {
    let mut wrong = Vec::new();
    for (known, leaves_out) in KNOWN.iter().flat_map(|known| [(known, false), (known, true)]) {
        let world = play_with(leaves_out, 7, &(known.steps)(), false, false);
        let how = match (known.is_mended, world.ids()) {
            (true, ids) if !ids.is_empty() => format!("is broken again: {ids:?}"),
            (false, ids) if !ids.contains(known.id) => {
                "is not broken any more: say so in the table".to_owned()
            }
            _ => continue,
        };
        wrong.push(format!("{} ({}) {how}\n{}", known.id, known.what, world.story.join("\n")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn what_nobody_can_know_in_time_breaks_no_promise() {
    for (what, steps) in NOT_PROMISED {
        for leaves_out in [false, true] {
            let world = play_with(leaves_out, 7, &steps(), false, false);
            assert_eq!(world.violations, [], "{what}\n{}", world.story.join("\n"));
        }
    }
}

#[test]
fn what_comes_into_use_between_two_runs_is_counted_by_the_length_of_its_window() {
    let world = play_with(false, 7, &BETWEEN_RUNS(), false, false);
    assert_eq!(world.violations, []);
    let windows: Vec<(i64, bool)> =
        world.late.iter().map(|late| (late.window / 60_000_000, late.is_owed)).collect();
    assert_eq!(windows, [(134, false)], "{}", world.story.join("\n"));
}
