"""The simulated companies: people, devices, networks, software, operations and honest working days."""
