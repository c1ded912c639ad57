//! The state machine of a run, with functions that are killed, fail, and are tried again.

use std::time::Duration;

use serde_json::Value;
use tests::cloud::BUCKET;

use super::judge::Invocation;
use super::product::{self, Failed, Product, Taken};
use super::step::Run;
use super::wire::Shared;
use super::world::Weather;

/// So often Step Functions tries again.
const RETRIES: usize = 4;

/// How an invocation ended.
enum Ended<T> {
    Answered(T),
    Failed(Failed),
    /// It was killed, or cut off.
    Killed,
}

/// One world's functions.
pub(super) struct Machine {
    shared: Shared,
    product: Option<Product>,
}

impl Machine {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { shared: shared.clone(), product: None }
    }

    /// What a run meets is what the world is like from now on.
    pub(super) fn meet(&self, spec: &Run) {
        fastrand::seed(spec.seed);
        let mut world = self.shared.lock();
        world.rng = fastrand::Rng::with_seed(spec.seed);
        world.weather = Weather { rate: spec.rate, planned: spec.planned.clone(), kill: spec.kill.clone() };
        world.interludes.clone_from(&spec.interludes);
    }

    /// Every call succeeds again.
    pub(super) fn clear_up(&self) {
        let mut world = self.shared.lock();
        world.weather = Weather::default();
        world.interludes.clear();
    }

    /// A scheduled run, to its end.
    pub(super) async fn run(&mut self, is_dry: bool, protects_only: bool) {
        let (id, taken) = {
            let mut world = self.shared.lock();
            world.runs += 1;
            let id = format!("r{}", world.runs);
            world.begin_run(&id, is_dry, protects_only);
            let how = match (is_dry, protects_only, world.is_enforcing) {
                (true, _, _) => ", a dry one",
                (false, true, _) => ", which only protects",
                (false, false, true) => "",
                (false, false, false) => ", with Enforce off",
            };
            world.say(&format!("run {id} begins{how}"));
            let now = world.now();
            (id.clone(), product::begin(&id, now, is_dry, protects_only))
        };
        let error = self.work(&id, taken).await;
        let mut world = self.shared.lock();
        world.invocation = None;
        let end = error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        world.say(&format!("run {id} ends{end}"));
        world.end_run(&id, error.is_none());
    }

    /// The dead man's switch, which Lambda tries three times.
    pub(super) async fn switch(&mut self) {
        let mut is_done = false;
        for _ in 0..3 {
            let invocation = {
                let mut world = self.shared.lock();
                world.runs += 1;
                let id = format!("s{}", world.runs);
                let invocation = Invocation::new(&world, &id, false, None);
                world.invocation = Some(invocation.clone());
                invocation
            };
            match self.invoke(&invocation, &async |product, _| product.suspend_stale().await).await {
                Ended::Answered(()) => is_done = true,
                Ended::Failed(failed) => {
                    let what = format!("{}: the switch failed: {}", invocation.run, failed.message);
                    self.shared.lock().say(&what);
                }
                Ended::Killed => {
                    self.shared.lock().say(&format!("{}: the switch was killed", invocation.run))
                }
            }
            {
                let mut world = self.shared.lock();
                world.end_switch(is_done);
                world.invocation = None;
            }
            if is_done {
                return;
            }
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
    }

    /// What the state machine does with a file that is not valid.
    async fn suspend_all(&mut self, id: &str, reason: &str) {
        let reason = reason.to_owned();
        let suspended =
            self.task(id, false, None, async |product, _| product.suspend_attached(&reason).await).await;
        match suspended {
            Ok(()) => self.shared.lock().end_suspension(),
            Err(failed) => {
                self.shared.lock().say(&format!("{id}: nothing was suspended: {}", failed.message))
            }
        }
    }

    /// Why the run failed, if it did.
    async fn work(&mut self, id: &str, input: Taken) -> Option<String> {
        let mut taken = input;
        let mut error = None;
        loop {
            let state = taken.clone();
            let queue = self.shared.lock().queue();
            let answer = self
                .task(id, true, None, async |product, now| {
                    product.take_inventory(&state, &now.id, now.is_on, queue.as_deref()).await
                })
                .await;
            match answer {
                Ok(answer) => taken = answer,
                // What is protected for another reason than the file still is.
                Err(failed) if failed.is_invalid_file && !taken.run.dry_run => {
                    self.suspend_all(id, &failed.message).await;
                    taken.run.policies_file_problem = Some(failed.message);
                    continue;
                }
                Err(failed) => {
                    error = Some(failed.message);
                    break;
                }
            }
            if taken.is_complete() {
                break;
            }
        }
        self.shared.lock().pause("the batches");
        if error.is_none() {
            for key in self.keys(&taken) {
                let mut task = product::task(&taken, &key);
                while !task.is_complete {
                    let state = task.clone();
                    match self
                        .task(id, false, Some(&key), async |product, now| {
                            product.work(&state, now.is_on).await
                        })
                        .await
                    {
                        Ok(answer) => task = answer,
                        Err(failed) => {
                            error = Some(failed.message);
                            break;
                        }
                    }
                }
            }
        }
        self.shared.lock().pause("the report");
        let reported = {
            let (taken, error) = (taken.clone(), error.clone());
            self.task(id, false, None, async |product, _| product.report(&taken, error.clone()).await).await
        };
        let error = error.or_else(|| taken.run.policies_file_problem.clone());
        match (&error, &reported) {
            (None, Ok(_)) => {
                let mut world = self.shared.lock();
                world.complete_run(id);
                world.judge_report(id);
            }
            (None, Err(failed)) => return Some(failed.message.clone()),
            (Some(_), _) => {}
        }
        error
    }

    /// The keys of the batches, as the state machine's map reads them.
    fn keys(&self, taken: &Taken) -> Vec<String> {
        let path = format!("{BUCKET}/{}", taken.batches_key());
        let text = self.shared.lock().aws.cloud(|cloud| cloud.object_text(&path));
        let list: Value = text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let keys = list.as_array().into_iter().flatten();
        keys.filter_map(|batch| Some(batch["key"].as_str()?.to_owned())).collect()
    }

    /// A task of the state machine: an invocation that is tried again.
    async fn task<T>(
        &mut self,
        id: &str,
        is_inventory: bool,
        key: Option<&str>,
        work: impl AsyncFn(&Product, &Invocation) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let mut pause = Duration::from_secs(10);
        let mut tries = 0;
        loop {
            let invocation = {
                let mut world = self.shared.lock();
                if is_inventory {
                    world.begin_attempt(id);
                }
                let invocation = Invocation::new(&world, id, is_inventory, key);
                world.invocation = Some(invocation.clone());
                invocation
            };
            let failed = match self.invoke(&invocation, &work).await {
                Ended::Answered(answer) => return Ok(answer),
                Ended::Failed(failed) if !failed.is_retried => return Err(failed),
                Ended::Failed(failed) => failed,
                Ended::Killed => Failed::killed(),
            };
            let what = key.unwrap_or(if is_inventory { "the inventory" } else { "the report" });
            self.shared.lock().say(&format!("{id}: {what} failed: {}", failed.message));
            tries += 1;
            if tries > RETRIES {
                return Err(failed);
            }
            self.shared.lock().pause("another try");
            tokio::time::sleep(pause * (1 + fastrand::u32(..1000)) / 1000).await;
            pause *= 3;
        }
    }

    async fn invoke<T>(
        &mut self,
        invocation: &Invocation,
        work: &impl AsyncFn(&Product, &Invocation) -> Result<T, Failed>,
    ) -> Ended<T> {
        let killed = {
            let world = self.shared.lock();
            world.killed[self.shared.actor].clone()
        };
        let product = self.product.get_or_insert_with(|| Product::start(&self.shared));
        let ended = tokio::select! {
            biased;
            () = killed.notified() => Ended::Killed,
            // Lambda cuts a function off that does not answer.
            () = tokio::time::sleep(Duration::from_secs(901)) => Ended::Killed,
            answer = work(product, invocation) => match answer {
                Ok(answer) => Ended::Answered(answer),
                Err(failed) => Ended::Failed(failed),
            },
        };
        if matches!(ended, Ended::Killed) {
            self.product = None;
        }
        ended
    }
}
