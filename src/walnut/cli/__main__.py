"""`python -m walnut.cli` is the program `walnut`."""

from walnut.cli import main

if __name__ == "__main__":
    main()
