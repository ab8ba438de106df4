"""A look at a script's text before anything is spent: how it will probably go on after an interruption."""
