"""Questions about a text whose answers are stretches of it (extractive question answering)."""

from jaxlm.data.questions.files import SquadFiles
from jaxlm.data.questions.squad import Question

__all__ = ["Question", "SquadFiles"]
