"""What we take from beneath the public surface of other libraries, a file for each; canaries are in tests/vendors."""
