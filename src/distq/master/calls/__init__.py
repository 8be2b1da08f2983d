"""What executors, clients and standard-library programs call at the master."""
