"""The contract that every VaultLayer process shares: ids, subjects, messages, the job's life, formats."""

__version__ = "0.1.0"
