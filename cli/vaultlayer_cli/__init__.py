"""Vaultlayer cli."""
