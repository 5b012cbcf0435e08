"""`session-risk rollback`: the same as `session-risk model rollback`."""

from pipeline.commands.model import rollback as command

__all__ = ["command"]
