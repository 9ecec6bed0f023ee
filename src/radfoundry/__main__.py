"""`python -m radfoundry` is the command line."""

from radfoundry.cli.main import main

if __name__ == "__main__":
    main()
