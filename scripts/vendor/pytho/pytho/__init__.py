"""Numerical ground work of the rating models: a stand-in small enough to read."""

from __future__ import annotations

import numpy as np

__version__ = "4.2.0"


def logistic(scores: np.ndarray) -> np.ndarray:
    """Probabilities of default from linear scores."""
    return 1.0 / (1.0 + np.exp(-scores))
