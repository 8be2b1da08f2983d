"""An executor: a child process that leases tasks, runs them and settles them."""
