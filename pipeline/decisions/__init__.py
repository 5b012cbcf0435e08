"""Decisions: policy, policy engine, guard against mass revocation, holds, risk state, explanations and output messages.

Everything here is a pure function of its arguments, so a recorded input gives the same decision to the byte.
"""
