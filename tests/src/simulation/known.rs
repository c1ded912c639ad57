//! Promises that were broken once, each with the steps that show it. Those that are broken still are known to be; whoever mends
//! one says so here, and from then on neither its steps nor any world at random may break it again.

use super::file::{Apply, File, GREEDY, Policy, TIDY};
use super::step::{Beside, Foreign, Run, Step};
use super::wire::CallOutcome;
use super::world::{Habit, Interlude};

/// A promise that did not hold.
pub(super) struct Known {
    pub(super) id: &'static str,
    /// Whether it does now.
    pub(super) is_mended: bool,
    pub(super) what: &'static str,
    pub(super) steps: fn() -> Vec<Step>,
}

const DEL: usize = 0;
const DEL_TOO: usize = 1;
const ATT: usize = 2;
const FREE: usize = 4;
const PRO: usize = 5;
const PRV: usize = 6;
const DAYS: u32 = 24 * 60;

fn push(repository: usize, tag: &str) -> Step {
    let tag = (!tag.is_empty()).then(|| tag.to_owned());
    Step::Push { repository, tag }
}

/// Builds with these numbers, some minutes apart.
fn builds(repository: usize, numbers: std::ops::Range<usize>) -> Vec<Step> {
    numbers.flat_map(|number| [push(repository, &format!("ci-{number}")), Step::Wait(7)]).collect()
}

fn run() -> Step {
    Step::Run(Run { seed: 1, ..Run::default() })
}

/// A run, in the middle of which something happens.
fn run_with(label: &str, nth: usize, step: Step) -> Step {
    Step::Run(Run {
        seed: 1,
        interludes: vec![Interlude { label: label.to_owned(), nth, step }],
        ..Run::default()
    })
}

/// A run in which calls of this operation are all refused.
fn run_without(label: &str) -> Step {
    let refused = (label.to_owned(), CallOutcome::Refused(400, "AccessDeniedException"), 99);
    Step::Run(Run { seed: 1, planned: vec![refused], ..Run::default() })
}

fn protecting_run() -> Step {
    Step::Run(Run { seed: 1, protects_only: true, ..Run::default() })
}

fn engine(repository: usize) -> Step {
    Step::Engine { repository }
}

fn task(repository: usize, tag: &str) -> Step {
    Step::Task { repository, tag: tag.to_owned() }
}

fn deploy(service: usize, repository: usize, tag: &str) -> Step {
    Step::Deploy { service, repository, tag: tag.to_owned() }
}

/// The function runs what a tag means, and nothing else any more.
fn function(repository: usize, tag: &str) -> Step {
    Step::Function { function: 0, repository, tag: tag.to_owned() }
}

fn hourly() -> Step {
    Step::List { cluster: 0, habit: Habit::Hourly }
}

fn pod(repository: usize, tag: &str) -> Step {
    Step::Pod { cluster: 0, repository, tag: tag.to_owned() }
}

fn file(policies: Vec<Policy>) -> Step {
    Step::File(File::new(policies))
}

fn only(apply: Apply, rules: &str) -> Step {
    file(vec![Policy::new("all", "", apply, rules)])
}

fn all(parts: impl IntoIterator<Item = Vec<Step>>) -> Vec<Step> {
    parts.into_iter().flatten().collect()
}

pub(super) const KNOWN: &[Known] = &[
    Known {
        id: "B1",
        is_mended: true,
        what: "what a service pinned goes while no task runs",
        steps: || {
            all([
                builds(DEL, 0..4),
                vec![push(DEL, "latest"), deploy(2, DEL, "latest"), Step::Scale { service: 2, tasks: 0 }],
                vec![push(DEL, "latest"), Step::Wait(3 * DAYS), run()],
            ])
        },
    },
    Known {
        id: "B4",
        is_mended: true,
        what: "what was pulled since a list was written goes",
        steps: || all([vec![hourly()], builds(DEL, 0..5), vec![pod(DEL, "ci-0"), run()]]),
    },
    Known {
        id: "B7",
        is_mended: true,
        what: "signatures under tags go, though their subject runs",
        steps: || {
            let release = Step::Release { repository: DEL, tag: "v1".to_owned(), is_signed_by_tag: true };
            let everything = "{selection: {tagPatternList: ['*']}, maximumNumberOfImages: 1}";
            all([
                vec![file(vec![Policy::new("all", "", Apply::Delete, everything).unlimited()])],
                vec![release, Step::Task { repository: DEL, tag: "v1".to_owned() }],
                builds(DEL, 0..3),
                vec![run()],
            ])
        },
    },
    Known {
        id: "B8",
        is_mended: true,
        what: "what an artifact that runs is about goes",
        steps: || {
            let artifact =
                Step::Artifact { repository: DEL, tag: "model".to_owned(), about: "base".to_owned() };
            all([
                builds(DEL, 0..4),
                vec![push(DEL, "base"), artifact],
                vec![Step::Task { repository: DEL, tag: "model".to_owned() }, push(DEL, "base")],
                vec![Step::Wait(3 * DAYS), run()],
            ])
        },
    },
    Known {
        id: "B9",
        is_mended: true,
        what: "a list that says nothing all at once is believed",
        steps: || {
            all([
                vec![hourly()],
                builds(DEL, 0..5),
                vec![pod(DEL, "ci-0"), Step::Wait(2 * DAYS), run()],
                vec![Step::List { cluster: 0, habit: Habit::Blind }, Step::Wait(60)],
                builds(DEL, 5..7),
                vec![run()],
            ])
        },
    },
    Known {
        id: "B10",
        is_mended: true,
        what: "one look is for many repositories",
        steps: || {
            let start = function(DEL_TOO, "ci-0");
            // Pulled today before, so that another pull is not seen.
            let before = vec![start.clone(), function(DEL, "ci-4")];
            all([
                builds(DEL, 0..5),
                builds(DEL_TOO, 0..5),
                before,
                vec![run_with("BatchDeleteImage", 0, start)],
            ])
        },
    },
    Known {
        id: "B14",
        is_mended: true,
        what: "older images go though the newest were deleted by hand",
        steps: || {
            let by_hand = Step::Delete { repository: DEL, newest: 3 };
            all([builds(DEL, 0..5), vec![run_with("DescribeImages del/app", 0, by_hand)]])
        },
    },
    Known {
        id: "C1",
        is_mended: true,
        what: "archived images count as left",
        steps: || {
            all([
                vec![only(Apply::Delete, GREEDY)],
                builds(DEL, 0..9),
                vec![Step::Archive { repository: DEL, oldest: 5 }, Step::Wait(3 * DAYS), run()],
            ])
        },
    },
    Known {
        id: "C1",
        is_mended: true,
        what: "what an index lists that somebody archived counts as left",
        steps: || {
            let release = Step::Release { repository: DEL, tag: "v1".to_owned(), is_signed_by_tag: false };
            all([
                vec![push(DEL, ""), Step::Wait(3 * DAYS), release],
                vec![Step::Archive { repository: DEL, oldest: 1 }, run()],
            ])
        },
    },
    Known {
        id: "C2",
        is_mended: true,
        what: "what is archived is not in the journal",
        steps: || {
            all([
                vec![only(
                    Apply::Delete,
                    "{selection: {tagPrefixList: [ci-]}, maximumDaysSincePull: 1, action: archive}",
                )],
                builds(DEL, 0..3),
                vec![Step::Wait(3 * DAYS)],
                builds(DEL, 3..9),
                vec![run()],
            ])
        },
    },
    Known {
        id: "C4",
        is_mended: true,
        what: "the registry has no limit",
        steps: || {
            let policy = Policy::new("all", "", Apply::Delete, TIDY).unlimited();
            let limited = Step::File(File { limits: (4, 25), ..File::new(vec![policy]) });
            all([vec![limited], builds(DEL, 0..6), builds(DEL_TOO, 0..6), vec![run()]])
        },
    },
    Known {
        id: "C4b",
        is_mended: true,
        what: "a file is enforced that was not previewed",
        steps: || {
            let file = Step::File(File { is_approved: false, ..File::usual() });
            all([vec![file], builds(DEL, 0..5), vec![run()]])
        },
    },
    Known {
        id: "C5",
        is_mended: true,
        what: "a policy goes on after it is withdrawn",
        steps: || all([builds(DEL, 0..5), vec![run_with("the batches", 0, only(Apply::Preview, TIDY))]]),
    },
    Known {
        id: "C6",
        is_mended: true,
        what: "a hold that is put on after the inventory does not hold",
        steps: || {
            let hold = Step::Hold { repository: DEL, is_held: true };
            all([builds(DEL, 0..5), vec![run_with("the batches", 0, hold)]])
        },
    },
    Known {
        id: "C7",
        is_mended: true,
        what: "batches of an inventory that was given up are worked on",
        steps: || {
            let corrected = file(vec![
                Policy::new("careful", "free/", Apply::Preview, TIDY),
                Policy::new("all", "", Apply::Delete, TIDY),
            ]);
            let interlude = Interlude { label: "another try".to_owned(), nth: 0, step: corrected };
            let kill = Some(("/batches/".to_owned(), 0, true));
            let run = Run { seed: 1, kill, interludes: vec![interlude], ..Run::default() };
            all([vec![only(Apply::Delete, TIDY)], builds(DEL, 0..5), vec![Step::Run(run)]])
        },
    },
    Known {
        id: "protected-once",
        is_mended: true,
        what: "a rule of our own takes what ran until now",
        steps: || {
            all([
                vec![only(Apply::Attach, "{selection: untagged, maximumAgeLimit: 90}")],
                vec![push(ATT, "latest"), deploy(0, ATT, "latest"), push(ATT, "latest")],
                vec![Step::Wait(2 * DAYS), run()],
                vec![deploy(0, ATT, "latest"), deploy(0, DEL, "latest")],
                vec![push(ATT, "latest"), deploy(0, ATT, "latest")],
                vec![Step::Wait(DAYS), run(), Step::Wait(DAYS), engine(ATT)],
            ])
        },
    },
    Known {
        id: "A2",
        is_mended: true,
        what: "an attached policy goes on where a tag cannot be put",
        steps: || {
            all([
                builds(ATT, 0..3),
                vec![run(), task(ATT, "ci-0"), Step::Wait(60), run_without("PutImage")],
                builds(ATT, 3..5),
                vec![engine(ATT)],
            ])
        },
    },
    Known {
        id: "A2",
        is_mended: true,
        what: "an attached policy goes on where the manifest of what runs cannot be read",
        steps: || {
            all([
                builds(ATT, 0..3),
                vec![run(), task(ATT, "ci-0"), Step::Wait(60), run_without("BatchGetImage")],
                builds(ATT, 3..5),
                vec![engine(ATT)],
            ])
        },
    },
    Known {
        id: "A2",
        is_mended: true,
        what: "an attached policy goes on in a repository that cannot be read",
        steps: || {
            all([
                builds(ATT, 0..3),
                vec![run(), task(ATT, "ci-0"), Step::Wait(60), run_without("DescribeImages att/app")],
                builds(ATT, 3..5),
                vec![engine(ATT)],
            ])
        },
    },
    Known {
        id: "A4",
        is_mended: true,
        what: "a tag that moves between the look and the end of a use takes the image along",
        steps: || {
            let moves = push(ATT, "ci-0");
            all([
                builds(ATT, 0..3),
                vec![function(ATT, "ci-0"), run(), function(ATT, "ci-1")],
                vec![Step::Wait(60), run_with("DescribeImages att/app", 0, moves)],
            ])
        },
    },
    Known {
        id: "A6",
        is_mended: true,
        what: "tags that protect change what rules take",
        steps: || {
            let count = "{selection: {tagPatternList: ['*']}, maximumNumberOfImages: 4}";
            let untagged = |_| [push(ATT, "x"), Step::Wait(5), task(ATT, "x")];
            all([
                vec![only(Apply::Attach, count)],
                builds(ATT, 0..3),
                (0..4).flat_map(untagged).collect(),
                vec![run(), engine(ATT)],
            ])
        },
    },
    Known {
        id: "window",
        is_mended: true,
        what: "what comes into use before a run that only protects is not protected by it",
        steps: || {
            all([
                builds(ATT, 0..3),
                vec![run(), Step::Wait(120), task(ATT, "ci-0"), Step::Wait(50), protecting_run()],
                builds(ATT, 3..5),
                vec![engine(ATT)],
            ])
        },
    },
    Known {
        id: "A8",
        is_mended: true,
        what: "an attached policy goes on though the file says so no more",
        steps: || {
            all([
                builds(ATT, 0..3),
                vec![
                    run(),
                    only(Apply::Preview, TIDY),
                    task(ATT, "ci-0"),
                    Step::Wait(60),
                    run(),
                    Step::Wait(120),
                ],
                builds(ATT, 3..5),
                vec![engine(ATT)],
            ])
        },
    },
    Known {
        id: "A8",
        is_mended: true,
        what: "an attached policy goes on where the file is for nothing any more",
        steps: || all([builds(ATT, 0..3), vec![run(), file(Vec::new()), Step::Wait(60), protecting_run()]]),
    },
    Known {
        id: "A8",
        is_mended: true,
        what: "an attached policy goes on though Enforce is off",
        steps: || {
            all([builds(ATT, 0..3), vec![run(), Step::Enforce(false), Step::Wait(60), protecting_run()]])
        },
    },
    Known {
        id: "A8",
        is_mended: true,
        what: "an attached policy goes on by a file that is not valid",
        steps: || {
            let broken = Step::File(File { is_broken: true, ..File::usual() });
            all([builds(ATT, 0..3), vec![run(), broken, Step::Wait(60), protecting_run()]])
        },
    },
    Known {
        id: "gap",
        is_mended: true,
        what: "an attached policy goes on where a list is lost",
        steps: || {
            let lost = Step::List { cluster: 0, habit: Habit::Lost };
            all([
                vec![hourly()],
                builds(ATT, 0..3),
                vec![pod(ATT, "ci-2"), Step::Wait(60), run(), pod(ATT, "ci-0"), lost, Step::Wait(60)],
                vec![protecting_run()],
                builds(ATT, 3..5),
                vec![engine(ATT)],
            ])
        },
    },
    Known {
        id: "A9",
        is_mended: true,
        what: "who may only push gets anything deleted by a tag of ours",
        steps: || {
            all([
                vec![only(Apply::Attach, "{selection: untagged, maximumAgeLimit: 90}")],
                builds(ATT, 0..3),
                vec![run(), push(ATT, "ecr-steward-released-x"), Step::Wait(2 * DAYS), engine(ATT)],
            ])
        },
    },
    Known {
        id: "unprotected",
        is_mended: true,
        what: "an image goes whose protection tag somebody gave to another one before",
        steps: || {
            all([
                builds(ATT, 0..3),
                vec![Step::Forge { repository: ATT, victim: 0, holder: 2 }],
                vec![task(ATT, "ci-0"), Step::Wait(60), run()],
                builds(ATT, 3..5),
                vec![engine(ATT)],
            ])
        },
    },
    Known {
        id: "unprotected",
        is_mended: true,
        what: "what a service goes back to goes where services could not be listed when the run began",
        steps: || {
            let refused = ("ListServices".to_owned(), CallOutcome::Refused(400, "AccessDeniedException"), 1);
            let run_once_refused = Step::Run(Run { seed: 1, planned: vec![refused], ..Run::default() });
            all([
                builds(ATT, 0..3),
                vec![push(ATT, "latest"), deploy(0, ATT, "latest"), push(ATT, "latest")],
                vec![deploy(0, ATT, "latest"), Step::Wait(2 * DAYS), run_once_refused, engine(ATT)],
            ])
        },
    },
    Known {
        id: "window",
        is_mended: true,
        what: "a repository that comes under a policy during a run is not protected any more by what it was made with",
        steps: || {
            let bare = Step::Policy { repository: PRV, policy: Foreign::Bare(TIDY) };
            let guarded = Step::Policy { repository: PRV, policy: Foreign::Guarded(TIDY) };
            let hold = Step::Hold { repository: PRV, is_held: true };
            all([
                builds(PRV, 0..3),
                vec![
                    bare,
                    run_with("the batches", 0, hold),
                    guarded,
                    task(PRV, "ci-0"),
                    Step::Wait(60),
                    run(),
                ],
                builds(PRV, 3..5),
                vec![engine(PRV)],
            ])
        },
    },
    Known {
        id: "A11",
        is_mended: true,
        what: "a policy of somebody else's is replaced and is nowhere afterwards",
        steps: || {
            let foreign = Step::Policy { repository: ATT, policy: Foreign::Bare(GREEDY) };
            all([builds(ATT, 0..3), vec![foreign, run()]])
        },
    },
    Known {
        id: "A11",
        is_mended: true,
        what: "a policy of somebody else's that begins with the protection rule is suspended and is nowhere afterwards",
        steps: || {
            let foreign = Step::Policy { repository: ATT, policy: Foreign::Guarded(GREEDY) };
            all([builds(ATT, 0..3), vec![run(), foreign, Step::Enforce(false), Step::Wait(60), run()]])
        },
    },
    Known {
        id: "unplanned",
        is_mended: true,
        what: "what ECR is about to take is not in the journal",
        steps: || all([builds(ATT, 0..5), vec![run(), engine(ATT)]]),
    },
    Known {
        id: "C4",
        is_mended: true,
        what: "what ECR is about to take does not count for the registry",
        steps: || {
            let policy = Policy::new("all", "", Apply::Attach, TIDY).unlimited();
            let limited = Step::File(File { limits: (4, 25), ..File::new(vec![policy]) });
            all([vec![limited], builds(ATT, 0..6), builds(ATT + 1, 0..6), vec![run()]])
        },
    },
    Known {
        id: "switch",
        is_mended: true,
        what: "an attached policy goes on when runs stop coming",
        steps: || {
            all([
                builds(ATT, 0..3),
                vec![run(), task(ATT, "ci-0"), Step::Wait(3 * DAYS)],
                builds(ATT, 3..5),
                vec![engine(ATT)],
            ])
        },
    },
    Known {
        id: "unprotected",
        is_mended: true,
        what: "the policy that a repository was made with takes what a service pinned",
        steps: || {
            all([
                vec![push(PRV, "latest"), deploy(2, PRV, "latest"), Step::Scale { service: 2, tasks: 0 }],
                vec![push(PRV, "latest"), Step::Wait(7), push(PRV, "latest"), run(), Step::Wait(60)],
                vec![push(PRV, "latest"), engine(PRV)],
            ])
        },
    },
    Known {
        id: "unprotected",
        is_mended: true,
        what: "somebody else's policy behind the protection rule takes what runs",
        steps: || {
            all([
                builds(PRO, 0..3),
                vec![task(PRO, "ci-0"), Step::Wait(60), protecting_run()],
                builds(PRO, 3..5),
                vec![engine(PRO)],
            ])
        },
    },
    Known {
        id: "lift-race",
        is_mended: true,
        what: "a policy is put back that another run suspended meanwhile",
        steps: || {
            let lost = Step::List { cluster: 0, habit: Habit::Lost };
            let lost = Interlude {
                label: "PutObject stack-sources/state/protection".to_owned(),
                nth: 0,
                step: lost,
            };
            let beside =
                Run { seed: 1, beside: Some((Beside::Hourly, 1)), interludes: vec![lost], ..Run::default() };
            all([
                vec![hourly()],
                builds(ATT, 0..3),
                vec![pod(ATT, "ci-2"), Step::Wait(60), run(), Step::Enforce(false), Step::Wait(60), run()],
                vec![Step::Enforce(true), Step::Wait(60), Step::Run(beside)],
            ])
        },
    },
    Known {
        id: "lift-race",
        is_mended: true,
        what: "a policy goes on that was under way to ECR while another run suspended what was there",
        steps: || {
            let lost = Step::List { cluster: 0, habit: Habit::Lost };
            let record = "PutObject stack-sources/state/protection/att/app".to_owned();
            let lost = Interlude { label: record, nth: 0, step: lost };
            let slow =
                ("PutLifecyclePolicy att/app".to_owned(), CallOutcome::Silent { has_effect: false }, 2);
            let beside = Run {
                seed: 1,
                beside: Some((Beside::Hourly, 1)),
                interludes: vec![lost],
                planned: vec![slow],
                ..Run::default()
            };
            let foreign = Step::Policy { repository: ATT, policy: Foreign::Guarded(GREEDY) };
            all([
                vec![hourly()],
                builds(ATT, 0..3),
                vec![pod(ATT, "ci-2"), Step::Wait(60), run(), foreign, Step::Run(beside)],
            ])
        },
    },
];

/// The steps that show something.
type Shows = fn() -> Vec<Step>;

/// What nobody can know in time, and no promise is about: each with the steps that show it.
pub(super) const NOT_PROMISED: &[(&str, Shows)] = &[
    ("a hold that is put on between the reading of tags and the call that attaches", || {
        let hold = Step::Hold { repository: ATT, is_held: true };
        all([builds(ATT, 0..5), vec![run_with("PutObject stack-sources/state/protection/att/app", 0, hold)]])
    }),
    ("a repository that asks for protection while a run is under way", || {
        let asks = Step::Ask { repository: FREE, is_on: true };
        let guarded = Step::Policy { repository: FREE, policy: Foreign::Guarded(TIDY) };
        all([
            builds(FREE, 0..3),
            vec![guarded, task(FREE, "ci-0"), Step::Wait(60)],
            builds(FREE, 3..5),
            vec![run_with("the batches", 0, asks)],
        ])
    }),
    ("a policy that cannot be suspended, which the report says", || {
        let refused =
            |label: &str| (label.to_owned(), CallOutcome::Refused(400, "AccessDeniedException"), 99);
        let planned = ["GetObject stack-sources/state/protection/att/app", "GetLifecyclePolicy att/app"];
        let planned = planned.map(refused).to_vec();
        all([
            builds(ATT, 0..3),
            vec![run(), Step::Enforce(false), Step::Wait(60)],
            vec![Step::Run(Run { seed: 1, protects_only: true, planned, ..Run::default() })],
        ])
    }),
];

/// What comes into use between two runs is protected by the next one: README says how long that may be.
pub(super) const BETWEEN_RUNS: fn() -> Vec<Step> = || {
    all([
        builds(ATT, 0..3),
        vec![run(), Step::Wait(120), task(ATT, "ci-0"), Step::Wait(120)],
        builds(ATT, 3..5),
        vec![engine(ATT)],
    ])
};

/// Whether a promise is known not to hold yet.
pub(super) fn is_known(id: &str) -> bool {
    KNOWN.iter().any(|known| known.id == id && !known.is_mended)
}
