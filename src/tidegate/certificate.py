"""The gateway's own certificate, as its command line believes it.

A certificate is for a name of the world outside, or signed by nobody known. The command line finds the gateway by its
card, which only this user can have written, so that it needs no authority: it believes the very certificate that the
card holds, under whatever name, and no other one.
"""

import ssl
from pathlib import Path

_END = "-----END CERTIFICATE-----"


def own(file: Path) -> str:
    """Return the first certificate of a PEM file, which is the gateway's own; those behind it have signed it.

    Raises:
        OSError: It cannot be read.
    """
    text = file.read_text(encoding="ascii", errors="replace")
    return text[text.find("-----BEGIN CERTIFICATE-----") :].partition(_END)[0] + _END + "\n"


def believing(certificate: str) -> ssl.SSLContext:
    """Return what believes this certificate alone."""
    context = ssl.create_default_context(cadata=certificate)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # whoever has signed it need not be known
    return context
