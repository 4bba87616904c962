"""Whether the hub of models and data sets answers."""

import functools

from iclgd.messages import first_line

CONNECTION_TIMEOUT = 5.0  # seconds


@functools.cache
def connection_problem() -> str | None:
    """Return why the hub does not answer, or ``None`` if it does; asked once in a process.

    Its own clients try again and again, for 20 seconds and more, before they notice that there is no network.
    """
    from huggingface_hub import constants, get_session  # most runs never need it

    try:
        get_session().head(constants.ENDPOINT, timeout=CONNECTION_TIMEOUT)
    except Exception as error:  # the kinds of errors are those of whatever HTTP library the client uses
        return f"no connection to the hub: {first_line(error)}"
    return None
