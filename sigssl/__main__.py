"""`python -m sigssl` is `sigssl`."""

from sigssl.cli.main import run

if __name__ == "__main__":
    run()
