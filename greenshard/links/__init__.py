"""What touches one server: connections, sessions, deadlines; one call for each of several."""
