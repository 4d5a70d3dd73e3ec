"""`python -m thinkaloud` is the command `thinkaloud`."""

from thinkaloud.cli.main import main

if __name__ == "__main__":
    main()
