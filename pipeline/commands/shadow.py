"""`session-risk shadow`: the same as `session-risk model shadow`."""

from pipeline.commands.model import shadow as command

__all__ = ["command"]
