"""The rules of the house as pure functions and frozen data: no I/O, no clock, no ``async``."""
