"""Outside words to inside calls and back: HTTP, events, the page."""
