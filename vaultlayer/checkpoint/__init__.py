"""The checkpoint format and what moves checkpoints: pure core, thin shells (docs/checkpoint-format.md)."""
