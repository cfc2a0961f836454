//! What a host is, and how a Docker engine gets there: plans and their renderers.
