//! Wire and Kubernetes types: Envoy and Istio protobufs, slim views of Kubernetes objects. No logic of the mesh.
