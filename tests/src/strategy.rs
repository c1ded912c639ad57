//! Random policies and repositories.
