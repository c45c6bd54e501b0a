"""TorchVersion compares as versions do (PEP 440), with strings and with tuples."""

from __future__ import annotations

import pytest

from taper.torch_version import TorchVersion


@pytest.mark.parametrize("lower, higher", [
    ("2.9", "2.13.0"), ("2.13.0rc1", "2.13.0"), ("2.13.0.dev20", "2.13.0a1"),
    ("2.13.0", "2.13.0+cpu"), ("2.13.0", "2.13.0.post1"), ("1.10", "1.10.1"),
])  # fmt: skip
def test_versions_are_ordered(lower, higher):
    assert TorchVersion(lower) < higher and TorchVersion(higher) > lower
    assert TorchVersion(lower) <= higher and TorchVersion(higher) >= lower
    assert TorchVersion(lower) != higher


def test_zeros_at_the_end_do_not_count():
    assert TorchVersion("2.13.0") == "2.13" and TorchVersion("2.13.0") == (2, 13)


def test_a_version_is_a_string():
    version = TorchVersion("2.13.0+cpu")

    assert version.split("+")[0] == "2.13.0" and {version: 1}["2.13.0+cpu"] == 1
    assert version > "1" and version < "main"
