//! One binary for every test that looks at the project from outside: its tree, its programs, its runbooks.
#![expect(clippy::print_stdout, reason = "counts and visible skips")]

mod azure_cli;
mod azure_reads;
mod bad_runbooks;
mod bicep;
mod canaries;
mod child;
mod clock_jumps;
mod conformance;
mod crash_matrix;
mod faults;
mod freeze;
mod generate;
mod hostile;
mod house;
mod io_errors;
mod journals;
mod kills;
mod lab;
mod laws;
mod names;
mod operate;
mod power_cuts;
mod races;
mod readme;
mod rollback_matrix;
mod rollbacks;
mod runbooks;
mod signals;
mod strace;
mod survey;
mod syscalls;
mod traffic;
mod uninterrupted;
mod wave;
