"""Encrypted computations, written once against the backend protocol."""
