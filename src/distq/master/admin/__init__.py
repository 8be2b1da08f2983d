"""The calls of operators to the master: dead letters, limits, schedules, cancels, backups, inspection."""
