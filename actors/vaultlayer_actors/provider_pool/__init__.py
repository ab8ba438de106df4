"""Provider pool."""
