"""session-risk: decides, continuously, whether a session still deserves trust.

The packages stand in the order of the data; see "The way of one event" in README.md. `models` and `schemas` lie below and
import nothing from here.
"""
