"""One strategy a file, named as the planner's."""
