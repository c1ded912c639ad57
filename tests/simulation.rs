//! The workflows of this project over AWS in memory: one thread, time in the test's hands, everything from a seed. People push
//! and deploy, calls fail, functions are killed, ECR's own engine acts when it likes; a judge that knows what really is in use
//! looks at everything that goes.
//!
//! ```text
//! cargo test -p tests --test simulation                         # about 20 seconds of worlds
//! SIMULATION_SECONDS=240 cargo test -p tests --test simulation  # as long as this
//! SIMULATION_SEEDS=20000 …                                      # or as many as these, from SIMULATION_FROM on
//! SIMULATION_SEED=7 … -- --nocapture                            # one world, and its story
//! SIMULATION_SEED=7 SIMULATION_CALLS=1 …                        # with each call in it
//! ```

// A run within a step within a world: one future holds the others.
#![recursion_limit = "256"]

#[path = "src/simulation/mod.rs"]
mod simulation;
