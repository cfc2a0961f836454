//! What a host's probe prints, which a host may make up: an error or facts that can be used.
#![no_main]

use libfuzzer_sys::fuzz_target;
use machine_provision::HostFacts;

fuzz_target!(|text: &str| {
    let Ok(facts) = HostFacts::parse(text) else { return };
    let _ = (facts.clock_skew_s(0), facts.clock_skew_s(u64::MAX), facts.engine.version_number());
    let _ = facts.display_name();
});
