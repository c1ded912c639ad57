//! An evaluator of lifecycle policies that is as plain as the rules are written, to compare the real one with.
