"""Ghost replay: exact resume of an unmodified PyTorch script.

A run is recorded: every value that leaves tensor land goes into one ordered log, and now and then the tensors
are put aside as a snapshot that belongs to a position in that log. After a death the same command runs again
with all tensor work skipped, fed from the log, up to the snapshot; there the tensors are put in place and the
script goes on for real. Whatever does not fit ends the attempt before it can do harm.
"""
