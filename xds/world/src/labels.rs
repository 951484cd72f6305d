//! Labels and the selectors that match them.

use crate::Str;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A shared, ordered set of labels (or annotations).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Arc<BTreeMap<Str, Str>>);

impl Labels {
    /// The value of `key`, if it is set.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|v| &**v)
    }

    /// Whether no label is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All labels, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (&**k, &**v))
    }

    /// Whether these labels hold every pair of `selector`. An empty selector matches everything.
    pub fn matches<'a, I, K, V>(&self, selector: I) -> bool
    where
        I: IntoIterator<Item = (&'a K, &'a V)>,
        K: AsRef<str> + 'a + ?Sized,
        V: AsRef<str> + 'a + ?Sized,
    {
        selector.into_iter().all(|(k, v)| self.get(k.as_ref()) == Some(v.as_ref()))
    }

    /// Whether these labels hold every pair of the labels `selector`.
    pub fn contains_all(&self, selector: &Labels) -> bool {
        selector.iter().all(|(k, v)| self.get(k) == Some(v))
    }

    /// These labels with more set. Nothing to set shares what is there.
    pub fn with_all<'a>(&self, more: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut more = more.into_iter().peekable();
        if more.peek().is_none() {
            return self.clone();
        }
        let mut map = (*self.0).clone();
        map.extend(more.map(|(k, v)| (k.into(), v.into())));
        Self(Arc::new(map))
    }

    /// These labels with `key` set to `value`.
    pub fn with(&self, key: &str, value: &str) -> Self {
        let mut map = (*self.0).clone();
        map.insert(key.into(), value.into());
        Self(Arc::new(map))
    }
}

impl<K: Into<Str>, V: Into<Str>> FromIterator<(K, V)> for Labels {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(iter: T) -> Self {
        Self(Arc::new(iter.into_iter().map(|(k, v)| (k.into(), v.into())).collect()))
    }
}
