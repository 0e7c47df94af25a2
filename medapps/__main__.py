"""`python -m medapps` is the command `medapps`."""

from medapps.cli import main

if __name__ == "__main__":
    main()
