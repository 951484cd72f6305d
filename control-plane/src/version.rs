//! What this binary is.

use serde::Serialize;
use std::fmt;

/// A build, in the fields that istiod prints.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Build {
    /// The version.
    pub version: &'static str,
    /// The revision of the source.
    #[serde(rename = "revision")]
    pub git_revision: &'static str,
    /// The compiler; the name of the field is istiod's.
    #[serde(rename = "golang_version")]
    pub compiler: &'static str,
    /// `Clean`, or `Modified` if the source was not the revision's.
    pub status: &'static str,
    /// The image's tag.
    pub tag: &'static str,
}

/// This build. Release builds set the variables; `cargo build` alone leaves them out.
pub const BUILD: Build = Build {
    version: or(option_env!("MELTEMI_VERSION"), env!("CARGO_PKG_VERSION")),
    git_revision: or(option_env!("MELTEMI_GIT_REVISION"), "unknown"),
    compiler: "rust",
    status: or(option_env!("MELTEMI_BUILD_STATUS"), "unknown"),
    tag: or(option_env!("MELTEMI_TAG"), or(option_env!("MELTEMI_VERSION"), env!("CARGO_PKG_VERSION"))),
};

const fn or(set: Option<&'static str>, default: &'static str) -> &'static str {
    match set {
        Some(text) => text,
        None => default,
    }
}

/// `VERSION-REVISION-STATUS`: istioctl and Kiali take it apart at the dashes.
impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.version, self.git_revision, self.status)
    }
}

/// What `meltemi version` prints.
pub fn text(output: Option<&str>, short: bool) -> String {
    let json = serde_json::json!({ "clientVersion": BUILD });
    match output {
        Some("json") => format!("{json:#}"),
        Some("yaml") => serde_saphyr::to_string(&json).unwrap_or_default().trim_end().to_owned(),
        _ if short => BUILD.version.to_owned(),
        _ => BUILD.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_printed_in_each_form() {
        assert_eq!(text(None, false).matches('-').count(), 2);
        let json: serde_json::Value = serde_json::from_str(&text(Some("json"), false)).unwrap();
        assert_eq!(json["clientVersion"]["version"], BUILD.version);
        assert!(text(Some("yaml"), false).starts_with("clientVersion:\n"));
        assert!(!text(None, true).contains('-'));
    }
}
