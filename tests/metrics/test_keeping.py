from __future__ import annotations

import json

import numpy as np
import torch

from art_mi.channels import read_channel
from art_mi.metrics.keeping import packed, packed_reading, unpacked, unpacked_reading


def test_inputs_come_back_to_the_last_bit() -> None:
    x = torch.randn(7, 2, 3, generator=torch.Generator().manual_seed(0))
    x[0, 0] = torch.tensor([-0.0, 1e-45, 3.4e38])
    back = unpacked(json.loads(json.dumps(packed(x))), torch.empty(7, 2, 3))
    assert torch.equal(back, x)
    assert torch.equal(back.signbit(), x.signbit())
    back.add_(1)  # memory of its own, which may be written


def test_readings_come_back_to_the_last_bit() -> None:
    z = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    for y in (None, torch.arange(9) % 2):
        reading = read_channel(z, 0.7, y=y, generator=torch.Generator().manual_seed(1))
        back = unpacked_reading(json.loads(json.dumps(packed_reading(reading))))
        assert (back.lower, back.upper, back.label) == (reading.lower, reading.upper, reading.label)
        assert np.array_equal(back.lower_influence, reading.lower_influence)
        assert np.array_equal(back.upper_influence, reading.upper_influence)
