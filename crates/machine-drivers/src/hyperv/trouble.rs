//! What the Hyper-V module says when something fails, and what that means.
//!
//! The module's errors have an identifier, `KIND,CMDLET`, whose first part follows the return values of Hyper-V's WMI
//! classes (32769 access denied, 32772 timeout, 32774 system in use, 32775 invalid state, 32778 out of memory, …). Texts
//! are in the system's language and are only repeated.

use machine_core::{DriverError, ErrorKind};
use serde_json::Value;

/// The first part of the identifier, and what it means.
const KINDS: &[(&str, ErrorKind)] = &[
    ("AccessDenied", ErrorKind::Credentials),
    ("ObjectNotFound", ErrorKind::NotFound),
    ("OutOfMemory", ErrorKind::Quota),
    ("OperationTimeout", ErrorKind::Unavailable),
    ("SystemInUse", ErrorKind::Unavailable),
    ("SystemNotAvailable", ErrorKind::Unavailable),
    ("ObjectInUse", ErrorKind::Unavailable),
];

/// Numbers in texts that are the same in every language, and what they mean.
const NUMBERS: &[(&str, ErrorKind)] = &[
    // ERROR_DISK_FULL
    ("0x80070070", ErrorKind::Quota),
    // ERROR_OUTOFMEMORY, ERROR_NO_SYSTEM_RESOURCES
    ("0x8007000E", ErrorKind::Quota),
    ("0x800705AA", ErrorKind::Quota),
    // ERROR_ACCESS_DENIED
    ("0x80070005", ErrorKind::Credentials),
    // ERROR_SHARING_VIOLATION
    ("0x80070020", ErrorKind::Unavailable),
    // RPC_S_SERVER_UNAVAILABLE
    ("0x800706BA", ErrorKind::Unavailable),
];

/// The error that a script answered with.
pub(super) fn error(operation: &str, said: &Value) -> DriverError {
    let text = |key: &str| said.get(key).and_then(Value::as_str).unwrap_or_default().trim();
    let message =
        text("message").lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let kind = kind(text("id"), &message);
    let error = DriverError::new(kind, format!("Hyper-V refused ({operation}): {message}"));
    match hint(kind, &message) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn kind(id: &str, message: &str) -> ErrorKind {
    let word = id.split(',').next().unwrap_or_default();
    let by_number = NUMBERS.iter().find(|(number, _)| message.contains(number));
    let found = KINDS.iter().find(|(known, _)| *known == word).or(by_number);
    found.map_or(ErrorKind::Other, |(_, kind)| *kind)
}

fn hint(kind: ErrorKind, message: &str) -> Option<&'static str> {
    if message.contains("0xC03A001A") {
        return Some(
            "the store's folder must be neither compressed nor encrypted: look at its attributes in the Explorer",
        );
    }
    match kind {
        ErrorKind::Credentials => Some(
            "run it as Administrator, or become a member of the group Hyper-V Administrators and log in again",
        ),
        ErrorKind::Quota => Some(
            "this computer has too little free memory or disk: stop other machines, or give this one less",
        ),
        ErrorKind::Unavailable => Some("Hyper-V is busy; try again in a moment"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_are_known_by_what_is_the_same_in_every_language() {
        let of =
            |id: &str, message: &str| error("start", &json!({"id": id, "message": message, "category": "x"}));
        let cmdlet = "Microsoft.HyperV.PowerShell.Commands.StartVM";
        assert_eq!(
            of(&format!("AccessDenied,{cmdlet}"), "Zugriff verweigert").kind(),
            ErrorKind::Credentials
        );
        assert_eq!(of(&format!("OutOfMemory,{cmdlet}"), "x").kind(), ErrorKind::Quota);
        assert_eq!(of(&format!("OperationFailed,{cmdlet}"), "x (0x80070070)").kind(), ErrorKind::Quota);
        let other = of(&format!("OperationFailed,{cmdlet}"), "'dev' failed to start.\r\n\r\nno (0xC03A001A)");
        assert_eq!(other.kind(), ErrorKind::Other);
        assert_eq!(other.to_string(), "Hyper-V refused (start): 'dev' failed to start. no (0xC03A001A)");
        assert!(other.hint().is_some());
    }
}
