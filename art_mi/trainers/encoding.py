"""Nested states as JSON values and a flat dict of tensors, and back, exactly."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# What every supported version of safetensors stores; other types go as bytes
_NATIVE = {
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
}
_SEQUENCES = {"list": list, "tuple": tuple}
_MAPPINGS = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}


def encoded(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON, with its tensors and arrays beside it.

    :param value: Dicts, `OrderedDict` and `Counter` with string or integer keys, lists, tuples, dense tensors, numeric
        arrays, numbers, strings and None. Other classes are refused, subclasses included.
    :param path: What errors call the value; with the keys to it, it is the name of each tensor.
    :param tensors: Receives a copy on the CPU of every tensor, and the bytes of every array.
    :return: Lists, dicts with string keys, finite floats, integers, strings, booleans and None.
    :raises TypeError: If the value holds anything else.
    """
    kind = type(value)  # exactly: what comes back from a subclass would not be one
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if kind in _SEQUENCES.values():
        return {kind.__name__: [encoded(item, f"{path}[{i}]", tensors) for i, item in enumerate(value)]}
    if kind in _MAPPINGS.values():
        return _encoded_mapping(value, path, tensors)
    if kind in (Tensor, nn.Parameter) and _is_dense(value):
        return _encoded_tensor(value, path, tensors)
    if (kind is np.ndarray or isinstance(value, np.generic)) and value.dtype.kind in "biufc":
        tensors[path] = torch.from_numpy(np.array(value, order="C", ndmin=1).reshape(-1).view(np.uint8))
        shape = list(value.shape) if kind is np.ndarray else None
        return {"array": path, "dtype": value.dtype.str, "shape": shape}
    raise TypeError(
        f"`{path}` must be a dense tensor, a numeric array, a number, a string, None, or a dict, list, tuple or "
        f"Counter of these, got {_described(value)}."
    )


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{type(value).__name__} ({value.layout}, {value.dtype}, on {value.device})"
    if isinstance(value, np.ndarray):
        return f"{type(value).__name__} of {value.dtype}"
    return type(value).__name__


def dtype_name(tensor: Tensor) -> str:
    """Name of a tensor's type, as `float32`.

    :param tensor: Any tensor.
    """
    return str(tensor.dtype).removeprefix("torch.")


def _is_dense(value: Tensor) -> bool:
    return value.layout is torch.strided and not (value.is_meta or value.is_quantized or value.is_nested)


def _encoded_mapping(value: dict[Any, Any], path: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    for key in value:
        if type(key) not in (str, int):
            raise TypeError(f"`{path}` must have strings or integers as keys, got {key!r} ({type(key).__name__}).")
    pairs = [[encoded(key, path, tensors), encoded(value[key], f"{path}[{key!r}]", tensors)] for key in value]
    versions = getattr(value, "_metadata", None)  # torch keeps the versions of modules beside their state
    beside = {} if versions is None else {"versions": encoded(versions, f"{path}._metadata", tensors)}
    return {type(value).__name__: pairs, **beside}


def _encoded_tensor(value: Tensor, path: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    plain = value.detach().resolve_conj().resolve_neg()
    # A copy, since safetensors refuses tensors that share memory
    tensor = plain.to("cpu", copy=True, memory_format=torch.contiguous_format)
    entry: dict[str, Any] = {"tensor": path}
    if tensor.dtype not in _NATIVE:
        entry |= {"dtype": dtype_name(tensor), "shape": list(tensor.shape)}
        tensor = tensor.reshape(-1).view(torch.uint8)
    tensors[path] = tensor
    return entry


def decoded(entry: Any, tensor: Callable[[str], Tensor]) -> Any:
    """What :func:`encoded` was given, equal in value and type.

    :param entry: What it returned.
    :param tensor: Gives a tensor by its name, in memory of its own.
    :raises Exception: If `entry` was not made by it; also what NumPy and torch raise.
    """
    match entry:
        case None | bool() | int() | float() | str():
            return entry
        case {"float": str(text)}:
            return float(text)
        case {"tensor": name, "dtype": dtype, "shape": shape}:
            return tensor(name).view(getattr(torch, dtype)).reshape(shape)
        case {"tensor": name}:
            return tensor(name)
        case {"array": name, "dtype": dtype, "shape": shape}:
            array: NDArray[Any] = tensor(name).numpy().view(dtype)
            return array[0] if shape is None else array.reshape(shape)
    (kind, items), *_ = entry.items()
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](decoded(item, tensor) for item in items)
    made = _MAPPINGS[kind]({decoded(key, tensor): decoded(value, tensor) for key, value in items})
    if "versions" in entry:
        made.__dict__["_metadata"] = decoded(entry["versions"], tensor)
    return made
