"""The documentation site: what `make docs` adds to the pages of docs/, made from the code when it is built."""
