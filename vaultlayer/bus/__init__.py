"""The message bus: its protocol, and NATS behind it."""

from vaultlayer.imports import left_out

# The library takes it in for websocket addresses; `client.allow_websockets` makes up for it.
with left_out("aiohttp"):
    import nats  # noqa: F401  # pyright: ignore[reportUnusedImport]
