//! From objects as users and Kubernetes write them to the registry's services and endpoints.
