"""The dispatcher: takes jobs in, orders attempts, lets them take over, commits their checkpoints."""
