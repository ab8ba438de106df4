"""`vaultlayer demo`: an ordinary training script survives two deaths of its machine."""
