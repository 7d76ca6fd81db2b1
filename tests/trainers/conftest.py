"""What every test of a training wants."""

import pytest

from trainers import loop


@pytest.fixture(scope="module", autouse=True)
def page():
    """Trainings end without their page, half a second of drawing; the tests of the page have it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "write_report", lambda run, notes: None)
        yield
