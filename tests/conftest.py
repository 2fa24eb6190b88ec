"""Settings every test shares."""

from hypothesis import settings

# Two busy cores make any single example slow; what matters is that it ends.
settings.register_profile("edge", deadline=None, print_blob=True)
settings.load_profile("edge")
