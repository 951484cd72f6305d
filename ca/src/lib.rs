//! The certificate authority's types.
