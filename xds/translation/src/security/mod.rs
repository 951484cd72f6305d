//! Authentication and authorization filters.
