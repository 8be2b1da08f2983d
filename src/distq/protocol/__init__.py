"""What client, master and worker must agree on: each message declared once, with its reader and its writer."""
