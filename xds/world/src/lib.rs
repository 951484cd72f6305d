//! The world: one immutable snapshot of everything that translation may ask.
