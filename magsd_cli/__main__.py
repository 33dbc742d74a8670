"""`python -m magsd_cli` is the `magsd` command."""

from magsd_cli.cli import main

if __name__ == "__main__":
    main()
