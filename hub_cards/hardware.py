"""The machine that a figure came from, in words that name no host and no user."""

from __future__ import annotations

import platform

import torch


def describe_hardware(device: str | None = None) -> str:
    """
    For example `"2 threads of a CPU (x86_64)"` or `"2 x NVIDIA H100"`.

    Args:
        device (`str`, *optional*): `"cpu"` where an accelerator was left alone.
    """
    if device != "cpu" and torch.cuda.is_available():
        count, name = torch.cuda.device_count(), torch.cuda.get_device_name()
        return name if count == 1 else f"{count} x {name}"
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''} of a CPU ({platform.machine()})"
