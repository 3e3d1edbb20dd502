"""`python -m nubelet` and the `nubelet` command."""

from nubelet.cli import main

if __name__ == "__main__":
    main()
