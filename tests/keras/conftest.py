"""Tests of Keras' layers."""

from importlib.util import find_spec

if find_spec("keras"):
    import alone  # noqa: F401
