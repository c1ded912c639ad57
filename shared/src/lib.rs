//! The library of ecr-steward: its decisions, and its calls to AWS. `functions/` and `cli/` are thin around it.
//!
//! Data flows one way: an event or a command line becomes a typed request, a pure decision turns it into actions, the actions are
//! carried out on AWS, and a report says what happened.
//!
//! | band | contains | may use |
//! | --- | --- | --- |
//! | `shell` | what every Lambda function needs around its work: environment, logs | all below |
//! | [`handlers`] | requests of the HTTP API and of CloudFormation, and their answers | `workflows`, `domain` |
//! | `workflows` | several calls to AWS in an order that is safe to interrupt | `aws`, `report`, `domain` |
//! | `aws` | one file for each AWS service; nothing else calls AWS | `domain` |
//! | [`report`] | reports as JSON, table, page and mail | `domain` |
//! | [`domain`] | decisions: pure, without AWS, clock, environment or async | nothing |
//!
//! Features keep a program from compiling what it does not use: `aws` has the calls to ECR, `signed` those to services without a
//! client of the SDK, `builds` and `lifecycle` what building images and enforcing policies need in addition, `function` what a
//! Lambda function needs before its first event.

#[cfg(feature = "aws")]
pub mod aws;
pub mod domain;
pub mod handlers;
pub mod report;
pub mod shell;
#[cfg(feature = "aws")]
pub mod workflows;
