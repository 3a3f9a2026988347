"""Differential privacy: settings, accounting, and the private part of a training step."""

from jaxlm.privacy.plan import PrivacyPlan, make_plan
from jaxlm.privacy.settings import Privacy

__all__ = ["Privacy", "PrivacyPlan", "make_plan"]
