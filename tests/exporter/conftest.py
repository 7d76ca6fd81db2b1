"""A graph to build."""

import pytest
from helpers.graphs import write_graph


@pytest.fixture
def graph(tmp_path):
    """Any batch, height and width, all in half."""
    return write_graph(tmp_path / "any.onnx")
