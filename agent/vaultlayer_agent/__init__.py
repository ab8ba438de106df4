"""Vaultlayer agent."""
