//! Being a plugin of the docker command line: `docker machine ls` runs `docker-machine [docker's flags] machine ls`.
//!
//! Docker starts every `~/.docker/cli-plugins/docker-*` with `docker-cli-plugin-metadata` to learn what it is, and then
//! with all of its own arguments (cli-plugins/manager of docker/cli).

use serde_json::json;

use crate::version;

/// The command by which docker asks what this program is.
pub const METADATA: &str = "docker-cli-plugin-metadata";

/// The word by which docker calls this plugin.
pub const NAME: &str = "machine";

/// The variable that docker sets when it runs a plugin: docker's own argv[0].
const ORIGINAL: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";

/// What docker reads of a plugin.
pub fn metadata() -> serde_json::Value {
    json!({
        "SchemaVersion": "0.1.0",
        "Vendor": "Docker Machine Contributors",
        "Version": version::VERSION,
        "ShortDescription": "Create and manage machines running Docker",
    })
}

/// Whether docker runs this program as its plugin.
pub fn is_plugin(args: &[String]) -> bool {
    std::env::var_os(ORIGINAL).is_some() || args.first().is_some_and(|word| word == NAME)
}

/// The arguments that are for this program: without docker's own flags and the word `machine`. `-D` of docker is ours,
/// too; `docker help machine` is `help`.
pub fn own_arguments(args: &[String]) -> Vec<String> {
    if !is_plugin(args) {
        return args.to_vec();
    }
    let Some(at) = args.iter().position(|word| word == NAME) else { return args.to_vec() };
    let (docker, own) = (&args[..at], &args[at + 1..]);
    let mut out: Vec<String> =
        docker.iter().filter(|word| ["-D", "--debug", "help"].contains(&word.as_str())).cloned().collect();
    out.extend_from_slice(own);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_s_own_flags_are_not_ours() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(own_arguments(&words("machine ls -q")), words("ls -q"));
        assert_eq!(own_arguments(&words("ls machine")), words("ls machine"));
        assert_eq!(own_arguments(&words("machine inspect machine")), words("inspect machine"));
    }
}
