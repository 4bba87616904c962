"""The documentation site: what `make docs` adds to the pages of docs/, all of it made from the code when it is built."""
