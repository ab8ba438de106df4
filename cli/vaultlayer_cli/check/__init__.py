"""`vaultlayer check`: a script's resume, tried on this machine before money is spent on it."""
