//! Slim views of Kubernetes objects: the fields a mesh reads and no others.
//!
//! A full Pod takes some thirty times the memory of the view, and most of it is never looked at. Everything is optional
//! when read: a missing field and a null give the default, since Kubernetes writes both.

mod base;
mod endpoints;
mod ingress;
mod node;
mod pod;
mod reference_grant;
mod secret;
mod service;

pub use base::{ApiGroupKind, IntOrString, ObjectMeta, ObjectReference, OwnerReference};
pub use endpoints::{
    Endpoint, EndpointAddress, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice,
    EndpointSubset, EndpointZone, Endpoints,
};
pub use ingress::{
    Ingress, IngressBackend, IngressClass, IngressClassSpec, IngressHttp, IngressPath, IngressPort,
    IngressRule, IngressService, IngressSpec, IngressTls,
};
pub use node::{Namespace, Node, NodeAddress, NodeStatus};
pub use pod::{Container, ContainerPort, Pod, PodCondition, PodIp, PodSpec, PodStatus};
pub use reference_grant::{ReferenceGrant, ReferenceGrantFrom, ReferenceGrantSpec, ReferenceGrantTo};
pub use secret::{ConfigMap, Secret};
pub use service::{
    LoadBalancerIngress, LoadBalancerStatus, Service, ServiceBody, ServicePort, ServiceSpec, ServiceStatus,
};
