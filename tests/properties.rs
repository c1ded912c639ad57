//! What holds for every policy and every repository.
