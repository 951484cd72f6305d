//! EDS: the endpoints of clusters, by locality.
