//! state.json: an error or a journal, and a journal that is written is read back as it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use machine_store::Journal;

fuzz_target!(|bytes: &[u8]| {
    let Ok(journal) = serde_json::from_slice::<Journal>(bytes) else { return };
    let text = serde_json::to_string(&journal).expect("a journal can be written");
    let again: Journal = serde_json::from_str(&text).expect("what was written is read");
    assert_eq!(journal, again);
});
