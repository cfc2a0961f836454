//! The command line: declarations of commands and flags, how Go's flag syntax becomes what clap takes, and the values
//! that come out.

pub mod argv;
mod clap_tree;
mod declare;
mod globals;
mod suggest;
mod values;

pub use clap_tree::{command_tree, help_of, help_text, single};
pub use declare::{Arguments, Command, Family, Flag, Group, Word, WordKind};
pub use globals::{GLOBAL_FLAGS, Globals, default_store_path};
pub use suggest::closest;
pub use values::Args;
