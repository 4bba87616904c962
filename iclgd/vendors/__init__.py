"""What we take from beneath other libraries' public surface, one file for each library.

An upgrade may change any of it without notice: ``tests/vendors/`` has a test for each file that says what is broken.
"""
