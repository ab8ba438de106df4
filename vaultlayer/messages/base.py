"""What all messages share."""

import msgspec

PROTOCOL = 1
ERROR_HEADER = "VL-Error"


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all messages; unknown fields are ignored by older readers."""


class Done(Message, frozen=True, kw_only=True):
    """Nothing more to say than that it holds."""
