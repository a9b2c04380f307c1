"""Devices, precision and processes, through Lightning Fabric."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric

from pro_ros.errors import ProError

DEVICES = ("auto", "cpu", "cuda", "mps")


def launch(device: str, devices: int, precision: str) -> Fabric:
    """A launched Fabric; with several devices, one process for each.

    Raises
    ------
    ProError
        The device does not exist here.
    """
    check_device(device)
    if device == "cuda" and devices > torch.cuda.device_count():
        raise ProError(f"{devices} CUDA devices asked for, {torch.cuda.device_count()} are here")
    fabric = Fabric(
        accelerator=device,
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def check_device(device: str) -> None:
    """Refuse a device that is not here.

    Raises
    ------
    ProError
        It is not known, or not available.
    """
    if device not in DEVICES:
        raise ProError(f"device '{device}' is not known: use one of {', '.join(DEVICES)}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ProError("device 'cuda' is not available: no CUDA device, or a CPU build of torch")
    if device == "mps" and not torch.backends.mps.is_available():
        raise ProError("device 'mps' is not available on this machine")
