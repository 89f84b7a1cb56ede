"""Layers that the networks of several tasks have."""
