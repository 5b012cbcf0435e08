"""The principal context: baseline, known attributes, locations, concurrent sessions and usage of one user or agent."""
