//! Statuses of gRPC.

/// By code. Source: <https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>.
const STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The code of a status, by its name.
pub fn code(name: &str) -> Option<u32> {
    (0..).zip(STATUSES).find(|(_, known)| *known == name).map(|(code, _)| code)
}
