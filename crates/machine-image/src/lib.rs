//! Images of systems for virtual machines: what there is, how they get here, what is in them, and the seed that makes a
//! machine of one.
//!
//! In: an image's name, address or path, and a cache folder. Out: a file that a hypervisor can use, with what is known of its content.
#![forbid(unsafe_code)]
