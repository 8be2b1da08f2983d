"""`distq top`: a live page of queues, workers, running tasks and failures in a terminal."""
