"""Names of devices: which are understood, and the words that refuse the others."""

from __future__ import annotations

import pytest

import taper as torch


@pytest.mark.parametrize("text", ["cpu:-1", "cuda:01", "cuda:2 ", "cuda:", "cuda1", "-1", "a:b:c"])
def test_texts_that_name_no_device_are_invalid(text):
    with pytest.raises(RuntimeError, match="Invalid device string: '"):
        torch.device(text)


def test_other_mistakes_have_words_of_their_own():
    with pytest.raises(RuntimeError, match="Device string must not be empty"):
        torch.device("")
    with pytest.raises(RuntimeError, match=r"Expected one of cpu, cuda, .* device string: other"):
        torch.device("other:1")
    with pytest.raises(RuntimeError, match="Device index must not be negative"):
        torch.device("cuda", -1)
    with pytest.raises(RuntimeError, match="must not include an index"):
        torch.device("cuda:0", 1)
    with pytest.raises(RuntimeError, match="Cannot access accelerator device when none is"):
        torch.ones(1).to(0)


def test_devices_are_their_type_and_index():
    assert torch.device("cuda:90") == torch.device("cuda", 90)
    assert (torch.device("cpu").index, torch.device("cpu:0").index) == (None, 0)
