"""Fixtures for all tests. One thread everywhere: the tensors are small, and results repeat."""

import os
from pathlib import Path

import pytest

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # pytest reads this file before the tests import numpy


@pytest.fixture(scope="session")
def zoo() -> Path:
    """Folder with real trained networks (``models``), their data and data specs (``specs``).

    They may not be redistributed, so tests that need them run only where ``DYBITQ_ZOO`` names them.
    """
    folder = os.environ.get("DYBITQ_ZOO")
    if not folder:
        pytest.skip("DYBITQ_ZOO is not set: no real networks here")
    if not Path(folder, "models").is_dir():
        pytest.skip(f"DYBITQ_ZOO={folder} has no folder 'models'")
    return Path(folder)
