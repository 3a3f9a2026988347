"""No deadline for drawn examples: shared machines stall for longer than any of them takes."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
