"""The one way out: HTTP requests to wherever a model, a web page or a configuration says, past one guard.

A host is resolved once, every address it has is checked, and the connection goes to exactly the checked address,
while the certificate and the Host header are held to the name. A redirect is a new request, checked like the first. No
cookies, no proxy, no credentials from files or the environment. The library that speaks HTTP is imported by the first
request.
"""

from tidegate.egress.address import AddressRefused, Rules, rule
from tidegate.egress.client import Answer, Egress
from tidegate.egress.request import Limits, Request
from tidegate.egress.unreachable import Unreachable
from tidegate.egress.url import Url, UrlRefused

__all__ = [
    "AddressRefused",
    "Answer",
    "Egress",
    "Limits",
    "Request",
    "Rules",
    "Unreachable",
    "Url",
    "UrlRefused",
    "rule",
]
