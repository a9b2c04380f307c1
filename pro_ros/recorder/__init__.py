"""Episodes of a running robot, written down: journals, bags, and a data set that grows."""
