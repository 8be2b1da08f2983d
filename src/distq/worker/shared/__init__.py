"""What supervisor and executor share: memory pages, pipes' messages, configuration."""
