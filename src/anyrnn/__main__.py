"""`python -m anyrnn`: the program, where its script is not on the path."""

from anyrnn.cli.main import main

if __name__ == "__main__":
    main()
