"""session-risk: decides, continuously, whether a session still deserves trust.

The packages stand in the order of the data; README.md follows one event through them. `models` and `schemas` lie below
and import nothing from here.
"""
