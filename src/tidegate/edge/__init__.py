"""Outside words to inside calls and back: HTTP, events, the page."""

from tidegate.edge import lean as lean  # before anything else imports starlette
