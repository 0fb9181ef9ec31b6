"""Tensors in safetensors files on OSS, with the vocabulary of Hugging Face's library."""

from __future__ import annotations

from osstorchconnector.safetensors.connector import OssSafetensor as OssSafetensor
from osstorchconnector.safetensors.opened import OpenTensors as OpenTensors
from osstorchconnector.safetensors.opened import TensorSlice as TensorSlice
