//! Other people's programs, unmodified, drive the binary: Ansible, wrappers for Node.js and Python, the Docker CLI,
//! the completion of real shells and `eval`, what GitLab Runner and Terraform modules call, real terminals.

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

mod ansible;
mod callers;
mod completion;
mod docker_cli;
mod installed;
mod node;
mod python;
mod shells;
mod terminal;
mod tmux;
