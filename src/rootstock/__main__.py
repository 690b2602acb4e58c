"""`python -m rootstock` is the command."""

from rootstock.cli.main import main

main()
