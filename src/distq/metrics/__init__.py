"""What is measured (`catalogue`), what it is read from (`view`), and how Prometheus gets it (`collector`)."""
