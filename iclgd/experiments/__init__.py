"""The experiments, each a straight line.

Every module has a ``Config``; ``CHOSEN_GROUPS``, the groups of it that a name in them chooses, with that name's
default; ``MAY_BE_UNDEFINED``, how names begin that are NaN by a stated rule; ``prepare``, which loads and builds, and
where bad input ends; ``execute``, which returns the summary; ``analyses``, the names of what is looked at afterwards,
each by a call of ``analyze``; ``NEEDS_MEMORY``, which keys to reduce where memory is not enough.
"""
