"""One check of the conformance kit, for tests of what it catches: all of them take seconds."""

from molchord.testing import checks


def failure_of(record, name):
    """Return what a check says of a record; empty where it passes."""
    [check] = [given.values[0] for given in checks(record).args[1] if given.values[0].func.__name__ == name]
    try:
        check()
    except Exception as error:
        return str(error) or type(error).__name__
    return ""
