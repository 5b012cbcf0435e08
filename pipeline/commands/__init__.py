"""The commands of `session-risk`: one module per command, named like it, with the click command as `command`.

`pipeline.cli` lists them. What several commands need is elsewhere in `pipeline`.
"""
