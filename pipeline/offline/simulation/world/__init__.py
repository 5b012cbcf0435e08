"""The simulated company: people, devices, networks and the events that their sessions emit."""
