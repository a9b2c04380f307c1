"""The retry gate: a state machine without ROS between a client and its policy."""
