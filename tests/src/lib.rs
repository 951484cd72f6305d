//! The rig of the integration tests: real parts, each a child process that never outlives the test.
//!
//! - a real etcd and kube-apiserver ([`apiserver`]), and what it takes to fill them with YAML ([`objects`],
//!   [`cluster`]) and to lose the way to them ([`relay`]);
//! - network namespaces as pods ([`netns`]) with Istio's interception rules ([`interception`]);
//! - stock Envoys in them ([`envoy`], [`bootstrap`]) with their certificates ([`sds`]), and workloads of our own ([`app`], [`client`]);
//! - whom proxies ask or trust: an authorization service ([`ext_authz`]), who signs tokens ([`jwt`]);
//! - `meltemi agent` in the place of both ([`agent`]), with a certificate authority that a test leads ([`authority`]);
//! - clients of xDS that send just what they are told ([`xds_client`]) or what an Envoy would ([`proxy`]);
//! - a server of the keys of JWT issuers ([`issuer`]);
//! - meshes of all that ([`mesh`], [`shop`]), scenarios that share one ([`scenario`]), and what chance allows ([`odds`]);
//! - clients of TLS servers ([`tls`]);
//! - the control plane under test ([`meltemi`]), fed from files ([`state`]) or by the apiserver, or its engine in the
//!   test's own process ([`plane`]);
//! - what is honoured of Istio's API, as tables that are checked against it ([`compat`]).
//!
//! Nothing here waits for a time to pass: [`wait::until`] waits for a condition, with a deadline.
//! Everything that listens in a namespace is out of reach of, and can't collide with, the machine's own ports.

pub mod agent;
pub mod apiserver;
pub mod app;
pub mod authority;
pub mod bootstrap;
pub mod call;
pub mod client;
pub mod cluster;
pub mod compat;
pub mod envoy;
pub mod ext_authz;
pub mod http;
pub mod interception;
pub mod issuer;
pub mod jwt;
pub mod load;
pub mod meltemi;
pub mod mesh;
pub mod netns;
pub mod objects;
pub mod odds;
pub mod parity;
pub mod plane;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod relay;
pub mod root;
pub mod scenario;
pub mod scratch;
pub mod sds;
pub mod server;
pub mod setup;
pub mod shop;
pub mod state;
pub mod swarm;
pub mod tls;
pub mod wait;
pub mod workload;
pub mod xds_client;
