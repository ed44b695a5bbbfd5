"""``python -m repack``."""

from repack.cli.main import main

main()
