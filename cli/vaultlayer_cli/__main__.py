"""`python -m vaultlayer_cli`: the program, where its script is not on the PATH."""

from vaultlayer_cli.main import main

main()
