"""One run from prompt to answer. The agent knows no store: what it needs is handed in."""
