//! What tests share: the driver conformance suite, fakes with fault scripts, lab hosts, a delaying proxy.
