"""The command line; the top floor."""
