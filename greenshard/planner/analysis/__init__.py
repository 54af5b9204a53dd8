"""What is true of a bound query, whatever strategy will run it."""
