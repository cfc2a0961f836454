//! Create, resume, start, stop, remove, observe: written once for all drivers.
