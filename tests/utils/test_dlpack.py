"""Memory shared with other packages."""

from __future__ import annotations

import numpy as np

import taper as torch
from taper.utils.dlpack import from_dlpack


def test_an_array_and_its_tensor_share_their_memory():
    array = np.arange(3.0)

    tensor = from_dlpack(array)
    tensor[0] = 7

    assert array[0] == 7
    assert np.from_dlpack(torch.arange(3)).tolist() == [0, 1, 2]
