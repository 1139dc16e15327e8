"""Tools that need the runtime: what they look at is the store's."""
