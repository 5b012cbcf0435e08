"""Learned roles of principals: what a role usually does, and how unusual an activity is for it."""
