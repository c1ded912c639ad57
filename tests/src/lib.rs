//! Shared code of the end-to-end tests.

pub mod aws_model;
pub mod binaries;
pub mod clock;
pub mod cloud;
pub mod document;
pub mod ecr_engine;
pub mod ecr_stub;
pub mod gateway;
pub mod http;
pub mod kubernetes_stub;
pub mod reference;
pub mod runtime_api;
pub mod site;
pub mod state_machine;
pub mod steward;
pub mod storefront;
pub mod strategy;
pub mod template;
pub mod terminal;
pub mod tls;
pub mod workload;
