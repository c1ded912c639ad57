//! The parts of the simulation.
//!
//! | module | holds |
//! | --- | --- |
//! | [`wire`] | what carries requests from the project's code into the world, well or not |
//! | [`world`] | AWS, what is really in use, and the story of it all |
//! | [`file`] | policies files, as the world's people write them |
//! | [`step`] | what people do, and ECR's engine, and runs |
//! | [`engine`] | ECR's own engine, which knows nothing of use |
//! | [`judge`] | which promises are broken by what is deleted: rules, limits, use |
//! | [`protection`] | the same of what ECR's engine deletes, and of what keeps it from what is in use |
//! | [`events`] | Amazon ECR's events, and what a run may leave out by them |
//! | [`product`] | the project's code, as the simulation calls it |
//! | [`machine`] | the state machine of a run, with functions that are killed |
//! | [`end`] | what has to be at the end, when everything is quiet |
//! | [`known`] | what is known to be broken, each with the steps that show it |
//! | [`explore`] | worlds at random, and the shortest story of what breaks |

mod end;
mod engine;
mod events;
mod explore;
mod file;
mod judge;
mod known;
mod machine;
mod product;
mod protection;
mod step;
mod wire;
mod world;
