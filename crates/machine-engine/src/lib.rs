//! A client of the Docker Engine API: ping, version, info, containers for Swarm.
