"""Vaultlayer actors."""
