"""Smoke jobs: what a provider must show before it is called validated."""
