"""Benchmarks: programs that measure; no test depends on what they find."""
