"""What is raised when the user, not the program, has to act."""


class UserError(Exception):
    """A mistake in the input or the options.

    Its message is one line that names the file, case or option and says what to do. `main.py` prints that line and
    exits with status 1; a traceback is never shown for it.
    """
