//! config.json, as other programs, crashes and hands leave it: an error or a record, and a record that is written is
//! read back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use machine_store::{parse_config, to_json};

fuzz_target!(|bytes: &[u8]| {
    let Ok(machine) = parse_config(bytes) else { return };
    let text = to_json(&machine);
    let again = parse_config(text.as_bytes()).expect("what was written is read");
    assert_eq!(text, to_json(&again));
});
