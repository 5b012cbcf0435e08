"""How tokens come to receivers: pushes, what their answers mean, and what is held meanwhile."""
