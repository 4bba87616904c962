"""What an error says, in one line: the others are for whoever reads its stack trace."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind if it has none.

    Example:
        >>> first_line(ValueError("no such file\\nTraceback")), first_line(KeyError())
        ('no such file', 'KeyError')
    """
    return (str(error).splitlines() or [type(error).__name__])[0]


def all_lines(error: BaseException) -> str:
    """Return an error's message with its lines joined; nothing if it has none.

    Example:
        >>> all_lines(ValueError("not found:\\n  config.json"))
        'not found: config.json'
    """
    return " ".join(str(error).split())
