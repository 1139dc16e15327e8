"""What may be said: texts that every part of the house, and every database, can hold."""

from tidegate.errors import BadText, TooLarge

MAX_MESSAGE_BYTES = 1 << 20


def check_text(text: str) -> None:
    """Refuse a text that is too large or that cannot be stored everywhere.

    Raises:
        TooLarge: It has more than 1 MiB.
        BadText: It holds NUL or half a surrogate pair.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise BadText(f"character {error.start + 1} is half a surrogate pair") from None
    if size > MAX_MESSAGE_BYTES:
        raise TooLarge(f"a message of {size:,} bytes is above the limit of 1 MiB", hint="send it in parts")
    if "\0" in text:
        raise BadText(f"character {text.index(chr(0)) + 1} is NUL")
