"""Differential privacy: settings, accounting, and the private part of a training step."""

from jaxlm.privacy.plan import Plan, make_plan
from jaxlm.privacy.settings import Privacy

__all__ = ["Plan", "Privacy", "make_plan"]
