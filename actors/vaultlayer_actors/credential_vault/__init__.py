"""The credential vault: the one reader of master keys, who lends narrow, short-lived ones."""
