"""The durable half of the house, and the only place with SQL. Start at ``port.py``; ``DESIGN.md`` says why."""
