"""The rows of an answer, behind one cursor's fetch methods."""
