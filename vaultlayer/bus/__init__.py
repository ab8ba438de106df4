"""The message bus: its protocol, and NATS behind it."""
