"""`distq doctor`: compares a running cluster with the checklist of docs/explanation/security.md."""
