"""The session processor: joins device posture, API calls and authentication per session and decides.

The fast path scores every event in arrays; the slow path takes the few that a detection, the model or a context
touches.
"""
