//! The answer to power operations that a driver declares it can't do.

use machine_core::{DriverError, DriverSpec, ErrorKind, Power, PowerSupport};

/// The error for an operation that the driver itself does not do, in the declared words.
pub(crate) fn unsupported(spec: &DriverSpec, op: Power) -> DriverError {
    let can = &spec.capabilities;
    let (support, verb) = match op {
        Power::Start => (&can.start, "start"),
        Power::Stop => (&can.stop, "stop"),
        Power::Restart => (&can.restart, "restart"),
        Power::Kill => (&can.kill, "kill"),
        Power::Pause => return spec.cannot("pause hosts"),
        Power::Resume => return spec.cannot("resume hosts"),
    };
    let text = match support {
        PowerSupport::No(text) => (*text).to_owned(),
        PowerSupport::OverSsh | PowerSupport::Driver => {
            format!("the driver \"{}\" does not {verb} hosts itself", spec.name)
        }
    };
    DriverError::new(ErrorKind::Unsupported, text)
}
