//! The ADS server: streams of proxies, served from a [`Source`].
#![forbid(unsafe_code)]

mod source;

pub use source::{
    Peer, ProxyHandle, Rejection, Resource, ResourceSet, Resources, Source, Subscription, Update, View,
};
