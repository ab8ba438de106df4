"""The provider pool: makes, watches, drills and ends machines through drivers."""
