"""The commands of `session-risk`: a module each, named as the command, with the click command as `command`.

What several commands need is elsewhere in `pipeline`; `pipeline.cli` lists them.
"""
