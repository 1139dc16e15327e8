"""Months of sessions in minutes: real gateway code on a virtual clock, measured until it is flat or shown not to be."""
