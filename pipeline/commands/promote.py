"""`session-risk promote`: the same as `session-risk model promote`."""

from pipeline.commands.model import promote as command

__all__ = ["command"]
