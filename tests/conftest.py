"""What all tests share."""

from hypothesis import settings

pytest_plugins = ["tests.cluster.fixtures"]

# On two busy cores an example may take a second that takes a millisecond alone.
settings.register_profile("podfleet", deadline=None)
settings.load_profile("podfleet")
