//! Custom resources of CloudFormation: `Custom::EcrRepository` in [`repository`].

pub mod repository;
