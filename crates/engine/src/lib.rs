//! The strategy: configuration, plan, run, report.
