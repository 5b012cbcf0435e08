"""What holds for all tests."""

from hypothesis import settings

pytest_plugins = ["tests.support.stores", "tests.support.fixtures"]

# How long an example takes says something of the machine and what else it does, nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
