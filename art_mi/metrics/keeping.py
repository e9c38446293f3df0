"""Perturbed inputs and readings as values that JSON has, to the last bit, for work that goes on later."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_mi.channels import ChannelReading


def packed(x: Tensor) -> str:
    """A float32 tensor as text.

    :param x: Tensor of any shape.
    """
    return base64.b64encode(x.cpu().numpy().astype("<f4").tobytes()).decode("ascii")


def unpacked(text: str, like: Tensor) -> Tensor:
    """The tensor that :func:`packed` was given.

    :param text: What it returned.
    :param like: A tensor of the same shape, on the device that is wanted.
    """
    values = np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32)
    return torch.from_numpy(values).view(like.shape).to(like.device)


def packed_reading(reading: ChannelReading) -> dict[str, Any]:
    """A reading as plain values.

    :param reading: What was read.
    """
    return {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in asdict(reading).items()}


def unpacked_reading(content: Mapping[str, Any]) -> ChannelReading:
    """The reading that :func:`packed_reading` was given.

    :param content: What it returned.
    """
    values: dict[str, Any] = {name: np.asarray(v) if isinstance(v, list) else v for name, v in content.items()}
    return ChannelReading(**values)
