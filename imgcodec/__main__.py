"""``python -m imgcodec``: the console command, also from a checkout that is not installed."""

from imgcodec.cli.main import main

if __name__ == "__main__":
    main()
