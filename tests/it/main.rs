//! One binary for every test that looks at the project from outside: its tree, its programs, its runbooks.

mod azure_cli;
mod bad_runbooks;
mod crash_matrix;
mod house;
mod lab;
mod operate;
mod wave;
