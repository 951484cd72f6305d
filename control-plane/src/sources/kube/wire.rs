//! What an apiserver says, as text: lists and watch events whose objects are not parsed yet, since each is parsed once, into
//! the little that is kept of it.

use meltemi_world::NsName;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct Page<'a> {
    pub metadata: PageMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

impl<'a> Page<'a> {
    /// The objects.
    pub fn items(&self) -> impl Iterator<Item = &'a str> {
        self.items.iter().flatten().map(|item| item.get())
    }
}

/// The metadata of a page.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageMeta {
    /// The state of the cluster that the list shows.
    #[serde(default)]
    pub resource_version: String,
    /// How to ask for the next page; empty on the last.
    #[serde(default)]
    pub r#continue: String,
}

/// An event of a watch.
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    /// `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`.
    pub r#type: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl<'a> Event<'a> {
    /// The object.
    pub fn object(&self) -> &'a str {
        self.object.get()
    }
}

/// An object's metadata, no more.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Bare {
    metadata: BareMeta,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct BareMeta {
    name: String,
    namespace: String,
    resource_version: String,
    annotations: Option<BTreeMap<String, String>>,
}

impl Bare {
    /// Reads it of an object that may be bad otherwise.
    pub fn read(object: &str) -> Self {
        serde_json::from_str(object).unwrap_or_default()
    }

    /// The object's name.
    pub fn name(&self) -> NsName {
        NsName::new(self.metadata.namespace.as_str(), self.metadata.name.as_str())
    }

    /// The state of the cluster that made the object what it is.
    pub fn version(self) -> String {
        self.metadata.resource_version
    }

    /// Whether this bookmark ends what a watch sends first.
    pub fn ends_initial_events(&self) -> bool {
        let mark = self.metadata.annotations.as_ref().and_then(|a| a.get("k8s.io/initial-events-end"));
        mark.is_some_and(|value| value == "true")
    }
}

/// Why a watch ended.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Failure {
    /// As of HTTP.
    pub code: u16,
    /// For people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_taken_apart_without_parsing_objects() {
        let text =
            r#"{"kind":"PodList","metadata":{"resourceVersion":"7","continue":"x"},"items":[{"a":1}, 5]}"#;
        let page: Page = serde_json::from_str(text).unwrap();
        assert_eq!(page.items().collect::<Vec<_>>(), [r#"{"a":1}"#, "5"]);
        assert_eq!((page.metadata.resource_version.as_str(), page.metadata.r#continue.as_str()), ("7", "x"));
        let empty: Page = serde_json::from_str(r#"{"metadata":{},"items":null}"#).unwrap();
        assert_eq!(empty.items().count(), 0);
    }

    #[test]
    fn an_event_is_taken_apart() {
        let text = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
        let event: Event = serde_json::from_str(text).unwrap();
        let bare = Bare::read(event.object());
        assert!(bare.ends_initial_events());
        assert_eq!(bare.version(), "9");
    }
}
