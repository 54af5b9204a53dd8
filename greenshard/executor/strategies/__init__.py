"""One strategy a file, named as the planner's, and beside them what several of them need."""
