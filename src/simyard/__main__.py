"""`python -m simyard` is the `simyard` command."""

from simyard.cli.main import main

if __name__ == "__main__":
    main()
