//! Pure functions from the world and a proxy's view to Envoy resources.
