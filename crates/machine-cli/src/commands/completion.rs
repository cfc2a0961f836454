//! `completion`: what makes a shell complete commands, flags, machines and drivers.

use crate::args::{Arguments, Command, Group};
use crate::complete;
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::output;

/// The shells for which there is a script.
const SHELLS: &[&str] = &["bash", "zsh", "fish", "powershell"];

/// The declaration.
pub const COMMAND: Command = Command {
    name: "completion",
    about: "Print a script that makes a shell complete this program's command lines",
    description: "Argument is a shell: bash, zsh, fish or powershell. The script asks this program what fits, so that \
                  names of machines, drivers and their flags are always those that there are.",
    arguments: Arguments::Words(SHELLS),
    flags: &[],
    examples: &[
        ("source <(docker-machine completion bash)", "in ~/.bashrc; the same with zsh in ~/.zshrc"),
        ("docker-machine completion fish > ~/.config/fish/completions/docker-machine.fish", "for fish"),
        ("docker-machine completion powershell | Out-String | Invoke-Expression", "in $PROFILE"),
    ],
    group: Group::Program,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let [shell] = invocation.args.words() else {
        return Err(CliError::new("Error: Expected the name of a shell as an argument")
            .with_hint(format!("one of {}", SHELLS.join(", "))));
    };
    if !SHELLS.contains(&shell.as_str()) {
        return Err(CliError::new(format!("There is no completion for the shell {shell:?}"))
            .with_hint(format!("one of {}", SHELLS.join(", "))));
    }
    output::print(&complete::script(shell)?)
}
