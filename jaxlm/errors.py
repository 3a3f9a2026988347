"""The one exception that speaks to a user rather than to a programmer."""


class BadInput(ValueError):
    """Something the user gave cannot be used: one line with what is wrong, where, and how to mend it.

    Command lines print the message alone, without a traceback, and exit with code 2.
    """
