//! `networking.k8s.io/v1` Ingress and IngressClass.

use serde::{Deserialize, Serialize};

use super::base::{ObjectMeta, or_default};

/// An Ingress. Its status is of no interest to a mesh.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Ingress {
    /// Metadata.
    #[serde(deserialize_with = "or_default")]
    pub metadata: ObjectMeta,
    /// What is wanted.
    #[serde(deserialize_with = "or_default")]
    pub spec: IngressSpec,
}

/// `spec` of an Ingress.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSpec {
    /// The IngressClass that says who serves it.
    pub ingress_class_name: Option<String>,
    /// Where requests go that no rule matches.
    pub default_backend: Option<IngressBackend>,
    /// Certificates.
    #[serde(deserialize_with = "or_default")]
    pub tls: Vec<IngressTls>,
    /// Where requests go, by host.
    #[serde(deserialize_with = "or_default")]
    pub rules: Vec<IngressRule>,
}

/// The certificate of some hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressTls {
    /// The hosts; all where none is named.
    #[serde(deserialize_with = "or_default")]
    pub hosts: Vec<String>,
    /// The Secret with key and certificate.
    #[serde(deserialize_with = "or_default")]
    pub secret_name: String,
}

/// Where the requests for one host go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressRule {
    /// The host, which may start with `*.`; empty for all.
    #[serde(deserialize_with = "or_default")]
    pub host: String,
    /// Where HTTP requests go.
    pub http: Option<IngressHttp>,
}

/// The paths of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct IngressHttp {
    /// The paths.
    #[serde(deserialize_with = "or_default")]
    pub paths: Vec<IngressPath>,
}

/// Where the requests for one path go.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressPath {
    /// The path.
    #[serde(deserialize_with = "or_default")]
    pub path: String,
    /// `Exact`, `Prefix` or `ImplementationSpecific`; empty means the last.
    #[serde(deserialize_with = "or_default")]
    pub path_type: String,
    /// Where to.
    #[serde(deserialize_with = "or_default")]
    pub backend: IngressBackend,
}

/// What serves requests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct IngressBackend {
    /// A Service of the Ingress's namespace. The other kind of backend, a `resource`, is not read.
    pub service: Option<IngressService>,
}

/// A port of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct IngressService {
    /// The Service's name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Its port.
    #[serde(deserialize_with = "or_default")]
    pub port: IngressPort,
}

/// A port by name or by number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct IngressPort {
    /// The name; empty if it is given by number.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// The number; 0 if it is given by name.
    #[serde(deserialize_with = "or_default")]
    pub number: i32,
}

/// An IngressClass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IngressClass {
    /// Metadata.
    #[serde(deserialize_with = "or_default")]
    pub metadata: ObjectMeta,
    /// What it says.
    #[serde(deserialize_with = "or_default")]
    pub spec: IngressClassSpec,
}

/// `spec` of an IngressClass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct IngressClassSpec {
    /// Who serves Ingresses of the class.
    #[serde(deserialize_with = "or_default")]
    pub controller: String,
}
