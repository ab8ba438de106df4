"""Fencer."""
